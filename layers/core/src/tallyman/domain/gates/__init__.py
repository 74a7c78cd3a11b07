"""Gates: the conditions of a promotion. Each has a module with its configuration, its parser, and its verdict, a pure
function.

A gate gets its configuration and a `Case` and returns a `GateResult`. To add one: a module with a `GATE`, and a line in
`GATES`. Unknown means closed: a fact that is missing or not understood gives `waiting` or `failed`, never `passed`.
"""

from tallyman.domain.gates import (
    approvals,
    attested,
    built,
    check,
    freeze,
    order,
    overrides,
    recalled,
    scan,
    signed,
    soak,
    tags,
    target,
    verified,
    window,
)
from tallyman.domain.gates.case import (
    FAILED,
    PASSED,
    WAITING,
    Case,
    Freeze,
    Gate,
    GateResult,
    ImageFacts,
    Released,
)

GATES: dict[str, Gate] = {
    "verified": verified.GATE,
    "signed": signed.GATE,
    "built": built.GATE,
    "attested": attested.GATE,
    "scan": scan.GATE,
    "soak": soak.GATE,
    "approvals": approvals.GATE,
    "check": check.GATE,
    "window": window.GATE,
    "order": order.GATE,
}
"""The gates that a policy may have under `gates:`, by key."""

MOMENTARY = frozenset({"soak", "approvals", "check", "window", "freeze"})
"""Gates that wait for a time, a person or another system: where they are closed, nothing is wrong with the image."""

__all__ = [
    "FAILED",
    "GATES",
    "MOMENTARY",
    "PASSED",
    "WAITING",
    "Case",
    "Freeze",
    "Gate",
    "GateResult",
    "ImageFacts",
    "Released",
    "judge_all",
]


def judge_all(case: Case) -> tuple[GateResult, ...]:
    """The results of `tags` and `recalled`, the promotion's gates in the file's order, `freeze`, and last `target`.

    The four gates without a key in the policy always count. An override counts where the promotion allows overriding
    the gate.
    """
    results = [tags.judge(case.promotion.tags, case), recalled.judge(case)]
    for name, config in case.promotion.gates.items():
        gate = GATES.get(name)
        results.append(
            overrides.applied(gate.judge(config, case), case)
            if gate
            else GateResult(name, FAILED, f"this version of Tallyman does not know the gate '{name}'")
        )
    results.append(overrides.applied(freeze.judge(case), case))
    results.append(target.judge(None, case))
    return tuple(_once_in(result, case) for result in results)


def _once_in(result: GateResult, case: Case) -> GateResult:
    """The result for an image that is promoted already: a momentary gate that waits passes, with a reason that says so;
    every other result is that of today."""
    if case.promoted_at is None or result.verdict != WAITING or result.name not in MOMENTARY:
        return result
    reason = f"already in {case.destination.name}; today it would wait: {result.reason}"
    return GateResult(result.name, PASSED, reason, result.facts)
