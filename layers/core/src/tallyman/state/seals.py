"""The end of the ledger's seal."""

from datetime import datetime

from tallyman.domain.names import Digest
from tallyman.state.base import StateValue
from tallyman.state.items import ItemKind, Key
from tallyman.values import value

KEY: Key = ("S#seal", "head")


@value
class SealHead(StateValue):
    """The last segment, and until when entries were read (later than the segment's end where there were none)."""

    number: int
    digest: Digest
    until: datetime


SEALS = ItemKind(SealHead, "S#seal", "head", "the seal's last segment, and until when the ledger is sealed")
