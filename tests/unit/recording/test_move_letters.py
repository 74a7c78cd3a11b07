"""record_command moves dead letters: only for people whom the policy allows, a fact for each, no person's command
replayed."""

import json
from contextlib import suppress
from dataclasses import fields, replace

import pytest

from support.fakes.gate_cases import LATER, policy_of
from support.fakes.ports import (
    Crash,
    CrashAfter,
    FakeArchive,
    FakeClock,
    FakeLedger,
    FakeLetters,
    FakePeople,
    FakeState,
)
from support.fakes.wiring import FakePorts, services
from tallyman.domain.events.letters import FUNCTIONS, Letter, source_of
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.policy.people import People
from tallyman.errors import BadMessage, NotAllowed

SENDER = "AROAOPERATOR:ana"
PUSH = Letter("m1", "push", '{"no": "event"}', LATER, "no event", "BadMessage", "record_push", "push")
UNKNOWN = Letter("m2", "undelivered", "{}", LATER)
COMMAND = Letter("m3", "commands", '{"command": "recall", "digest": "x"}', LATER, source="commands")


class LettersStack:
    """A stack with letters."""

    def __init__(self, *letters: Letter, people: People | None = None) -> None:
        self.policy = policy_of({})
        if people is not None:
            self.policy = replace(self.policy, people=people)
        self.letters, self.archive = FakeLetters(list(letters)), FakeArchive()
        self.ledger = FakeLedger(FakeState())

    def send(self, crash: CrashAfter | None = None, **message: str) -> None:
        ports = FakePorts(
            policy=self.policy,
            clock=FakeClock(LATER),
            ledger=self.ledger,
            state=FakeState(),
            archive=self.archive,
            people=FakePeople({"role/operators": "AROAOPERATOR"}),
            letters=self.letters,
        )
        given = {"command": "replay", "request": "r1", "queue": "push", "letters": "m1", **message}
        services(ports.crashing(crash)).record_command.handle(json.dumps(given), SENDER, LATER)

    @property
    def facts(self) -> list[Fact]:
        return list(self.ledger.of_environment("*"))


def test_a_letter_is_sent_to_its_queue_again_and_recorded_with_the_person() -> None:
    post = LettersStack(PUSH)
    post.send(because="the role is back")
    assert (post.letters.boxes, post.letters.sent) == ([], [PUSH])
    (fact,) = post.facts
    assert (fact.kind, fact.actor, fact.detail["because"]) == (Kind.LETTER, SENDER, "the role is back")
    assert (fact.detail["letter"], fact.detail["came_from"], fact.detail["error"]) == ("m1", "push", "BadMessage")
    assert post.archive.get("letters", fact.detail["body"]) == PUSH.body.encode()


def test_a_discarded_letter_is_archived_and_not_sent() -> None:
    post = LettersStack(PUSH, UNKNOWN)
    post.send(command="discard", because="made by hand")
    post.send(command="discard", because="made by hand", request="r2", queue="undelivered", letters="m2")
    assert (post.letters.boxes, post.letters.sent) == ([], [])
    assert {post.archive.get("letters", f.detail["body"]) for f in post.facts} == {PUSH.body.encode(), b"{}"}


@pytest.mark.parametrize(
    ("letter", "why"), [(COMMAND, "person's command"), (UNKNOWN, "nothing says which queue"), (None, "not there")]
)
def test_a_letter_that_cannot_be_replayed_stays_with_its_reason(letter: Letter | None, why: str) -> None:
    post = LettersStack(*([letter] if letter else []))
    post.send(queue=letter.queue if letter else "push", letters=letter.id if letter else "m9")
    assert post.letters.boxes == ([letter] if letter else [])
    assert post.letters.sent == []
    (fact,) = post.facts
    assert fact.kind is Kind.REQUESTED
    assert why in fact.detail["refused"]


def test_only_people_allowed_by_the_policy_may_move_letters() -> None:
    post = LettersStack(PUSH, people=People(letters=("role/somebody-else",)))
    with pytest.raises(NotAllowed, match=r"may not replay: the policy \(people.letters\) allows role/somebody-else"):
        post.send()
    assert post.letters.boxes == [PUSH]
    (fact,) = post.facts
    assert fact.detail["refused"]
    LettersStack(PUSH, people=People(letters=("role/operators",))).send()


@pytest.mark.parametrize("command", ["replay", "discard"])
def test_a_crash_at_any_call_loses_no_letter_and_writes_one_fact(command: str) -> None:
    count = CrashAfter()
    LettersStack(PUSH).send(count, command=command, because="b")
    for n in range(1, count.count + 1):
        for when in ("before", "after"):
            post = LettersStack(PUSH)
            with suppress(Crash):
                post.send(CrashAfter(n, when), command=command, because="b")
            post.send(command=command, because="b")
            assert post.letters.boxes == []
            assert bool(post.letters.sent) is (command == "replay")
            (fact,) = post.facts
            assert fact.kind is Kind.LETTER


def test_invalid_commands_about_letters_report_what_is_expected() -> None:
    for message in (
        {"letters": " "},
        {"queue": ""},
        {"command": "discard"},
        {"letters": " ".join(map(str, range(51)))},
    ):
        with pytest.raises(BadMessage):
            LettersStack(PUSH).send(None, **message)


def test_a_letters_queue_is_its_own_attribute_or_that_of_its_dead_letter_queue() -> None:
    arn = "arn:aws:sqs:us-east-2:111111111111:tallyman-roll-out"
    assert source_of("undelivered", "tallyman", arn=arn) == "roll-out"
    assert source_of("undelivered", "tallyman") is None
    assert source_of("push", "tallyman", named="tallyman-scan") == "scan"
    for queue, function in FUNCTIONS.items():
        assert source_of("undelivered", "tallyman", function=function) == queue
        assert source_of(queue, "tallyman") == queue


@pytest.mark.parametrize("entry", [field.name for field in fields(People)])
def test_each_entry_of_people_is_checked(entry: str) -> None:
    """An unchecked entry would let everybody in."""
    assert People(**{entry: ("role/one",)}).allowed(entry) == ("role/one",)
