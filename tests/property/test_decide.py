"""decide: the same facts give the same decision; unknown means closed; the order of facts is irrelevant; gates are
independent."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from support.fakes.recording import policy
from support.images.builders import DEV, NOON, PROD, digest_of, fact, pushed, scanned, verified
from tallyman.domain.decide import Decision, decide_all
from tallyman.domain.gates import FAILED, PASSED, WAITING, ImageFacts
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.policy import Policy

DIGEST, OTHER = digest_of("a"), digest_of("b")
GATES: dict[str, Any] = {"verified": True, "scan": {"max": {"critical": 0}, "max_age": "7d"}, "soak": "24h"}
CHECK = {"name": "manifest_digest", "verdict": "passed", "reason": ""}


@st.composite
def facts(draw: st.DrawFn) -> Fact:
    at = NOON - timedelta(hours=draw(st.integers(0, 240)))
    place = draw(st.sampled_from([DEV, DEV, PROD]))
    kind = draw(st.sampled_from(["pushed", "scanned", "verified", "seen", "delayed", "parked"]))
    if kind == "pushed":
        return pushed(DIGEST, draw(st.sampled_from(["v1.0.0", "latest"])), place, at=at, index=False)
    if kind == "scanned":
        status = draw(st.sampled_from(["complete", "complete", "failed", "unsupported"]))
        return scanned(DIGEST, {"critical": draw(st.integers(0, 1))}, place, status=status, at=at)
    if kind == "verified":
        verdict = draw(st.sampled_from(["passed", "failed", "unknown"]))
        level = draw(st.sampled_from(["content", "presence"]))
        return verified(DIGEST, verdict, place, at=at, level=level, checks=[{**CHECK, "verdict": verdict}])
    if kind == "seen":
        tags = {"v1.0.0": draw(st.sampled_from([None, DIGEST, OTHER]))}
        answer = {"exists": True, "immutable": True, "mutable_tags": [], "tags": tags, "error": None}
        registries = dict.fromkeys(["222222222222/us-east-2", "222222222222/sa-east-1"], answer)
        return fact(Kind.TARGET_SEEN, DIGEST, at=at, to="prod", name=DEV.name, registries=registries)
    detail: dict[str, Any] = {
        "to": "prod",
        "name": DEV.name,
        "reason": "slow",
        "attempt": 1,
        "next_at": "2026-11-16T13:00:00Z",
    }
    return fact(Kind.DELAYED if kind == "delayed" else Kind.PARKED, DIGEST, at=at, **detail)


many = st.lists(facts(), max_size=10)
configured = st.sets(st.sampled_from(sorted(GATES))).map(lambda names: {n: GATES[n] for n in sorted(names)})


def judge(gates: dict[str, Any], recorded: list[Fact], pointing: bool = True) -> Decision | None:
    """The decision for prod about an image, with or without its tag v1.0.0 in dev."""
    base = pushed(DIGEST, "v1.0.0", DEV, at=NOON - timedelta(days=20), index=False)
    where = {(DEV, "v1.0.0"): DIGEST if pointing else OTHER}
    image = ImageFacts(DIGEST, tuple(sorted([base, *recorded], key=lambda f: f.sort)), {}, where)
    found = decide_all(rules(gates), image, NOON)
    return found[0] if found else None


def rules(gates: dict[str, Any]) -> Policy:
    return policy(**gates)


def result(decision: Decision | None, gate: str) -> str:
    assert decision is not None
    return next(g.verdict for g in decision.gates if g.name == gate)


@given(configured, many)
def test_the_same_facts_give_the_same_decision(gates: dict[str, Any], recorded: list[Fact]) -> None:
    assert judge(gates, recorded) == judge(gates, recorded)


@given(configured, many, st.randoms(use_true_random=False))
def test_the_order_in_which_facts_are_given_never_matters(
    gates: dict[str, Any], recorded: list[Fact], chance: Any
) -> None:
    base = pushed(DIGEST, "v1.0.0", DEV, at=NOON - timedelta(days=20), index=False)
    one, two = [base, *recorded], [base, *recorded]
    chance.shuffle(two)
    where = {(DEV, "v1.0.0"): DIGEST}
    found = [decide_all(rules(gates), ImageFacts(DIGEST, tuple(f), {}, where), NOON) for f in (one, two)]
    assert found[0] == found[1]


@given(configured, many, st.sampled_from(sorted(GATES)))
def test_an_additional_gate_never_opens_a_decision(gates: dict[str, Any], recorded: list[Fact], extra: str) -> None:
    assume(extra not in gates)
    fewer, more = judge(gates, recorded), judge({**gates, extra: GATES[extra]}, recorded)
    assert fewer is not None
    assert more is not None
    assert fewer.may_stage or not more.may_stage
    assert fewer.verdict == PASSED or more.verdict != PASSED


@given(many)
def test_what_may_be_staged_was_verified_scanned_and_soaked(recorded: list[Fact]) -> None:
    """Law 6: no gate, no passage."""
    decision = judge(GATES, recorded)
    assert decision is not None
    if decision.may_stage:
        assert any(
            f.kind is Kind.VERIFIED and f.repository == DEV and f.detail["verdict"] == "passed" for f in recorded
        )
        scans = [f for f in recorded if f.kind is Kind.SCANNED and f.detail["status"] == "complete"]
        assert any(f.detail["counts"]["critical"] == 0 and NOON - f.at <= timedelta(days=7) for f in scans)


@pytest.mark.parametrize("gate", sorted(GATES))
def test_unknown_is_closed(gate: str) -> None:
    image = ImageFacts(DIGEST, (pushed(DIGEST, "v1.0.0", DEV, at=NOON),), {}, {(DEV, "v1.0.0"): DIGEST})
    (decision,) = decide_all(rules({gate: GATES[gate]}), image, NOON)
    assert result(decision, gate) in (WAITING, FAILED)
    assert not decision.may_stage


@given(many)
def test_without_a_promotable_tag_nothing_is_promoted(recorded: list[Fact]) -> None:
    decision = judge({}, recorded, pointing=False)
    assert decision is not None
    assert not decision.is_candidate
    assert not decision.may_stage
    assert result(decision, "tags") == FAILED


@given(configured, many)
def test_nothing_is_promoted_if_a_target_tag_names_another_image(gates: dict[str, Any], recorded: list[Fact]) -> None:
    """Law 5: a promotion never overwrites."""
    taken = {"exists": True, "immutable": True, "mutable_tags": [], "tags": {"v1.0.0": OTHER}, "error": None}
    last = fact(
        Kind.TARGET_SEEN,
        DIGEST,
        at=NOON,
        seen=NOON + timedelta(seconds=1),
        to="prod",
        name=DEV.name,
        registries={"222222222222/us-east-2": taken},
    )
    decision = judge(gates, [*recorded, last])
    assert decision is not None
    assert not decision.may_stage
    assert decision.verdict not in (PASSED, "promoted")


@given(configured, many)
def test_a_decision_contains_the_policy_and_every_required_gate(gates: dict[str, Any], recorded: list[Fact]) -> None:
    decision = judge(gates, recorded)
    assert decision is not None
    assert decision.policy == rules(gates).digest
    names = [g.name for g in decision.gates]
    assert names[0] == "tags"
    assert set(gates) | {"target"} <= set(names)
    assert all(g.reason for g in decision.gates)
