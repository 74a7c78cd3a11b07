"""Amazon ECR, local: the JSON API and the `/v2/` registry over one store on disk, with ECR's words and oddities."""

from .errors import EcrError
from .events import Identity
from .scanner import Scan, Scanner
from .service import LocalEcr

__all__ = ["EcrError", "Identity", "LocalEcr", "Scan", "Scanner"]
