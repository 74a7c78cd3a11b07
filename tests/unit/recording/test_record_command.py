"""record_command: invalid commands are refused with a reason; a crash at any call does not change the result."""

import json
from contextlib import suppress
from typing import Any

import pytest

from support.fakes.gate_cases import APP, LATER, NAME, policy_of
from support.fakes.ports import (
    Crash,
    CrashAfter,
    FakeClock,
    FakeHints,
    FakeLedger,
    FakeNotices,
    FakePeople,
    FakeState,
    listed,
)
from support.fakes.wiring import FakePorts, services
from support.images.builders import DEV, digest_of, pushed
from tallyman.domain.events.commands import COMMANDS, LONGEST, parse_command
from tallyman.domain.history.facts import Kind
from tallyman.domain.policy import Policy
from tallyman.errors import BadMessage, NotAllowed
from tallyman.services.recording.record_command import RecordCommand
from tallyman.state import tags as tag_items
from tallyman.state.tags import TAGS, Tag

DOOR = {"digest": APP, "repository": NAME, "from": "dev", "to": "prod"}
GATES = {
    "soak": "24h",
    "check": [{"name": "e2e", "from": ["role/release-managers"]}],
    "approvals": {"count": 1, "from": ["role/release-managers"]},
}
POLICY = policy_of(GATES, overridable=["soak"])
SENDER = "AROARELEASE:ana"


def message(command: str, **more: Any) -> str:
    given = {"request": "r1", "because": "it is due"}
    if command in ("freeze", "thaw"):
        given |= {"environment": "prod"}
    elif command == "recall":
        given |= {"digest": APP}
    elif command == "check":
        given |= {"digest": APP, "repository": NAME, "environment": "dev", "check": "e2e", "result": "passed"}
    elif command == "roll-back":
        given |= {"digest": APP, "repository": NAME, "environment": "prod"}
    elif command in ("replay", "discard"):
        given |= {"queue": "push", "letters": "m1"}
    else:
        given |= DOOR | ({"gate": "soak"} if command == "override" else {})
    return json.dumps({"command": command, **given, **more})


class CommandStack:
    """The service with fakes; each `service` may crash independently."""

    def __init__(self, policy: Policy = POLICY) -> None:
        self.policy, self.state, self.clock = policy, FakeState(), FakeClock(LATER)
        self.ledger, self.hints, self.notices = FakeLedger(self.state), FakeHints(), FakeNotices()
        self.people = FakePeople({"role/release-managers": "AROARELEASE"})
        self.ledger.append(pushed(APP, index=False))
        self.state.put(TAGS.read(self.state, tag_items.key(DEV, "v1.0.0")).write(Tag(APP, self.clock())))
        self.service().evaluator.digest(APP)

    def service(self, crash: CrashAfter | None = None) -> RecordCommand:
        ports = FakePorts(
            policy=self.policy,
            clock=self.clock,
            ledger=self.ledger,
            state=self.state,
            people=self.people,
            hints=self.hints,
            notices=self.notices,
        )
        return services(ports.crashing(crash)).record_command

    def handle(self, body: str, crash: CrashAfter | None = None) -> str:
        return self.service(crash).handle(body, SENDER, LATER).text

    @property
    def summary(self) -> Any:
        data = {key: item["data"] for key, item in self.state.items.items()}
        hints = {json.dumps(body, sort_keys=True) for body in self.hints.to("promote")}
        return sorted(self.ledger.items), data, hints, {subject for subject, _, _ in self.notices.published}


@pytest.mark.parametrize("command", ["approve", "deny", "override", "check", "recall", "freeze", "promote"])
def test_a_crash_at_any_call_changes_nothing_in_the_end(command: str) -> None:
    system, count = CommandStack(), CrashAfter()
    system.handle(message(command), count)
    wanted = system.summary
    for n in range(1, count.count + 1):
        for when in ("before", "after"):
            system = CommandStack()
            with suppress(Crash):  # a call that raises has no "after"
                system.handle(message(command), CrashAfter(n, when))
            system.handle(message(command))
            assert system.summary == wanted, (n, when)


@pytest.mark.parametrize("command", ["approve", "deny", "override", "check", "recall", "freeze", "promote"])
def test_a_command_delivered_twice_is_recorded_once(command: str) -> None:
    system = CommandStack()
    system.handle(message(command))
    written = system.summary
    system.handle(message(command))
    assert system.summary == written


def test_a_freeze_and_a_thaw_hint_only_the_images_pending_there() -> None:
    system = CommandStack()
    for command, place, number in (
        ("freeze", None, 1),
        ("thaw", NAME, 1),
        ("thaw", "rocketseat/other", 0),
    ):
        system.hints.sent.clear()
        system.handle(message(command, request=f"{command} {place}", repository=place))
        assert len(system.hints.to("promote")) == number
    (hint,) = [item.data for item in listed(system.state, "P#prod")]
    assert hint["digest"] == APP


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("{", "the message is not JSON"),
        ("[]", "the message is not a command"),
        ('{"command": "delete"}', f"unknown command 'delete': expected {', '.join(COMMANDS)}"),
        ('{"command": ["promote"]}', "unknown command"),
        (
            message("approve", because=" "),
            "expected the strings command, request, digest, repository, from, to, because",
        ),
        (message("approve", digest="v1"), "the command approve: 'v1' is not a digest"),
        (message("promote", repository="UPPER"), "the command promote: 'UPPER' is not a repository"),
        (message("promote", request=7), "the message is not a command promote"),
        (message("override", gate=""), "request, digest, repository, from, to, gate, because"),
        (message("freeze", because="x" * (LONGEST + 1)), f"a reason has at most {LONGEST} characters"),
        (message("check", result="maybe"), "the command check: 'maybe' is not a result: expected passed or failed"),
        (message("freeze", environment=["prod"]), "the message is not a command freeze"),
    ],
)
def test_an_invalid_command_is_a_bad_message_with_the_reason(body: str, reason: str) -> None:
    with pytest.raises(BadMessage) as raised:
        parse_command(body)
    assert reason in str(raised.value)


@pytest.mark.parametrize("command", ["recall", "replay", "discard"])
def test_a_command_without_an_environment_reads_none(command: str) -> None:
    assert parse_command(message(command, environment={"name": "prod"})).target is None


def test_an_unknown_environment_is_a_bad_message() -> None:
    with pytest.raises(BadMessage, match=r"unknown environment 'staging'; the policy defines dev, prod"):
        CommandStack().handle(message("freeze", environment="staging"))


@pytest.mark.parametrize("command", [c for c in COMMANDS if c not in ("promote", "thaw", "replay")])
def test_every_command_that_needs_a_reason_is_refused_without_one(command: str) -> None:
    with pytest.raises(BadMessage, match="because"):
        parse_command(message(command, because=""))


def test_a_refused_command_is_recorded_only_as_a_request() -> None:
    system = CommandStack()
    system.people.ids.clear()
    with pytest.raises(Exception, match="may not approve"):
        system.handle(message("approve"))
    said = [f for f in system.ledger.facts if f.actor]
    assert [(f.kind, f.detail["command"]) for f in said] == [(Kind.REQUESTED, "approve")]
    assert "may not approve" in said[0].detail["refused"]


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"check": "load"}, "no promotion of rocketseat/widget-server from dev asks for the check load"),
        ({"environment": "prod"}, "no promotion of rocketseat/widget-server from prod asks for the check e2e"),
        ({"digest": digest_of("never pushed")}, "is not known: was it pushed to dev?"),
    ],
)
def test_a_check_that_no_gate_requires_is_refused(more: dict[str, str], reason: str) -> None:
    system = CommandStack()
    with pytest.raises(NotAllowed, match=reason):
        system.handle(message("check", **more))
    assert not [f for f in system.ledger.facts if f.kind is Kind.CHECKED]


def test_a_person_without_the_checks_role_cannot_post_it() -> None:
    system = CommandStack()
    system.people.ids["role/release-managers"] = "AROAANOTHER"
    with pytest.raises(NotAllowed, match=r"may not post the check e2e: the policy \(check.from\) allows role/release"):
        system.handle(message("check"))
    assert not [f for f in system.ledger.facts if f.kind is Kind.CHECKED]


def test_a_check_is_recorded_with_person_and_time() -> None:
    system = CommandStack()
    assert system.handle(message("check", result="failed")) == "check recorded"
    (fact,) = [f for f in system.ledger.facts if f.kind is Kind.CHECKED]
    assert (fact.digest, fact.actor, fact.at) == (APP, SENDER, LATER)
    assert (fact.detail["check"], fact.detail["result"], fact.detail["because"]) == ("e2e", "failed", "it is due")
    assert (fact.detail["environment"], fact.detail["name"]) == ("dev", NAME)
