"""Check results as events on the stack's bus: who may post them, and which is the latest."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from support.fakes.cli_stack import POLICY, FakeStack
from support.fakes.gate_cases import policy_of
from support.images.builders import DEV, PROD, image
from tallyman.adapters.files import policy_file
from tallyman.domain.history.details.commands import Said
from tallyman.domain.history.facts import Fact, Kind
from tallyman.errors import BadMessage, PolicyError

V1 = "dev/rocketseat/widget-server:v1.0.0"
SENDER = "event/111111111111/acme.ci"
EVENT = json.loads((Path(__file__).parents[3] / "events/record_push/check.json").read_text())["Records"][0]["body"]


class Bus:
    """A stack whose promotion requires the check e2e, and events on its bus."""

    def __init__(self, system: FakeStack, *senders: str) -> None:
        self.system, self.app = system, image("app")
        gates = json.dumps({"check": [{"name": "e2e", "from": list(senders or (SENDER,))}]})
        text = POLICY.replace("{verified: true, scan: {max: {critical: 0}}}", gates)
        system.policy = policy_file.loads(text.encode()).for_hub(DEV.registry)
        system.stack.given = system.policy
        system.push(self.app, "v1.0.0")

    def brings(self, minutes: int = 0, id: str = "1", source: str = "acme.ci", **detail: Any) -> str:
        event = json.loads(EVENT)
        event["detail"] |= {"digest": self.app.digest, **detail}
        event |= {"id": id, "source": source}
        sent = self.system.clock() + timedelta(minutes=minutes)
        said: str = self.system.service("record_push").handle(json.dumps(event), sent)
        self.system.work()
        return said

    @property
    def gate(self) -> tuple[str, str]:
        found = json.loads(self.system.run("why", V1, "--to", "prod", "--json").stdout)
        (gate,) = [g for g in found["gates"] if g["name"] == "check"]
        return gate["verdict"], gate["reason"]

    @property
    def facts(self) -> list[Fact]:
        return [f for f in self.system.ledger.facts if f.kind is Kind.CHECKED]


def test_a_named_sender_opens_the_gate_and_the_fact_says_who(everywhere: FakeStack) -> None:
    bus = Bus(everywhere)
    assert bus.gate == ("waiting", f"no result of e2e yet from {SENDER}")
    assert bus.brings(id="abc") == "check recorded"
    (fact,) = bus.facts
    assert (fact.actor, Said.parse(fact).principal) == ("event:abc", SENDER)
    assert bus.gate == ("passed", f"e2e passed, by abc ({SENDER}): https://ci.example.com/runs/42")
    assert bus.system.registries.tag_of(PROD, "v1.0.0") == bus.app.digest


@pytest.mark.parametrize(
    "change",
    [
        {"source": "acme.other"},
        {"source": "tallyman.doctor"},
        {"check": "load"},
        {"environment": "prod"},
        {"environment": "nowhere"},
        {"repository": "rocketseat/other"},
        {"digest": image("another").digest},
    ],
    ids=lambda change: str(next(iter(change))),
)
def test_unnamed_senders_and_unknown_images_are_ignored_without_a_dead_letter(
    everywhere: FakeStack, change: dict[str, Any]
) -> None:
    bus = Bus(everywhere)
    assert bus.brings(**change).startswith("ignored: ")
    assert (bus.facts, bus.gate[0]) == ([], "waiting")


def test_events_of_another_account_never_count(everywhere: FakeStack) -> None:
    bus = Bus(everywhere, "event/222222222222/acme.ci")
    assert bus.brings() == f"ignored: no check of the policy names {SENDER}"
    assert bus.gate[0] == "waiting"


@pytest.mark.parametrize("change", [{"result": "maybe"}, {"because": ""}, {"digest": "v1"}, {"check": None}])
def test_an_invalid_event_of_a_named_sender_becomes_a_dead_letter(
    everywhere: FakeStack, change: dict[str, Any]
) -> None:
    with pytest.raises(BadMessage):
        Bus(everywhere).brings(**change)


def test_a_doubled_event_is_one_result_and_the_latest_by_queue_time_counts(everywhere: FakeStack) -> None:
    bus = Bus(everywhere)
    bus.brings(id="1", result="failed", minutes=2)
    bus.brings(id="2", result="passed", minutes=1)
    assert bus.gate[0] == "failed"
    bus.brings(id="1", result="failed", minutes=5)
    assert len(bus.facts) == 2
    bus.brings(id="3", minutes=3)
    assert bus.gate[0] == "passed"


def test_a_sender_removed_from_the_policy_no_longer_counts(everywhere: FakeStack) -> None:
    bus = Bus(everywhere)
    bus.brings()
    assert bus.gate[0] == "passed"
    text = bus.system.policy.raw.decode().replace("acme.ci", "acme.other")
    policy = policy_file.loads(text.encode()).for_hub(DEV.registry)
    bus.system.stack.given = policy
    assert "today it would wait: no result of e2e yet from event/111111111111/acme.other" in bus.gate[1]


def test_people_cannot_post_as_an_event_sender(everywhere: FakeStack) -> None:
    bus = Bus(everywhere)
    said = bus.system.run("check", "post", V1, "e2e", "--passed", "--because", "me")
    bus.system.work()
    assert (bus.gate[0], bus.facts, said.exit_code) == ("waiting", [], said.exit_code)


@pytest.mark.parametrize("sender", ["event/1/acme.ci", "event/111111111111/", "event/111111111111/aws.ecr",
                                    "event/111111111111/tallyman", "event/111111111111/a b", "acme.ci"])  # fmt: skip
def test_a_sender_is_an_account_and_a_source_not_reserved_by_others(sender: str) -> None:
    with pytest.raises(PolicyError, match="event/ACCOUNT/SOURCE"):
        policy_of({"check": [{"name": "e2e", "from": [sender]}]})
