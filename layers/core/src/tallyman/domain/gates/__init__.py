"""Gates: each one condition of a promotion, a pure function in a module of its own; the table is here.

A gate gets its configuration and a `Case` and answers with a `GateResult`. To add one: a module with `judge`, and a
line in `GATES` (and its configuration's parser in the policy). Unknown means closed: a fact that is missing or not
understood is `waiting` or `failed`, never `passed`.
"""

from collections.abc import Callable
from typing import Any

from tallyman.domain.gates import scan, soak, tags, target, verified
from tallyman.domain.gates.case import FAILED, PASSED, WAITING, Case, GateResult, ImageFacts

Judge = Callable[[Any, Case], GateResult]

GATES: dict[str, Judge] = {
    "verified": verified.judge,
    "scan": scan.judge,
    "soak": soak.judge,
}
"""The gates that a policy may name under `gates:`, by that name."""

__all__ = ["FAILED", "GATES", "PASSED", "WAITING", "Case", "GateResult", "ImageFacts", "judge_all"]


def judge_all(case: Case) -> tuple[GateResult, ...]:
    """All gates of the promotion in the order of this table: `tags` first, `target`, which is always asked, last."""
    results = [tags.judge(case.promotion.tags, case)]
    for name, config in case.promotion.gates.items():
        judge = GATES.get(name)
        results.append(
            judge(config, case)
            if judge
            else GateResult(name, FAILED, f"this version of Tallyman does not know the gate '{name}'")
        )
    results.append(target.judge(None, case))
    return tuple(results)
