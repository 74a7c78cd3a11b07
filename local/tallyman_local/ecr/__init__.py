"""Amazon ECR, local: the JSON API and the `/v2/` registry over one store on disk, with ECR's words and oddities.

Where no source says what ECR does, this was chosen (to confirm on a real account):

- every manifest of a push is one PUSH event, children by digest with an empty tag; an unchanged push is none;
- what has a subject is told as "ECR Referrer Action" only, not as "ECR Image Action" too;
- a removal is one DELETE event per tag, and one with an empty tag for an image that is gone;
- an expired token is answered 403 (`LocalEcr(expired_status=401)` for the other way);
- missing layers and children are `MANIFEST_BLOB_UNKNOWN` with status 400;
- removing the last tag of an image that an index names fails like removing the image;
- refused management calls leave CloudTrail records with `errorCode`.
"""

from .errors import EcrError
from .events import Identity
from .scanner import Scan, Scanner
from .service import LocalEcr

__all__ = ["EcrError", "Identity", "LocalEcr", "Scan", "Scanner"]
