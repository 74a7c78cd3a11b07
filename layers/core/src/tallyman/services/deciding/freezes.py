"""Freezes: what is in force now lies in the state table, who said it when in the ledger."""

from collections.abc import Iterable, Iterator

from tallyman.domain.gates import Freeze
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.people import who
from tallyman.domain.times import format_time, parse_time
from tallyman.ports.records import State, StateChange, StateItem

ALL = "*"
"""The sk of the item for an environment as a whole."""


def freeze_partition(environment: str) -> str:
    """The partition of the state table with an item for each repository (or `*`) that was ever frozen.

    `data`: {frozen, at, id, by, because}; a thawed item stays, with `frozen` false.
    """
    return f"F#{environment}"


def in_force(state: State, environment: str) -> tuple[Freeze, ...]:
    """The freezes in force, of the environment and of its repositories. One consistent Query."""
    return tuple(
        Freeze(
            repository=None if item.sk == ALL else item.sk,
            at=parse_time(item.data["at"]),
            by=item.data["by"],
            because=item.data["because"],
        )
        for item in state.list(freeze_partition(environment))
        if item.data["frozen"]
    )


def freeze_change(state: State, fact: Fact) -> StateChange | None:
    """What a fact `frozen` or `thawed` makes of the item; None where a later one was written already."""
    assert fact.environment is not None  # a freeze is of an environment
    pk, sk = freeze_partition(fact.environment), fact.detail["repository"] or ALL
    item = state.get(pk, sk)
    if item is not None and (parse_time(item.data["at"]), item.data["id"]) >= (fact.at, fact.id):
        return None
    return StateChange(pk, sk, item.revision if item else 0, _data(fact))


def folded(facts: Iterable[Fact]) -> Iterator[StateItem]:
    """The items that these facts of one environment make, in no order: the projection of a past moment."""
    last: dict[str, Fact] = {}
    for fact in facts:
        if fact.kind in (Kind.FROZEN, Kind.THAWED):
            sk = fact.detail["repository"] or ALL
            last[sk] = max(fact, last.get(sk, fact), key=lambda f: (f.at, f.id))
    for sk, fact in last.items():
        yield StateItem(freeze_partition(fact.environment or ALL), sk, 1, _data(fact))


def _data(fact: Fact) -> dict[str, object]:
    return {
        "frozen": fact.kind is Kind.FROZEN,
        "at": format_time(fact.at),
        "id": fact.id,
        "by": who(fact),
        "because": fact.detail["because"],
    }
