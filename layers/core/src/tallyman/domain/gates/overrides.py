"""Overrides: a person opens one gate for one candidate, if the promotion lists the gate under `overridable`."""

from datetime import timedelta

from tallyman.domain.gates.case import PASSED, Case, GateResult
from tallyman.domain.history.details.commands import Said
from tallyman.domain.history.facts import Kind
from tallyman.domain.people import who
from tallyman.domain.times import format_time

HOLDS = timedelta(hours=24)
"""How long an override counts; as long as a failing promotion is tried again by default."""


def applied(result: GateResult, case: Case) -> GateResult:
    """The gate's result, or `passed` where an override of it is in force; its facts then contain the gate's own result.

    The present promotion decides whether the gate may be overridden, not the one at the time of the override.
    """
    if result.verdict == PASSED or result.name not in case.promotion.overridable:
        return result
    holding = [
        fact
        for fact in case.image.of(Kind.OVERRIDDEN)
        if case.said_here(fact) and Said.parse(fact).gate == result.name and case.now < fact.at + HOLDS
    ]
    if not holding:
        return result
    fact = max(holding, key=lambda f: (f.at, f.id))
    until, because = fact.at + HOLDS, Said.parse(fact).because
    evidence = {
        "by": who(fact),
        "at": format_time(fact.at),
        "until": format_time(until),
        "because": because,
        "verdict": result.verdict,
        "reason": result.reason,
    }
    reason = f"overridden by {who(fact)} because {because}; it said {result.verdict}: {result.reason}"
    return GateResult(result.name, PASSED, reason, {**result.facts, "overridden": evidence}, until)
