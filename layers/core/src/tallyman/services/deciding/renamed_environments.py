"""Moves the state of an environment that got another name in the policy: its freezes, releases and rollouts.

The ledger keeps the old name. Pending promotions and noncompliant images are removed; they are decided about anew.
"""

from contextlib import suppress
from datetime import datetime
from typing import TypeVar

from tallyman.errors import RevisionConflict
from tallyman.ports.records import State
from tallyman.state import freezes, noncompliant, pending, releases, rollouts
from tallyman.state.base import StateValue
from tallyman.state.freezes import FREEZES
from tallyman.state.items import Entry, ItemKind
from tallyman.state.noncompliant import NONCOMPLIANT
from tallyman.state.pending import PENDING
from tallyman.state.releases import RELEASES
from tallyman.state.rollouts import ROLLOUTS

V = TypeVar("V", bound=StateValue)


def move_environment(state: State, old: str, new: str, now: datetime) -> None:
    """Move the items of the environment `old` to `new`. May be repeated, and done by several processes at once; what
    `new` has already stays. Cost: five Queries, and one or two reads and writes for each item."""
    for freeze in FREEZES.list(state, freezes.partition(old)):
        # the old item stays: the release of a process with the old policy is conditional on it
        there = FREEZES.read(state, (freezes.partition(new), freeze.sk))
        if there.found is None or (there.found.at, there.found.id) < (freeze.value.at, freeze.value.id):
            _put(state, there, freeze.value)
    _move(state, RELEASES, releases.partition(old), releases.partition(new), now)
    _move(state, ROLLOUTS, rollouts.partition(old), rollouts.partition(new), now)
    for waits in PENDING.list(state, pending.partition(old)):
        _remove(state, waits, now)
    for image in NONCOMPLIANT.list(state, noncompliant.partition(old)):
        _remove(state, image, now)


def _move(state: State, kind: ItemKind[V], old: str, new: str, now: datetime) -> None:
    for item in kind.list(state, old):
        there = kind.read(state, (new, item.sk))
        if there.found is None:
            _put(state, there, item.value)
        _remove(state, item, now)


def _put(state: State, there: Entry[V], value: V) -> None:
    with suppress(RevisionConflict):  # another process moves it too
        state.put(there.write(value))


def _remove(state: State, item: Entry[V], now: datetime) -> None:
    with suppress(RevisionConflict):
        state.put(item.remove(now))
