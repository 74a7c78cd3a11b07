"""The gate `check`: who may post a result, which one counts, and for how long."""

from datetime import timedelta
from typing import Any

import pytest

from support.fakes.gate_cases import LATER, case_of, checked, decided, judged, policy_of, said
from tallyman.domain.gates import FAILED, PASSED, WAITING
from tallyman.domain.history.facts import Fact, Kind
from tallyman.errors import PolicyError

E2E = {"check": [{"name": "e2e", "from": ["role/ci"], "max_age": "7d"}]}
BOTH = {"check": [*E2E["check"], {"name": "ticket", "from": ["role/desk"]}]}


def result(result: str = "passed", minutes: int = 0, who: str = "run-42", **more: Any) -> Fact:
    return checked(result, who, **{"at": LATER + timedelta(minutes=minutes), "role": "role/ci", **more})


def test_without_a_result_the_gate_waits_and_names_who_may_post() -> None:
    found = judged("check", case_of(gates=E2E))
    assert (found.verdict, found.reason) == (WAITING, "no result of e2e yet from role/ci")
    assert found.facts["checks"][0]["result"] is None


@pytest.mark.parametrize(("posted", "verdict"), [("passed", PASSED), ("failed", FAILED)])
def test_a_result_is_the_verdict_with_its_poster_and_reason(posted: str, verdict: str) -> None:
    found = judged("check", case_of(result(posted), gates=E2E))
    assert (found.verdict, found.reason) == (verdict, f"e2e {posted}, by run-42 (role/ci): it is fine")
    reported = found.facts["checks"][0]
    assert (reported["result"], reported["by"], reported["at"]) == (posted, "run-42 (role/ci)", "2026-11-16T13:00:00Z")


@pytest.mark.parametrize(
    "other",
    [
        result(check="load"),
        result(environment="prod"),
        result(name="rocketseat/other"),
        result(role="role/developers"),
        result(principal=None),
        result(refused="run-42 may not"),
    ],
    ids=["another check", "another environment", "another repository", "another role", "nobody", "refused"],
)
def test_results_of_other_checks_do_not_count(other: Fact) -> None:
    assert judged("check", case_of(other, gates=E2E)).verdict == WAITING


def test_a_later_result_supersedes_an_earlier_one_in_both_directions() -> None:
    assert judged("check", case_of(result("failed"), result("passed", 1), gates=E2E)).verdict == PASSED
    assert judged("check", case_of(result("passed", 1), result("failed", 2), gates=E2E)).verdict == FAILED
    assert judged("check", case_of(result("failed", 2), result("passed", 1), gates=E2E)).verdict == FAILED


def test_of_two_simultaneous_results_the_failure_counts() -> None:
    for order in (("failed", "passed"), ("passed", "failed")):
        assert judged("check", case_of(*(result(each) for each in order), gates=E2E)).verdict == FAILED


@pytest.mark.parametrize("posted", ["passed", "failed"])
def test_an_expired_result_waits_and_never_becomes_valid_again(posted: str) -> None:
    fact, week = result(posted), timedelta(days=7)
    assert judged("check", case_of(fact, gates=E2E, now=LATER + week)).verdict != WAITING
    for later in (timedelta(seconds=1), timedelta(days=400)):
        found = judged("check", case_of(fact, gates=E2E, now=LATER + week + later))
        assert (found.verdict, "older than 7d" in found.reason) == (WAITING, True)


def test_an_expired_failure_does_not_revive_an_older_pass() -> None:
    late = LATER + timedelta(days=8)
    assert judged("check", case_of(result("passed"), result("failed", 1), gates=E2E, now=late)).verdict == WAITING


def test_every_check_of_the_list_must_pass() -> None:
    ticket = result(check="ticket", role="role/desk", who="T-1")
    assert judged("check", case_of(result(), gates=BOTH)).reason == "no result of ticket yet from role/desk"
    assert judged("check", case_of(result(), ticket, gates=BOTH)).verdict == PASSED
    failed = judged("check", case_of(result("failed"), gates=BOTH))
    assert (failed.verdict, failed.reason.count("e2e"), "ticket" in failed.reason) == (FAILED, 1, False)
    assert [each["name"] for each in failed.facts["checks"]] == ["e2e", "ticket"]


def test_a_role_removed_from_the_policy_no_longer_counts() -> None:
    assert decided(case_of(result(), gates=E2E)).gates[2].verdict == PASSED
    other = {"check": [{"name": "e2e", "from": ["role/testers"]}]}
    assert judged("check", case_of(result(), gates=other)).verdict == WAITING


@pytest.mark.parametrize(
    ("check", "wrong"),
    [
        ([], "at least 1"),
        ([{"name": "e2e"}], "a check, as in"),
        ([{"name": "e2e", "from": []}], "at least 1"),
        ([{"name": "", "from": ["role/ci"]}], "a name such as e2e"),
        ([{"name": "e2e", "from": ["ci"]}], "a role"),
        ([{"name": "e2e", "from": ["role/a"]}, {"name": "e2e", "from": ["role/b"]}], "the check e2e is listed twice"),
        ([{"name": "e2e", "from": ["role/ci"], "max_age": 7}], "duration"),
        ("e2e", "a list"),
    ],
)
def test_invalid_policies_are_refused(check: object, wrong: str) -> None:
    with pytest.raises(PolicyError, match=wrong):
        policy_of({"check": check})


def test_the_policy_can_make_it_overridable() -> None:
    policy = policy_of(E2E, overridable=["check"])
    assert judged("check", case_of(said(Kind.OVERRIDDEN, gate="check"), policy=policy)).verdict == PASSED


ASKED = "arn:aws:lambda:us-east-2:111111111111:function:ticket:live"


def test_a_single_check_needs_no_list() -> None:
    assert judged("check", case_of(result(), gates={"check": E2E["check"][0]})).verdict == PASSED
    assert judged("check", case_of(gates={"check": {"lambda": ASKED}})).reason == (
        "no result of ticket yet from the function ticket:live"
    )


@pytest.mark.parametrize(
    ("posted", "verdict", "reason"),
    [
        ("passed", PASSED, "ticket passed, by the function ticket:live: it is fine"),
        ("failed", FAILED, "ticket failed, by the function ticket:live: it is fine"),
        ("waiting", WAITING, "ticket waits, says the function ticket:live: it is fine"),
    ],
)
def test_the_answer_of_the_function_is_the_verdict(posted: str, verdict: str, reason: str) -> None:
    answer = result(posted, check="ticket", principal=ASKED)
    found = judged("check", case_of(answer, gates={"check": {"lambda": ASKED, "max_age": "7d"}}))
    assert (found.verdict, found.reason) == (verdict, reason)


def test_results_of_people_and_other_functions_do_not_count() -> None:
    gates = {"check": {"lambda": ASKED}}
    for principal in ("role/ci", ASKED.replace(":live", ":old"), None):
        assert judged("check", case_of(result(check="ticket", principal=principal), gates=gates)).verdict == WAITING
    posted = {"check": [{"name": "ticket", "from": ["role/ci"]}]}
    assert judged("check", case_of(result(check="ticket", principal=ASKED), gates=posted)).verdict == WAITING


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"lambda": "ticket"}, "the ARN of a Lambda function"),
        ({"lambda": ASKED, "from": ["role/ci"], "name": "x"}, "lambda"),
        ({"name": "e2e"}, "a check, as in"),
        ([{"lambda": ASKED}, {"name": "ticket", "from": ["role/ci"]}], "listed twice"),
    ],
)
def test_invalid_checks_are_refused(wrong: Any, why: str) -> None:
    with pytest.raises(PolicyError, match=why):
        policy_of({"check": wrong})
