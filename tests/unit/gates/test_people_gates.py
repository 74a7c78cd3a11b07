"""Approvals, freezes, recalls and overrides: facts of people, and when they count."""

from datetime import timedelta
from typing import Any

import pytest

from support.fakes.gate_cases import (
    APP,
    LATER,
    NAME,
    case_of,
    decided,
    frozen,
    image_of,
    judged,
    policy_of,
    said,
    target_seen,
    without,
)
from support.images.builders import DEV, NOON, digest_of, fact, pushed, scanned
from tallyman.domain.gates import FAILED, PASSED, WAITING
from tallyman.domain.history.facts import Fact, Kind

ONE = {"approvals": {"count": 1, "from": ["role/release-managers"]}}
TWO = {"approvals": {"count": 2, "from": ["role/release-managers", "role/security"]}}


def approval(who: str = "ana", minutes: int = 0, **more: Any) -> Fact:
    return said(Kind.APPROVED, who, at=NOON + timedelta(minutes=minutes), **more)


def denial(who: str = "ana", minutes: int = 0, **more: Any) -> Fact:
    return said(Kind.DENIED, who, at=NOON + timedelta(minutes=minutes), because="it leaks", **more)


def test_without_an_approval_the_gate_waits() -> None:
    result = judged("approvals", case_of(gates=ONE))
    assert (result.verdict, result.reason) == (WAITING, "needs 1 approval of role/release-managers")
    assert result.held


def test_an_approval_of_the_right_role_opens_the_gate() -> None:
    result = judged("approvals", case_of(approval(), gates=ONE))
    assert (result.verdict, result.reason) == (PASSED, "approved by ana (role/release-managers)")


@pytest.mark.parametrize(
    "other",
    [
        approval(role="role/developers"),
        approval(principal=None),
        approval(to="staging"),
        approval(name="rocketseat/other"),
        approval(refused="somebody may not"),
        fact(Kind.REQUESTED, APP, to="prod", name=NAME, command="approve", refused="no"),
    ],
    ids=["another role", "nobody", "another environment", "another repository", "refused", "refused as a request"],
)
def test_approvals_for_other_promotions_do_not_count(other: Fact) -> None:
    assert judged("approvals", case_of(other, gates=ONE)).verdict == WAITING


def test_two_approvals_need_two_people_not_one_with_two_roles() -> None:
    twice = [approval("ana"), approval("ana", 1), approval("ana", 2, role="role/security")]
    result = judged("approvals", case_of(*twice, gates=TWO))
    assert result.verdict == WAITING
    assert "1 given by ana" in result.reason
    assert judged("approvals", case_of(*twice, approval("bob"), gates=TWO)).verdict == PASSED


def test_the_pusher_cannot_approve_in_any_role() -> None:
    push = pushed(APP, "v1.0.0", actor="arn:aws:sts::111111111111:assumed-role/ci/ana", call="c")
    result = judged("approvals", case_of(push, approval("ana"), gates=ONE))
    assert result.verdict == WAITING
    assert "ana (role/release-managers) pushed it, and does not count" in result.reason
    assert judged("approvals", case_of(push, approval("ana"), approval("bob"), gates=ONE)).verdict == PASSED


def test_the_first_pusher_in_another_registry_cannot_approve_either() -> None:
    elsewhere = fact(
        Kind.PUSHED, APP, DEV.parse("333333333333/us-east-2/x/y"), "v1", actor="arn:aws:iam::333333333333:user/ana"
    )
    assert judged("approvals", case_of(elsewhere, approval("ana"), gates=ONE)).verdict == WAITING
    assert judged("approvals", case_of(elsewhere, approval("bob"), gates=ONE)).verdict == PASSED


def test_a_denial_closes_the_gate_until_enough_people_approve_after_it() -> None:
    denied = [approval("ana", 1), denial("bob", 2)]
    result = judged("approvals", case_of(*denied, gates=ONE))
    assert (result.verdict, result.reason) == (FAILED, "denied by bob (role/release-managers): it leaks")
    assert judged("approvals", case_of(*denied, approval("ana", 3), gates=ONE)).verdict == PASSED
    once = judged("approvals", case_of(*denied, approval("ana", 3), gates=TWO))
    assert once.verdict == FAILED
    assert "2 are needed" in once.reason


def test_of_a_simultaneous_denial_and_approval_the_denial_counts() -> None:
    assert judged("approvals", case_of(approval("ana", 1), denial("bob", 1), gates=ONE)).verdict == FAILED


UNSCANNABLE = {"scan": {"max": {"critical": 0}, "unscannable": "approve"}}


def test_an_unscannable_image_waits_for_an_approval() -> None:
    policy = policy_of(UNSCANNABLE, approve=["role/release-managers"])
    found = scanned(APP, status="unsupported")
    result = judged("scan", case_of(found, policy=policy))
    assert (result.verdict, result.reason) == (WAITING, "it can't be scanned; it waits for an approval")
    opened = judged("scan", case_of(found, approval(), policy=policy))
    assert (opened.verdict, opened.reason) == (PASSED, "it can't be scanned; approved by ana (role/release-managers)")
    closed = judged("scan", case_of(found, approval(), denial("bob", 5), policy=policy))
    assert closed.verdict == FAILED


def test_an_unscannable_image_uses_the_approvals_of_an_existing_gate() -> None:
    gates = {**UNSCANNABLE, "approvals": {"count": 1, "from": ["role/security"]}}
    policy = policy_of(gates, approve=["role/release-managers", "role/security"])
    found = scanned(APP, status="unsupported")
    assert judged("scan", case_of(found, approval(), policy=policy)).verdict == WAITING
    assert judged("scan", case_of(found, approval(role="role/security"), policy=policy)).verdict == PASSED


def test_an_approval_does_not_override_findings() -> None:
    policy = policy_of(UNSCANNABLE, approve=["role/release-managers"])
    assert judged("scan", case_of(scanned(APP, {"critical": 1}), approval(), policy=policy)).verdict == FAILED


def test_a_freeze_of_the_environment_or_repository_blocks() -> None:
    for repository in (None, NAME):
        image = image_of(target_seen(), freezes={"prod": (frozen(repository),)})
        result = judged("freeze", case_of(image=image))
        assert result.verdict == WAITING
        assert result.held
        assert result.reason.endswith("by ana (role/release-managers): the shop is full")
        assert decided(case_of(image=image)).verdict == WAITING


def test_a_freeze_of_another_repository_or_environment_holds_nothing() -> None:
    image = image_of(freezes={"prod": (frozen("rocketseat/other"),), "staging": (frozen(),)})
    assert judged("freeze", case_of(image=image)).verdict == PASSED


def test_unknown_freezes_keep_the_gate_closed() -> None:
    result = judged("freeze", case_of(image=image_of(freezes={})))
    assert (result.verdict, result.reason) == (WAITING, "it is not known whether prod is frozen")


def recall(digest: str = APP) -> Fact:
    return fact(Kind.RECALLED, digest, actor="AROAX:ana", principal="role/security", because="it mines coins", at=LATER)


def test_a_recalled_image_is_refused() -> None:
    result = judged("recalled", case_of(recall()))
    assert result.verdict == FAILED
    assert result.reason == "recalled by ana (role/security) at 2026-11-16T13:00:00Z: it mines coins"
    assert decided(case_of(recall(), target_seen())).verdict == FAILED


@pytest.mark.parametrize("where", ["platforms", "indexes"])
def test_a_recalled_child_blocks_its_index(where: str) -> None:
    child = digest_of("child")
    image = without(image_of(), **{where: {child: (recall(child),)}})
    result = judged("recalled", case_of(image=image))
    assert result.verdict == FAILED
    assert f"{child.short} beneath it: recalled by ana" in result.reason


def override(gate: str = "soak", because: str = "the site is down", **more: Any) -> Fact:
    return said(Kind.OVERRIDDEN, "ana", gate=gate, because=because, **more)


def test_an_override_opens_the_named_gate_and_keeps_its_original_verdict() -> None:
    policy = policy_of({"soak": "24h"}, overridable=["soak"])
    assert judged("soak", case_of(policy=policy)).verdict == WAITING
    result = judged("soak", case_of(override(), policy=policy))
    assert result.verdict == PASSED
    assert result.reason.startswith(
        "overridden by ana (role/release-managers) because the site is down; it said waiting"
    )
    assert result.facts["overridden"]["verdict"] == WAITING
    assert result.facts["soak"] == "24h"


def test_an_override_counts_only_for_an_overridable_gate() -> None:
    assert judged("soak", case_of(override(), gates={"soak": "24h"})).verdict == WAITING


@pytest.mark.parametrize(
    "other",
    [override("window"), override(to="staging"), override(name="rocketseat/other"), override(refused="no")],
    ids=["another gate", "another environment", "another repository", "refused"],
)
def test_an_override_of_something_else_opens_nothing(other: Fact) -> None:
    policy = policy_of({"soak": "24h"}, overridable=["soak"])
    assert judged("soak", case_of(other, policy=policy)).verdict == WAITING


def test_an_override_counts_for_a_day() -> None:
    policy = policy_of({"soak": "2w"}, overridable=["soak"])
    just, over = LATER + timedelta(hours=24, milliseconds=-1), LATER + timedelta(hours=24)
    assert judged("soak", case_of(override(), policy=policy, now=just)).verdict == PASSED
    assert judged("soak", case_of(override(), policy=policy, now=over)).verdict == WAITING


def test_a_freeze_can_be_overridden_if_the_promotion_says_so() -> None:
    image = image_of(override("freeze"), freezes={"prod": (frozen(),)})
    assert judged("freeze", case_of(image=image, policy=policy_of(overridable=["freeze"]))).verdict == PASSED
    assert judged("freeze", case_of(image=image, policy=policy_of())).verdict == WAITING


@pytest.mark.parametrize("gate", ["recalled", "target", "tags", "verified"])
def test_gates_that_may_never_be_overridden_are_not(gate: str) -> None:
    image = image_of(override(gate), recall())
    gates = {"verified": True}
    results = {g: judged(g, case_of(image=image, gates=gates, tags=())).verdict for g in (gate,)}
    assert results[gate] in (WAITING, FAILED)
