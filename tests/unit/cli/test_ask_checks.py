"""Checks by a function of the owner: when it is invoked, with which input, and the result of each answer."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from support.fakes.cli_stack import POLICY, FakeStack
from support.images.builders import DEV, PROD, image, push_event
from tallyman.adapters.files import policy_file
from tallyman.domain.history.details.commands import Said
from tallyman.domain.history.facts import Kind
from tallyman.errors import TransientError

ASKED = "arn:aws:lambda:us-east-2:111111111111:function:ticket"
V1 = "dev/rocketseat/widget-server:v1.0.0"
FINE = {"result": "passed", "because": "TICKET-42"}


class Functions:
    """Returns answers in turn, the last one repeatedly; an exception is raised."""

    def __init__(self, *answers: Any) -> None:
        self.answers, self.questions = list(answers), []

    questions: list[Mapping[str, Any]]

    def ask(self, function: str, question: Mapping[str, Any]) -> Any:
        assert function == ASKED
        self.questions.append(json.loads(json.dumps(question)))
        answer = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def stack(everywhere: FakeStack) -> FakeStack:
    gates = json.dumps({"verified": True, "check": {"lambda": ASKED}})
    text = POLICY.replace("{verified: true, scan: {max: {critical: 0}}}", gates)
    everywhere.policy = policy_file.loads(text.encode()).for_hub(DEV.registry)
    everywhere.stack.given = everywhere.policy
    return everywhere


def push(stack: FakeStack, *answers: Any) -> Functions:
    stack.check_functions = functions = Functions(*answers)
    stack.push(image("app"), "v1.0.0")
    stack.work()
    return functions


def check(stack: FakeStack) -> tuple[str, str]:
    found = json.loads(stack.run("why", V1, "--to", "prod", "--json").stdout)
    (gate,) = [g for g in found["gates"] if g["name"] == "check"]
    return gate["verdict"], gate["reason"]


def test_a_push_invokes_the_check_with_the_images_facts_and_passed_opens_the_gate(stack: FakeStack) -> None:
    functions = push(stack, FINE)
    (question,) = functions.questions
    assert {key: question[key] for key in ("version", "check", "repository", "digest", "tags", "from", "to")} == {
        "version": 1,
        "check": "ticket",
        "repository": "rocketseat/widget-server",
        "digest": image("app").digest,
        "tags": ["v1.0.0"],
        "from": "dev",
        "to": "prod",
    }
    assert {gate["name"] for gate in question["gates"]} >= {"verified", "check"}
    assert stack.registries.tag_of(PROD, "v1.0.0") == image("app").digest
    (fact,) = [f for f in stack.ledger.facts if f.kind is Kind.CHECKED]
    said = Said.parse(fact)
    assert (said.result, said.because, said.principal, fact.actor) == ("passed", "TICKET-42", ASKED, ASKED)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"result": "waiting", "because": "not approved yet"}, "not approved yet"),
        (TransientError("it is down"), "its function could not be invoked: it is down"),
        ({"result": "ok", "because": "x"}, "its answer is not"),
        ({"result": "passed"}, "its answer is not"),
        ({"result": "passed", "because": " "}, "its answer is not"),
        ("passed", "its answer is not"),
        (None, "its answer is not"),
        ([FINE], "its answer is not"),
    ],
)
def test_a_missing_or_invalid_answer_waits_with_its_reason(stack: FakeStack, answer: Any, reason: str) -> None:
    push(stack, answer)
    verdict, reported = check(stack)
    assert verdict == "waiting"
    assert reason in reported
    assert stack.registries.tag_of(PROD, "v1.0.0") is None


def test_a_failed_answer_closes_the_gate(stack: FakeStack) -> None:
    push(stack, {"result": "failed", "because": "TICKET-42 was rejected"})
    assert check(stack) == ("failed", "ticket failed, by the function ticket: TICKET-42 was rejected")


def test_a_waiting_check_is_invoked_again_without_repeated_facts(stack: FakeStack) -> None:
    waits = {"result": "waiting", "because": "not approved yet"}
    functions = push(stack, waits, waits, FINE)
    service = stack.services.verify_origin
    hint = json.dumps({"verify_origin": {"repository": str(DEV), "digest": image("app").digest}})
    for number, facts in ((2, 1), (3, 2), (3, 2)):
        stack.clock.advance(seconds=60)
        service.handle(hint, lambda: 60.0)
        stack.work()
        assert len(functions.questions) == number
        assert sum(f.kind is Kind.CHECKED for f in stack.ledger.facts) == facts
    assert stack.registries.tag_of(PROD, "v1.0.0") == image("app").digest


def test_a_push_without_a_check_invokes_no_function(everywhere: FakeStack) -> None:
    functions = push(everywhere, FINE)
    event = push_event(DEV, image("app").digest, "v1.0.0", at=everywhere.clock())
    everywhere.service("record_push").handle(json.dumps(event))
    everywhere.work()
    assert functions.questions == []
