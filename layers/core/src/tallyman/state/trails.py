"""The progress of reading CloudTrail's history for each registry."""

from datetime import datetime
from typing import ClassVar

from tallyman.domain.names import EcrRegistry
from tallyman.state.base import StateValue
from tallyman.state.items import ItemKind, Key
from tallyman.values import value


@value
class TrailPart(StateValue):
    """A partly read window of time. `position`: where to continue. `settled`: CloudTrail had all calls until then when
    reading began."""

    since: datetime
    until: datetime
    settled: datetime
    position: str


@value
class TrailRead(StateValue):
    """All calls between `since` and `until` are in the ledger. `ahead`, `behind`: the windows after and before that are
    partly read."""

    SPARSE: ClassVar = frozenset({"ahead", "behind"})
    since: datetime
    until: datetime
    ahead: TrailPart | None = None
    behind: TrailPart | None = None


PARTITION = "S#trail"


def key(registry: EcrRegistry) -> Key:
    """The key of one registry."""
    return PARTITION, str(registry)


TRAILS = ItemKind(TrailRead, PARTITION, "`<account>/<region>`", "how far CloudTrail's history was read")
