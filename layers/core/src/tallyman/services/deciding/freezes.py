"""Freezes: those in force are items of the state table; who set them and when are facts of the ledger."""

from collections.abc import Iterable, Iterator

from tallyman.domain.gates import Freeze
from tallyman.domain.history.details.commands import Said
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.people import who
from tallyman.ports.records import State
from tallyman.state.freezes import FREEZES, FreezeState, key, parse_key, partition
from tallyman.state.items import ListsItems, StateChange, StateItem


def in_force(state: ListsItems, environment: str) -> tuple[Freeze, ...]:
    """The freezes in force, of the environment and of its repositories. One consistent Query."""
    return tuple(
        Freeze(parse_key((entry.pk, entry.sk))[1], entry.value.at, entry.value.by, entry.value.because or "")
        for entry in FREEZES.list(state, partition(environment))
        if entry.value.frozen
    )


def freeze_change(state: State, fact: Fact) -> StateChange | None:
    """The change of the item by a fact `frozen` or `thawed`; None where a later fact was written already."""
    assert fact.environment is not None  # a freeze is of an environment
    entry = FREEZES.read(state, key(fact.environment, Said.parse(fact).repository))
    if entry.found is not None and (entry.found.at, entry.found.id) >= (fact.at, fact.id):
        return None
    return entry.write(_state(fact))


def folded(facts: Iterable[Fact]) -> Iterator[StateItem]:
    """Yield the items that result from these facts of one environment, in no order: the state of a past moment."""
    last: dict[str | None, Fact] = {}
    for fact in facts:
        if fact.kind in (Kind.FROZEN, Kind.THAWED):
            repository = Said.parse(fact).repository or None
            last[repository] = max(fact, last.get(repository, fact), key=lambda f: (f.at, f.id))
    for repository, fact in last.items():
        yield FREEZES.item(key(fact.environment or "*", repository), _state(fact))


def _state(fact: Fact) -> FreezeState:
    return FreezeState(fact.kind is Kind.FROZEN, fact.at, fact.id, who(fact), Said.parse(fact).because)
