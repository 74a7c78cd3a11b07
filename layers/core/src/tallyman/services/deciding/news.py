"""Which decisions are news: those that differ from the last one are recorded, and only what is new is announced."""

import json
from collections.abc import Mapping
from typing import Any

from tallyman.domain.decide import CONFLICT, PROMOTED, Decision
from tallyman.domain.gates import FAILED, WAITING
from tallyman.domain.history.details.decisions import Decided
from tallyman.domain.history.facts import Fact
from tallyman.domain.plain import values_under

_PASSING = frozenset({"at", "seen", "until", "next_at", "attempt", "conflicts", "refused", "outdated"})
"""Keys of a gate's facts that may differ although the gate found the same: times (the same result of a later scan is no
news), and sentences: those about conflicts follow from `registries`, those about signatures from `refusals`; and
which signatures an update of Tallyman has to verify again."""


def saying(last: Decided) -> tuple[object, ...]:
    """The content of a decision without its facts: two decisions with the same content are recorded once."""
    gates = tuple((g["name"], g["verdict"], g["reason"]) for g in last.gates)
    # of a promoted image a new policy alone is not news
    policy = last.policy if last.verdict != PROMOTED else None
    return tuple(last.tags), last.verdict, policy, gates


def is_same(last: Fact | None, decision: Decision) -> bool:
    """Whether the last decision tells people the same: the verdict, the tags, and the gates that refuse the image, each
    with the same reason or by the same facts. Another policy or other words, as after an update of Tallyman, are
    recorded, but no news."""
    if last is None:
        return False
    before, now = Decided.parse(last), decision.details
    if (before.verdict, list(before.tags)) != (now.verdict, list(now.tags)):
        return False
    old, new = _closed(before), _closed(now)
    return old.keys() == new.keys() and all(_is_same_gate(old[name], new[name]) for name in new)


def _closed(decided: Decided) -> dict[str, Mapping[str, Any]]:
    """The gates that a notice names: those that failed; of an image that waits or is promoted, also those that wait."""
    verdicts = (FAILED,) if decided.verdict in (FAILED, CONFLICT) else (FAILED, WAITING)
    return {gate["name"]: gate for gate in decided.gates if gate["verdict"] in verdicts}


def _is_same_gate(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    if old["verdict"] != new["verdict"]:
        return False
    if old["reason"] == new["reason"]:
        return True
    has_kinds = any(True for _ in values_under(old["facts"], "refusals"))  # else an earlier release recorded it
    return bool(new["facts"]) and _evidence(old, has_kinds) == _evidence(new, has_kinds)


def _evidence(gate: Mapping[str, Any], has_kinds: bool) -> str:
    """The lasting facts of a gate, as JSON, in which form facts are stored. Without kinds, of the signatures that do
    not count only their number."""
    return json.dumps(_lasting(gate["facts"], has_kinds), sort_keys=True, default=str)


def _lasting(fact: Any, has_kinds: bool) -> Any:
    if isinstance(fact, Mapping):
        lasting = {name: _lasting(part, has_kinds) for name, part in fact.items() if name not in _PASSING}
        if "refused" in fact and not has_kinds:
            lasting["refusals"] = len(fact["refused"])
        return lasting
    return [_lasting(part, has_kinds) for part in fact] if isinstance(fact, list | tuple) else fact
