"""The progress of uploads of large layers. An item expires after a day, as does the registry's upload session."""

from datetime import timedelta
from typing import ClassVar

from tallyman.domain.names import Digest, Location
from tallyman.state.base import StateValue
from tallyman.state.items import ItemKind, Key
from tallyman.values import value

KEPT = timedelta(days=1)
"""How long the item stays."""


@value
class Upload(StateValue):
    """The registry's upload session, and how many bytes of the blob it has. `size`: bytes of the blob; None: not
    stored."""

    SPARSE: ClassVar = frozenset({"size"})
    session: str
    offset: int
    size: int | None = None


def key(repository: Location, digest: Digest) -> Key:
    """The key of one blob's upload into one repository."""
    return f"U#{repository}", str(digest)


UPLOADS = ItemKind(Upload, "U#<registry>/<repository>", "digest", "the progress of an upload in parts")
