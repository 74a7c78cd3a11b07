"""Items that stop a release at the last moment: the write of a release is conditional on them.

A recall and a failed verification each change one of them in the transaction that records them; a freeze changes its
own item. A release is written only if all of them are as they were before its decision; else it is decided again.
These items are never removed.
"""

from datetime import datetime

from tallyman.domain.history.facts import Fact
from tallyman.domain.names import Digest
from tallyman.state.base import StateValue
from tallyman.state.items import ItemKind, Key, ReadsItem, StateChange
from tallyman.values import value

PARTITION = "STOP"
RECALLS: Key = (PARTITION, "recalls")
"""The key of the one item that the recall of any image changes: recalls are rare, and an index may list thousands of
images."""


@value
class Stop(StateValue):
    """The last recall, or the last failed verification of a digest: its time, and the fact's id."""

    at: datetime
    fact: str


def failed_verification(digest: Digest) -> Key:
    """The key of the item that each failed verification of a digest changes."""
    return PARTITION, str(digest)


def stop_change(state: ReadsItem, key: Key, fact: Fact) -> StateChange:
    """The change to write together with the fact of a recall or a failed verification. One GetItem."""
    return STOPS.read(state, key).write(Stop(fact.at, fact.id))


STOPS = ItemKind(Stop, PARTITION, "`recalls`, or a digest", "the last recall, or the last failed verification")
