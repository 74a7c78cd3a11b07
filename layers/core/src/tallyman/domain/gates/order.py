"""The gate `order`: no image older than the release of the environment is promoted.

Without this gate, older versions are promoted too, but the release does not move to them (see `services/releases`).
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from tallyman.domain.gates.case import FAILED, PASSED, WAITING, Case, Gate, GateResult
from tallyman.domain.history.fold import PUSHES
from tallyman.domain.images.versions import Version, parse_version
from tallyman.domain.policy.gates import GateConfig
from tallyman.domain.policy.shapes import Boolean
from tallyman.domain.times import format_time
from tallyman.values import value


@value
class OrderGate(GateConfig):
    """`required` False: older versions may be promoted too; the release does not move to them."""

    required: bool = True

    def __str__(self) -> str:
        return "order (nothing older than what runs)" if self.required else "any order"


def judge(config: OrderGate, case: Case) -> GateResult:
    """Compare the highest versions among the tags of both images; where they are equal, or there are none, the first
    pushes."""
    if not config.required:
        return GateResult("order", PASSED, "the policy does not require it")
    name = case.destination.name
    if case.promoted_at is not None:
        return GateResult("order", PASSED, f"already in {name}")
    key = (name, case.repository)
    if key not in case.image.released:
        return GateResult("order", WAITING, f"it is not known what {name} runs")
    released = case.image.released[key]
    if released is None:
        return GateResult("order", PASSED, f"{name} runs nothing of {case.repository} yet", {"released": None})
    runs = released.tags[0] if released.tags else released.digest.short
    facts: dict[str, Any] = {
        "released": {"digest": released.digest, "tags": list(released.tags)},
        "tags": list(case.tags),
    }
    if released.digest == case.image.digest:
        return GateResult("order", PASSED, f"{name} runs it", facts)
    if not case.tags:
        return GateResult("order", WAITING, "none of its tags may be promoted", facts)
    mine, theirs = highest_version(case.tags), highest_version(released.tags)
    if mine and theirs and mine.precedence != theirs.precedence:
        if mine > theirs:
            return GateResult("order", PASSED, f"{mine} is newer than {theirs}, which {name} runs", facts)
        return GateResult("order", FAILED, f"{mine} is older than {theirs}, which {name} runs", facts)
    pushed = min((f.at for f in case.image.facts if f.kind in PUSHES), default=None)
    return _by_push(case, pushed, released.first_push, runs, facts)


def _by_push(
    case: Case, mine: datetime | None, theirs: datetime | None, runs: str, facts: dict[str, Any]
) -> GateResult:
    name = case.destination.name
    if mine is None or theirs is None:
        return GateResult(
            "order", WAITING, f"it is not known whether it is older than {runs}, which {name} runs", facts
        )
    facts = {**facts, "pushed": format_time(mine), "released_pushed": format_time(theirs)}
    if mine < theirs:
        return GateResult("order", FAILED, f"it was first pushed before {runs}, which {name} runs", facts)
    return GateResult("order", PASSED, f"it was not pushed before {runs}, which {name} runs", facts)


def highest_version(tags: Iterable[str]) -> Version | None:
    """The highest version among the tags; None: no tag is a version."""
    versions = [version for tag in tags if (version := parse_version(tag))]
    return max(versions, key=lambda v: v.precedence, default=None)


GATE: Gate = Gate(Boolean(OrderGate), "The image must not be older than the one that the environment runs.", judge)
