"""The end of the ledger's seal."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tallyman.domain.names import Digest
from tallyman.domain.times import format_time, parse_time
from tallyman.state.items import ItemKind, Key
from tallyman.values import value

KEY: Key = ("S#seal", "head")


@value
class SealHead:
    """The last segment, and until when entries were read (later than the segment's end where there were none)."""

    number: int
    digest: Digest
    until: datetime


def _parse(data: Mapping[str, Any]) -> SealHead:
    return SealHead(int(data["number"]), Digest(data["digest"]), parse_time(data["until"]))


def _dump(head: SealHead) -> dict[str, Any]:
    return {"number": head.number, "digest": head.digest, "until": format_time(head.until)}


SEALS = ItemKind("S#seal", "head", "the seal's last segment, and until when the ledger is sealed", _parse, _dump)
