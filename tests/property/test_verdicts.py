"""A verdict and its rows never contradict each other, whatever is known about an image."""

from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from support.fakes.gate_cases import (
    APP,
    LATER,
    NAME,
    case_of,
    decided,
    frozen,
    image_of,
    policy_of,
    released,
    said,
    target_seen,
)
from support.images.builders import DEV, NOON, PROD, digest_of, fact, pushed, scanned, verified
from tallyman.domain.decide import CONFLICT, PROMOTED
from tallyman.domain.gates import FAILED, MOMENTARY, PASSED, WAITING
from tallyman.domain.history.facts import Fact, Kind

PLACES = ["222222222222/us-east-2", "222222222222/sa-east-1"]
CHECK = {"name": "manifest_digest", "verdict": "passed", "reason": ""}
GATES: dict[str, Any] = {
    "verified": True,
    "scan": {"max": {"critical": 0}},
    "soak": "30m",
    "approvals": {"count": 1, "from": ["role/release-managers"]},
    "window": {"days": "mon-fri", "between": "09:00-17:00", "timezone": "UTC"},
    "order": True,
    "signed": True,
}
TAKEN = {"exists": True, "immutable": True, "mutable_tags": [], "tags": {"v1.0.0": digest_of("other")}, "error": None}
SILENT = {"exists": False, "immutable": False, "mutable_tags": [], "tags": {}, "error": "no answer"}

MADE = (
    *("push", "push-prod", "verified", "scanned", "seen", "taken", "silent", "delayed", "parked"),
    *("requested", "promoted", "older", "tagging", "approved", "denied", "recalled", "override"),
)


@st.composite
def some_fact(draw: st.DrawFn) -> Fact:  # noqa: C901 - a table: a branch for each kind of fact
    at = NOON + timedelta(minutes=draw(st.integers(-90, 90)))
    seen = at + timedelta(minutes=draw(st.integers(-1, 5)))
    more: dict[str, Any] = {"at": at, "seen": seen}
    candidate: dict[str, Any] = {"to": "prod", "name": NAME, "from": "dev"}
    made = draw(st.sampled_from(MADE))
    verdict = draw(st.sampled_from(["passed", "failed", "unknown"]))
    if made == "push":
        return pushed(APP, draw(st.sampled_from(["v1.0.0", "v1.0.1"])), DEV, at=at, index=False)
    if made == "push-prod":
        return pushed(APP, "v1.0.0", PROD, at=at, index=False)
    if made == "verified":
        return verified(APP, verdict, checks=[{**CHECK, "verdict": verdict}], **more)
    if made == "scanned":
        return scanned(APP, {"critical": draw(st.integers(0, 1))}, at=at)
    if made == "seen":
        return target_seen(**more)
    if made in ("taken", "silent"):
        answer = TAKEN if made == "taken" else SILENT
        return fact(Kind.TARGET_SEEN, APP, registries=dict.fromkeys(PLACES, answer), **candidate, **more)
    if made == "delayed":
        return fact(Kind.DELAYED, APP, reason="slow", attempt=1, next_at="2026-11-16T13:00:00Z", **candidate, **more)
    if made == "parked":
        return fact(Kind.PARKED, APP, reason="given up", **candidate, **more)
    if made in ("promoted", "older"):
        stays = "v1.0.0 is older than v2.0.0, which prod runs" if made == "older" else None
        detail: dict[str, Any] = {
            "tags": ["v1.0.0"],
            "registries": PLACES,
            "policy": "p",
            "left_out": {},
            "tagging": [],
            "stays": stays,
        }
        return fact(Kind.PROMOTED, APP, **candidate, **detail, **more)
    if made == "tagging":
        return fact(Kind.TAGGING, APP, tags=["v1.0.0"], ends=[], **candidate, **more)
    if made == "recalled":
        return fact(Kind.RECALLED, APP, actor="AROAX:ana", because="no", **more)
    kinds = {"requested": Kind.REQUESTED, "approved": Kind.APPROVED, "denied": Kind.DENIED, "override": Kind.OVERRIDDEN}
    return said(kinds[made], draw(st.sampled_from(["ana", "bob"])), command="promote", gate="soak", at=at)


states = st.fixed_dictionaries(
    {
        "freezes": st.sampled_from([{}, {"prod": ()}, {"prod": (frozen(),)}]),
        "released": st.sampled_from([{}, {("prod", NAME): None}, released(digest_of("x"), "v2.0.0")]),
        "pointing": st.sampled_from([{(DEV, "v1.0.0"): APP}, {(DEV, "v1.0.0"): digest_of("x")}, {}]),
    }
)
configured = st.sets(st.sampled_from(sorted(GATES))).map(lambda names: {name: GATES[name] for name in sorted(names)})
WAY_IN = {"tags", "target", "order"}


@given(st.lists(some_fact(), max_size=12), configured, states, st.integers(-60, 60 * 24 * 6))
def test_a_verdict_and_its_rows_never_contradict_each_other(
    facts: list[Fact], gates: dict[str, Any], state: dict[str, Any], minutes: int
) -> None:
    pointing = state.pop("pointing")
    image = image_of(*facts, **state)
    image = type(image)(
        image.digest, tuple(sorted(image.facts, key=lambda f: f.sort)), pointing=pointing, freezes=image.freezes,
        released=image.released,
    )  # fmt: skip
    decision = decided(
        case_of(policy=policy_of(gates, overridable=["soak"]), image=image, now=LATER + timedelta(minutes=minutes))
    )
    rows = {g.name: g for g in decision.gates}
    verdicts = {g.verdict for g in decision.gates}
    failed = [g for g in decision.gates if g.verdict == FAILED]
    if decision.verdict == PASSED:
        assert verdicts == {PASSED}
    elif decision.verdict == WAITING:
        assert WAITING in verdicts
        assert not failed
    elif decision.verdict == FAILED:
        assert [g for g in failed if "conflicts" not in g.facts]
    elif decision.verdict == CONFLICT:
        assert failed
        assert all("conflicts" in g.facts for g in failed)
    else:
        assert decision.verdict == PROMOTED
        assert all(rows[name].verdict == PASSED for name in WAY_IN & rows.keys())
        assert all(rows[name].verdict != WAITING for name in MOMENTARY & rows.keys())
        assert not any("not been asked" in g.reason for g in decision.gates)
    assert (decision.deciding is None) == (verdicts == {PASSED})
    assert not (decision.stays and decision.verdict != PROMOTED)
    assert not (decision.may_stage and failed)
    assert not (decision.may_tag and not decision.is_candidate)
    assert not (decision.rolls_on and failed)
    assert decision.is_candidate == (rows["tags"].verdict == PASSED)
