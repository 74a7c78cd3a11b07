"""The progress of uploads of large layers. An item expires after a day, as does the registry's upload session."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from tallyman.domain.names import Digest, Location
from tallyman.state.items import ItemKind, Key
from tallyman.values import value

KEPT = timedelta(days=1)
"""How long the item stays."""


@value
class Upload:
    """The registry's upload session, and how many bytes of the blob it has. `size`: bytes of the blob; None: not
    stored."""

    session: str
    offset: int
    size: int | None = None


def key(repository: Location, digest: Digest) -> Key:
    """The key of one blob's upload into one repository."""
    return f"U#{repository}", str(digest)


def _parse(data: Mapping[str, Any]) -> Upload:
    size = data.get("size")
    return Upload(str(data["session"]), int(data["offset"]), int(size) if size is not None else None)


def _dump(upload: Upload) -> dict[str, Any]:
    size = {} if upload.size is None else {"size": upload.size}
    return {"session": upload.session, "offset": upload.offset, **size}


UPLOADS = ItemKind("U#<registry>/<repository>", "digest", "the progress of an upload in parts", _parse, _dump)
