"""How far uploads of large layers are; an item expires after a day, as a registry's session does."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from tallyman.domain.names import Digest, Location
from tallyman.state.items import ItemKind, Key
from tallyman.values import value

KEPT = timedelta(days=1)


@value
class Upload:
    """The registry's session, and how many bytes it has of it. `size`: of the whole, where it is kept."""

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


UPLOADS = ItemKind("U#<registry>/<repository>", "digest", "how far an upload in parts is", _parse, _dump)
