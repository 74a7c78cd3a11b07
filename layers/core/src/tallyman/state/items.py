"""Items of the state table, and what all kinds of them have in common.

An item counts its writes from 1 in its `revision`, and each write names the revision that it replaces. An item that is
removed leaves a marker behind for a day, so that its revision goes on counting: a worker that read the item (or found
none) and then slept can't take one that was made anew for the one that it knew. DynamoDB removes the marker by its TTL.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field
from datetime import datetime, timedelta
from typing import Any, Generic, Protocol, TypeVar

from tallyman.domain.times import format_time, parse_time
from tallyman.values import value

V = TypeVar("V")
Key = tuple[str, str]
"""Partition and sort key."""
LONGEST_REASON = 2000
"""Characters of a reason that an item keeps."""
MARKER_KEPT = timedelta(days=1)
"""How long the marker of a removed item stays. No worker lives for longer: a function ends after 15 minutes."""


@value
class StateItem:
    """A small mutable document as it is stored. `data` is plain JSON data; `expires`: TTL. `removed`: it is the marker
    of an item that was removed, and `data` is what the marker keeps."""

    pk: str
    sk: str
    revision: int
    data: Mapping[str, Any] = field(default_factory=dict)
    expires: datetime | None = None
    removed: bool = False


@value
class StateChange:
    """Write `data` under (pk, sk), if the item's revision is still `revision` (0: if there is none yet)."""

    pk: str
    sk: str
    revision: int
    data: Mapping[str, Any]
    expires: datetime | None = None
    removed: bool = False


@value
class StateCheck:
    """A condition without a write: the item (pk, sk) still has this revision (0: there is none yet)."""

    pk: str
    sk: str
    revision: int


class ReadsItem(Protocol):
    """What reading one item needs of the table."""

    def get(self, pk: str, sk: str) -> StateItem | None: ...


class ReadsItems(Protocol):
    """What reading several items needs of the table."""

    def get_many(self, keys: Sequence[Key]) -> Mapping[Key, StateItem]: ...


class ListsItems(Protocol):
    """What listing a partition needs of the table."""

    def list(self, pk: str, prefix: str = "") -> Iterator[StateItem]: ...


@value
class Entry(Generic[V]):
    """What lies under one key: `found`, or None. It makes the changes that replace just what was read here."""

    kind: "ItemKind[V]"
    pk: str
    sk: str
    revision: int
    found: V | None
    expires: datetime | None = None
    kept: Mapping[str, Any] = field(default_factory=dict)
    """What the marker of a removed item keeps."""

    @property
    def value(self) -> V:
        """What was found; for entries of a list, which all have something."""
        assert self.found is not None, f"nothing lies under {self.pk} {self.sk}"
        return self.found

    def write(self, value: V, expires: datetime | None = None) -> StateChange:
        """The change that makes this the item's value."""
        return StateChange(self.pk, self.sk, self.revision, self.kind.dump(value), expires)

    def remove(self, now: datetime, **kept: str | None) -> StateChange:
        """The change that removes the item; its marker keeps `kept`."""
        return StateChange(self.pk, self.sk, self.revision, kept, now + MARKER_KEPT, removed=True)

    def written(self, value: V, expires: datetime | None = None) -> "Entry[V]":
        """What lies there once `write(value)` was carried out."""
        return Entry(self.kind, self.pk, self.sk, self.revision + 1, value, expires)


class ItemKind(Generic[V]):
    """A kind of item. `pk` and `sk` show what its keys look like, `what` what it says: for docs/architecture.md."""

    def __init__(
        self,
        pk: str,
        sk: str,
        what: str,
        parse: Callable[[Mapping[str, Any]], V],
        dump: Callable[[V], dict[str, Any]],
    ) -> None:
        self.pk, self.sk, self.what, self.parse, self.dump = pk, sk, what, parse, dump

    def read(self, state: ReadsItem, key: Key) -> Entry[V]:
        """What lies under the key. One GetItem."""
        return self.entry(key, state.get(*key))

    def get(self, state: ReadsItem, key: Key) -> V | None:
        """Its value alone, for whoever changes nothing. One GetItem."""
        return self.entry(key, state.get(*key)).found

    def get_many(self, state: ReadsItems, keys: Sequence[Key]) -> dict[Key, V]:
        """The values of those keys that have one. A BatchGetItem for a hundred."""
        found = state.get_many(keys)
        return {key: self.parse(item.data) for key, item in found.items() if not item.removed}

    def list(self, state: ListsItems, pk: str, prefix: str = "") -> Iterator[Entry[V]]:
        """All of a partition whose sort key begins with the prefix, in the order of those. One Query a MiB."""
        for item in state.list(pk, prefix):
            if not item.removed:
                yield self.entry((item.pk, item.sk), item)

    def entry(self, key: Key, item: StateItem | None) -> Entry[V]:
        """An item as it was read, or that there is none."""
        if item is None:
            return Entry(self, *key, 0, None)
        if item.removed:
            return Entry(self, *key, item.revision, None, item.expires, item.data)
        return Entry(self, *key, item.revision, self.parse(item.data), item.expires)

    def item(self, key: Key, value: V) -> StateItem:
        """As it would be stored: for projections of the past, which are not."""
        return StateItem(*key, 1, self.dump(value))


def checks(state: ReadsItems, keys: Sequence[Key]) -> tuple[StateCheck, ...]:
    """That none of these items is changed from now on. One BatchGetItem for a hundred."""
    items = state.get_many(keys)
    return tuple(StateCheck(*key, items[key].revision if key in items else 0) for key in keys)


def brief(text: str | None) -> str | None:
    """A reason, cut: an item must not grow with its subject. The fact beneath it has it whole."""
    return text if text is None or len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]}…"


def time_or_none(text: object) -> datetime | None:
    """A time as `format_time` or `sort_time` wrote it; None where nothing was."""
    return parse_time(str(text)) if text else None


def text_or_none(moment: datetime | None) -> str | None:
    """The reverse."""
    return format_time(moment) if moment else None
