"""`tallyman reconcile`: invokes the stack's function until nothing is left."""

from typing import Any

import pytest

from support.fakes.cli_stack import FakeStack
from tallyman.errors import Refused

IN_DEV = {"environment": "dev", "registry": "111111111111/us-east-2"}


def answer(**more: Any) -> dict[str, Any]:
    """An answer of services/reconcile."""
    registries = [
        {"registry": "111111111111/us-east-2", "repositories": 1, "images": 40, "missed": 2, "error": None},
        {"registry": "222222222222/us-east-2", "repositories": 2, "images": 3, "missed": 0, "error": None},
    ]
    found = {"registries": registries, "found": {"pushed": 2}, "retried": 1, "missed": {}, "trail": {}, "storage": {}}
    return {**found, "problems": [], "more": False, "token": "t1", **more}


def test_runs_continue_by_token_to_the_end_and_their_results_are_summed(system: FakeStack) -> None:
    answers = [answer(more=True), answer(more=True), answer()]
    system.reconciled = lambda payload: answers.pop(0)
    found = system.json("reconcile")
    assert system.sweeps == [{}, {"token": "t1"}, {"token": "t1"}]
    assert [(r["registry"], r["images"], r["missed"], r["error"]) for r in found["registries"]] == [
        ("111111111111/us-east-2", 120, 6, None),
        ("222222222222/us-east-2", 9, 0, None),
    ]
    assert (found["found"], found["retried"], found["runs"], found["more"]) == ({"pushed": 6}, 3, 3, False)


@pytest.mark.parametrize(
    ("text", "payload"),
    [
        ("dev/rocketseat/widget-server", {"repositories": ["rocketseat/widget-server"], **IN_DEV}),
        ("dev/rocketseat/widget-server:v1", {"repositories": ["rocketseat/widget-server"], **IN_DEV}),
        ("dev/rocketseat/*", {"repositories": ["rocketseat/*"], **IN_DEV}),
        ("prod/rocketseat/app", {"repositories": ["rocketseat/app"], "environment": "prod"}),
        (
            "prod[2]/rocketseat/app",
            {"repositories": ["rocketseat/app"], "environment": "prod", "registry": "222222222222/sa-east-1"},
        ),
        (
            "111111111111.dkr.ecr.us-east-2.amazonaws.com/rocketseat/app",
            {"repositories": ["111111111111/us-east-2/rocketseat/app"], "registry": "111111111111/us-east-2"},
        ),
    ],
)
def test_only_the_named_repositories_are_swept(system: FakeStack, text: str, payload: dict[str, Any]) -> None:
    system.reconciled = lambda payload: answer()
    assert system.run("reconcile", text).exit_code == 0
    assert system.sweeps == [payload]


def test_any_result_exits_0(system: FakeStack) -> None:
    system.reconciled = lambda payload: answer(problems=["CloudTrail of 222222222222 can't be read"])
    result = system.run("reconcile")
    assert result.exit_code == 0
    assert "2 pushed" in result.stdout
    assert "CloudTrail" in result.stderr


def test_an_unreadable_registry_in_any_run_exits_1(system: FakeStack) -> None:
    bad = answer(more=True)
    bad["registries"][1]["error"] = "no answer"
    answers = [bad, answer()]
    system.reconciled = lambda payload: answers.pop(0)
    result = system.run("reconcile")
    assert result.exit_code == 1
    assert "222222222222/us-east-2 could not be read: no answer" in result.stderr


def test_an_unreadable_registry_outside_the_request_is_ignored(system: FakeStack) -> None:
    bad = answer()
    bad["registries"][0]["error"] = "no answer"
    system.reconciled = lambda payload: bad
    assert system.run("reconcile", "dev/rocketseat/widget-server").exit_code == 1
    found = system.json("reconcile", "prod/rocketseat/widget-server")
    assert [r["registry"] for r in found["registries"]] == ["222222222222/us-east-2"]


def test_a_failed_function_exits_1_with_its_message(system: FakeStack) -> None:
    def fails(payload: Any) -> dict[str, Any]:
        raise Refused("run tallyman-reconcile: it failed: KeyError: 'x'")

    system.reconciled = fails
    result = system.run("reconcile")
    assert result.exit_code == 1
    assert "KeyError" in result.stderr


@pytest.mark.parametrize("text", ["staging/app", "nonsense", "prod[7]/app"])
def test_bad_input_invokes_nothing(system: FakeStack, text: str) -> None:
    assert system.run("reconcile", text).exit_code == 2
    assert system.sweeps == []


def test_a_repository_that_no_registry_has_is_reported(system: FakeStack) -> None:
    nothing = {"registry": "111111111111/us-east-2", "repositories": 0, "images": 0, "missed": 0, "error": None}
    system.reconciled = lambda payload: answer(registries=[nothing])
    result = system.run("reconcile", "dev/no/such", "--json")
    assert result.exit_code == 0
    assert result.stderr == "no registry that was read has a repository dev/no/such\n"
