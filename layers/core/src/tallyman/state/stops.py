"""What stops a release at the last moment: items that the write of a release is conditioned on.

Whoever records a recall or a failed verification changes one of them in the same transaction; a freeze changes its
own item. A release is written only while all of them are as they were before the decision that it rests on: else it is
decided again. Such an item is never removed.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tallyman.domain.history.facts import Fact
from tallyman.domain.names import Digest
from tallyman.domain.times import format_time, parse_time
from tallyman.state.items import ItemKind, Key, ReadsItem, StateChange
from tallyman.values import value

PARTITION = "STOP"
RECALLS: Key = (PARTITION, "recalls")
"""The key of the item that each recall changes, of whatever image: recalls are rare, and an index may have thousands of
images beneath it."""


@value
class Stop:
    """The last recall, or the last failed verification of a digest: when, and the fact's id."""

    at: datetime
    fact: str


def failed_verification(digest: Digest) -> Key:
    """The key of the item that each failed verification of a digest changes."""
    return PARTITION, str(digest)


def stop_change(state: ReadsItem, key: Key, fact: Fact) -> StateChange:
    """What is to be written with a recall or a failed verification. One read."""
    return STOPS.read(state, key).write(Stop(fact.at, fact.id))


def _parse(data: Mapping[str, Any]) -> Stop:
    return Stop(parse_time(data["at"]), data["fact"])


def _dump(stop: Stop) -> dict[str, Any]:
    return {"at": format_time(stop.at), "fact": stop.fact}


STOPS = ItemKind("STOP", "`recalls`, or a digest", "the last recall, or the last failed verification", _parse, _dump)
