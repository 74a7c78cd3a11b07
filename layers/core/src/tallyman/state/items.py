"""Items of the state table: reading, writing and removing them.

An item's `revision` counts its writes from 1, and each write names the revision that it replaces. A removed item leaves
a marker for a day, so that its revision continues: a worker that read the item (or found none) before can't mistake a
new item for the old one. DynamoDB removes the marker by its TTL.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from datetime import datetime, timedelta
from typing import Any, Generic, Protocol, TypeVar

from tallyman.state.base import StateValue
from tallyman.values import value

V = TypeVar("V", bound=StateValue)
Key = tuple[str, str]
"""Partition and sort key."""
MARKER_KEPT = timedelta(days=1)
"""How long the marker of a removed item stays. No worker runs that long: a function ends after 15 minutes."""


@value
class StateItem:
    """An item as it is stored. `data` is JSON data; `expires`: its TTL. `removed`: it is the marker of a removed item,
    and `data` is what the marker keeps."""

    pk: str
    sk: str
    revision: int
    data: Mapping[str, Any] = field(default_factory=dict)
    expires: datetime | None = None
    removed: bool = False


@value
class StateChange:
    """A write of `data` under (pk, sk), if the item's revision is still `revision` (0: if there is no item yet)."""

    pk: str
    sk: str
    revision: int
    data: Mapping[str, Any]
    expires: datetime | None = None
    removed: bool = False


@value
class StateCheck:
    """A condition without a write: the item (pk, sk) still has this revision (0: there is no item yet)."""

    pk: str
    sk: str
    revision: int


class ReadsItem(Protocol):
    """The part of the table that reads one item."""

    def get(self, pk: str, sk: str) -> StateItem | None: ...


class ReadsItems(Protocol):
    """The part of the table that reads several items."""

    def get_many(self, keys: Sequence[Key]) -> Mapping[Key, StateItem]: ...


class ListsItems(Protocol):
    """The part of the table that lists a partition."""

    def list(self, pk: str, prefix: str = "") -> Iterator[StateItem]: ...


class ReadsTable(ReadsItem, ReadsItems, ListsItems, Protocol):
    """The table without its writes."""


@value
class Entry(Generic[V]):
    """What was read under one key: `found`, or None. Makes the changes that are written only if nobody else wrote."""

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
        """The value that was found. Only for entries that have one, such as those of a list."""
        assert self.found is not None, f"there is no item {self.pk} {self.sk}"
        return self.found

    def write(self, value: V, expires: datetime | None = None) -> StateChange:
        """The change that sets the item's value."""
        return StateChange(self.pk, self.sk, self.revision, value.dump(), expires)

    def remove(self, now: datetime, **kept: str | None) -> StateChange:
        """The change that removes the item; its marker keeps `kept`."""
        return StateChange(self.pk, self.sk, self.revision, kept, now + MARKER_KEPT, removed=True)

    def written(self, value: V, expires: datetime | None = None) -> "Entry[V]":
        """The entry after `write(value)` was carried out."""
        return Entry(self.kind, self.pk, self.sk, self.revision + 1, value, expires)


class ItemKind(Generic[V]):
    """A kind of item with values of the class `cls`. `pk` and `sk` (the form of its keys) and `what` (its meaning) are
    for docs/architecture.md."""

    def __init__(self, cls: type[V], pk: str, sk: str, what: str) -> None:
        self.parse, self.pk, self.sk, self.what = cls.parse, pk, sk, what

    def read(self, state: ReadsItem, key: Key) -> Entry[V]:
        """Read the item under the key. One GetItem."""
        return self.entry(key, state.get(*key))

    def get(self, state: ReadsItem, key: Key) -> V | None:
        """The value under the key, for readers that do not change it; None: there is none. One GetItem."""
        return self.entry(key, state.get(*key)).found

    def get_many(self, state: ReadsItems, keys: Sequence[Key]) -> dict[Key, V]:
        """The values of the keys that have one. One BatchGetItem per 100 keys."""
        found = state.get_many(keys)
        return {key: self.parse(item.data) for key, item in found.items() if not item.removed}

    def list(self, state: ListsItems, pk: str, prefix: str = "") -> Iterator[Entry[V]]:
        """The items of a partition whose sort key begins with the prefix, ordered by sort key. One Query per MiB."""
        for item in state.list(pk, prefix):
            if not item.removed:
                yield self.entry((item.pk, item.sk), item)

    def entry(self, key: Key, item: StateItem | None) -> Entry[V]:
        """The entry of an item as it was read; None: there is none."""
        if item is None:
            return Entry(self, *key, 0, None)
        if item.removed:
            return Entry(self, *key, item.revision, None, item.expires, item.data)
        return Entry(self, *key, item.revision, self.parse(item.data), item.expires)

    def item(self, key: Key, value: V) -> StateItem:
        """The item as it would be stored, for states of the past, which are computed and not stored."""
        return StateItem(*key, 1, value.dump())


def checks(state: ReadsItems, keys: Sequence[Key]) -> tuple[StateCheck, ...]:
    """Conditions that none of these items changes from now on. One BatchGetItem per 100 keys."""
    items = state.get_many(keys)
    return tuple(StateCheck(*key, items[key].revision if key in items else 0) for key in keys)
