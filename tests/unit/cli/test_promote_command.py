"""`tallyman promote`: the services react while the command waits."""

import json

import pytest

from support.fakes.cli_stack import POLICY, FakeStack
from support.images.builders import DEV, PROD, PROD_SA, image, multi_arch
from tallyman.adapters.files import policy_file
from tallyman.domain.history.facts import Kind
from tallyman.errors import Unreachable

NAME = "dev/rocketseat/widget-server"
ARGUMENTS = ("promote", f"{NAME}:v1.0.0", "--to", "prod")


@pytest.fixture
def ready(everywhere: FakeStack) -> FakeStack:
    """An image whose gates are all open; its promotion has not started."""
    app = multi_arch()
    everywhere.push(app, "v1.0.0")
    everywhere.scan(app)
    everywhere.hints.take()
    return everywhere


def test_it_waits_until_the_image_is_in_every_registry(ready: FakeStack) -> None:
    found = ready.json(*ARGUMENTS)
    assert found["verdict"] == "promoted"
    digest = found["digest"]
    assert [ready.registries.tag_of(place, "v1.0.0") for place in (PROD, PROD_SA)] == [digest, digest]
    asked = [f for f in ready.ledger.facts if f.kind is Kind.REQUESTED]
    assert [f.detail["request"] for f in asked] == [found["request"]]


def test_a_promoted_image_that_a_registry_has_lost_is_brought_again_before_it_ends(ready: FakeStack) -> None:
    digest = ready.json(*ARGUMENTS)["digest"]
    ready.registries.delete(PROD, digest)
    found = ready.json(*ARGUMENTS)
    assert found["verdict"] == "promoted"
    assert [ready.registries.tag_of(place, "v1.0.0") for place in (PROD, PROD_SA)] == [digest, digest]


def test_the_command_contains_the_request_and_not_the_person(ready: FakeStack) -> None:
    result = ready.run(*ARGUMENTS, "--no-wait", "--json")
    assert result.exit_code == 0
    (body,) = ready.hints.to("commands")
    assert set(body) == {"command", "request", "digest", "repository", "from", "to"}
    assert (body["command"], body["repository"]) == ("promote", "rocketseat/widget-server")
    assert (body["from"], body["to"]) == ("dev", "prod")
    assert json.loads(result.stdout)["request"] == body["request"]
    assert ready.slept == 0


def test_a_dry_run_sends_nothing_and_exits_0_if_it_would_pass(ready: FakeStack) -> None:
    facts = len(ready.ledger.facts)
    found = ready.json(*ARGUMENTS, "--dry-run")
    assert (found["verdict"], found["request"]) == ("waiting", None)
    assert (ready.hints.sent, len(ready.ledger.facts)) == ([], facts)


def test_a_dry_run_exits_1_if_a_gate_fails(everywhere: FakeStack) -> None:
    app = multi_arch()
    everywhere.push(app, "v1.0.0")
    assert everywhere.json(*ARGUMENTS, "--dry-run", status=1)["verdict"] == "waiting"
    everywhere.scan(app, {"critical": 1})
    assert everywhere.json(*ARGUMENTS, "--dry-run", status=1)["verdict"] == "failed"


def test_a_failed_gate_exits_1_with_its_reason(everywhere: FakeStack) -> None:
    app = multi_arch()
    everywhere.push(app, "v1.0.0")
    everywhere.scan(app, {"critical": 2})
    result = everywhere.run(*ARGUMENTS)
    assert result.exit_code == 1
    assert "refused for prod: scan: " in result.stdout
    assert "2 critical findings" in result.stdout
    assert everywhere.registries.tag_of(PROD, "v1.0.0") is None


def test_a_waiting_gate_is_not_an_immediate_refusal(everywhere: FakeStack) -> None:
    everywhere.push(multi_arch(), "v1.0.0")
    result = everywhere.run(*ARGUMENTS)
    assert result.exit_code == 1
    assert "waits for prod: scan: " in result.stdout
    assert everywhere.slept < 1


def test_a_taken_tag_is_a_conflict(ready: FakeStack) -> None:
    other = image("other")
    ready.registries.push(PROD, other, "v1.0.0")
    found = ready.json(*ARGUMENTS, status=1)
    assert found["verdict"] == "conflict"
    assert ready.registries.tag_of(PROD, "v1.0.0") == other.digest
    assert ready.registries.tag_of(PROD_SA, "v1.0.0") is None


def test_a_registry_that_does_not_answer_is_named_and_exits_1(ready: FakeStack) -> None:
    ready.registries.fail(PROD_SA.registry, Unreachable("sa-east-1 does not answer"))
    result = ready.run(*ARGUMENTS)
    assert result.exit_code == 1
    assert "sa-east-1 does not answer" in result.stdout
    assert ready.registries.tag_of(PROD, "v1.0.0") is None


def test_a_person_whom_the_policy_does_not_allow_is_refused_with_the_reason(ready: FakeStack) -> None:
    ready.policy = policy_file.loads((POLICY + "people: {promote: [role/release-managers]}\n").encode())
    result = ready.run(*ARGUMENTS, "--json")
    assert result.exit_code == 1
    assert "may not promote" in result.stderr
    assert json.loads(result.stdout)["verdict"] != "promoted"
    assert ready.dead_letters
    assert ready.registries.tag_of(PROD, "v1.0.0") is None


def test_an_already_promoted_image_is_done_at_once(ready: FakeStack) -> None:
    assert ready.run(*ARGUMENTS).exit_code == 0
    again = ready.json(*ARGUMENTS)
    assert again["verdict"] == "promoted"


def test_a_stack_that_does_not_process_the_request_times_out_with_a_message(ready: FakeStack) -> None:
    ready.works = False
    result = ready.run(*ARGUMENTS, "--timeout", "7")
    assert result.exit_code == 1
    assert "not taken up within 7 s" in result.stderr
    assert ready.slept == pytest.approx(7)


def test_a_missing_image_is_never_requested(everywhere: FakeStack) -> None:
    assert everywhere.run("promote", f"{NAME}:v9.9.9", "--to", "prod").exit_code == 1
    assert everywhere.run("promote", f"{NAME}:v9.9.9", "--to", "dev").exit_code == 2
    assert everywhere.hints.sent == []


def test_an_earlier_conflict_is_checked_again(ready: FakeStack) -> None:
    other = image("other")
    ready.registries.push(PROD, other, "v1.0.0")
    assert ready.run(*ARGUMENTS).exit_code == 1
    ready.registries.delete(PROD, other.digest)
    ready.clock.advance(minutes=1)
    result = ready.run(*ARGUMENTS)
    assert result.exit_code == 0, result.output


def test_the_image_is_named_by_its_place_in_dev(ready: FakeStack) -> None:
    address = f"{DEV.registry.host}/{DEV.name}:v1.0.0"
    assert ready.json("promote", address, "--to", "prod")["image"] == address
