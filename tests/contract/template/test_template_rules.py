"""Every event file against every rule: exactly the right rules match."""

import json
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from moto.events.models import EventPattern

from support.stacks.templates import ROOT, hub, listed, of_type, spoke, statements, text
from tallyman.domain.events.eventbridge import SETTINGS_CALLS, TRIP, TRIP_SOURCE
from tallyman_cli.shared import stack_names

OWN, SPOKE = "Own", "Spoke"
# file → the rules (without Own, Spoke, Rule) that match each of its events
EXPECTED: dict[str, set[str]] = {
    "record_push/push.json": {"Image", "Pushed"},
    "record_push/push-ten.json": {"Image", "Pushed"},
    "record_push/push-doubled.json": {"Image", "Pushed"},
    "record_push/poison.json": {"Image", "Pushed"},
    "record_push/delete.json": {"Image"},
    "record_push/archive.json": {"Image"},
    "record_push/replication.json": {"Replication", "Pushed"},
    "record_push/referrer.json": {"Referrer"},
    "record_push/call.json": {"Call"},
    "record_push/round-trip.json": {"Image"},
    "record_push/check.json": set(),  # only on our bus, and of no registry
    "verify_digest/push.json": {"Image", "Pushed"},
    "record_scan/basic.json": {"BasicScan"},
    "record_scan/failed.json": {"BasicScan"},
    "record_scan/inspector.json": {"InspectorScan"},
    "reconcile/schedule.json": set(),
}
QUEUES = {
    "Image": "PushQueue",
    "Pushed": "VerifyQueue",
    "Replication": "PushQueue",
    "Referrer": "PushQueue",
    "Call": "PushQueue",
    "BasicScan": "ScanQueue",
    "InspectorScan": "ScanQueue",
    "Released": "RollOutQueue",
    "Check": "PushQueue",
    "Retention": "RetentionQueue",
}
PUSH: dict[str, Any] = json.loads(json.loads((ROOT / "events/record_push/push.json").read_text())["Records"][0]["body"])


def bodies(path: Path) -> Iterator[dict[str, Any]]:
    document = json.loads(path.read_text())
    for record in document.get("Records", [{"body": json.dumps(document)}]):
        try:
            yield json.loads(record["body"])
        except json.JSONDecodeError:
            continue  # poison: EventBridge would never deliver it


def matching(template: dict[str, Any], event: dict[str, Any], prefix: str = "") -> set[str]:
    return {
        name.removeprefix(prefix).removesuffix("Rule")
        for name, rule in of_type(template, "AWS::Events::Rule").items()
        if name.startswith(prefix) and "EventPattern" in rule  # the others are schedules
        if EventPattern.load(json.dumps(rule["EventPattern"])).matches_event(event)
    }


def event_files() -> list[str]:
    files = (ROOT / "events").glob("*/*.json")
    # Commands and hints are our own messages: no rule delivers them.
    return sorted(
        str(f.relative_to(ROOT / "events"))
        for f in files
        if f.parent.name not in ("record_command", "promote_image", "apply_retention", "roll_out", "verify_origin")
        and "hint" not in f.name
    )


def test_every_event_file_is_expected_somewhere() -> None:
    assert event_files() == sorted(EXPECTED)


@pytest.mark.parametrize("name", sorted(EXPECTED))
@pytest.mark.parametrize("side", [OWN, SPOKE])
def test_an_event_matches_exactly_the_expected_rules(name: str, side: str) -> None:
    found = [matching(hub(), event, side) for event in bodies(ROOT / "events" / name)]
    assert found
    assert all(rules == EXPECTED[name] for rules in found), found


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_spoke_forwards_exactly_the_hubs_events_once(name: str) -> None:
    for event in bodies(ROOT / "events" / name):
        assert len(matching(spoke(), event)) == bool(EXPECTED[name])


def changed(event: dict[str, Any], **detail: object) -> dict[str, Any]:
    return {**event, "detail": {**event["detail"], **detail}}


@pytest.mark.parametrize(
    "event",
    [
        changed(PUSH, result="FAILURE"),
        changed(PUSH, **{"action-type": "PULL"}),
        {**PUSH, "source": "my.application"},
        {**PUSH, "detail-type": "ECR Scan Resource Change"},
        {**PUSH, "source": "aws.inspector2", "detail-type": "Inspector2 Scan", "detail": {"instance-id": "i-1"}},
        {**PUSH, "source": "aws.inspector2", "detail-type": "Inspector2 Finding"},
    ],
    ids=["failed", "unknown action", "not ECR", "another kind", "Inspector on an instance", "a finding"],
)
def test_other_events_match_no_rule(event: dict[str, Any]) -> None:
    assert matching(hub(), event) == set()


def test_a_refused_call_and_a_reading_call_match_no_rule() -> None:
    call = next(bodies(ROOT / "events/record_push/call.json"))
    assert matching(hub(), call, OWN) == {"Call"}
    for other in (changed(call, errorCode="ImageTagAlreadyExistsException"), changed(call, eventName="BatchGetImage")):
        assert matching(hub(), other) == set()
        assert matching(spoke(), other) == set()


def test_the_rules_match_exactly_the_calls_that_the_core_parses() -> None:
    for name, template in (("OwnCallRule", hub()), ("SpokeCallRule", hub()), ("CallRule", spoke())):
        pattern = of_type(template, "AWS::Events::Rule")[name]["EventPattern"]
        assert set(pattern["detail"]["eventName"]) == {"PutImage", "BatchDeleteImage"} | SETTINGS_CALLS


def test_the_rules_of_both_buses_are_the_same() -> None:
    rules = of_type(hub(), "AWS::Events::Rule")
    own = {n.removeprefix(OWN): r for n, r in rules.items() if n.startswith(OWN)}
    forwarded = {n.removeprefix(SPOKE): r for n, r in rules.items() if n.startswith(SPOKE)}
    others = {n for n in rules if not n.startswith((OWN, SPOKE))}
    assert others == {"RetentionRule", "ReleasedRule", "CheckRule"}
    assert own.keys() == forwarded.keys()
    for name, rule in own.items():
        assert rule["EventPattern"] == forwarded[name]["EventPattern"]
        assert rule["Targets"] == forwarded[name]["Targets"]
        assert "EventBusName" not in rule
        assert text(forwarded[name]["EventBusName"]) == "${EventBus.Name}"


def test_every_rule_has_one_target_with_a_dead_letter_queue_and_may_send_to_both() -> None:
    ((_, policy),) = of_type(hub(), "AWS::SQS::QueuePolicy").items()
    (statement,) = policy["PolicyDocument"]["Statement"]
    patterns = [text(arn) for arn in statement["Condition"]["ArnLike"]["aws:SourceArn"]]
    sent = {"${UndeliveredQueue}"}
    for name, rule in of_type(hub(), "AWS::Events::Rule").items():
        (target,) = rule["Targets"]
        assert text(target["DeadLetterConfig"]["Arn"]) == "${UndeliveredQueue.Arn}"
        queue = QUEUES[name.removeprefix(OWN).removeprefix(SPOKE).removesuffix("Rule")]
        assert text(target["Arn"]) == f"${{{queue}.Arn}}"
        sent.add(f"${{{queue}}}")
        bus = "${AWS::StackName}/" if "EventBusName" in rule else ""
        arn = f"arn:${{AWS::Partition}}:events:${{AWS::Region}}:${{AWS::AccountId}}:rule/{bus}{text(rule['Name'])}"
        assert [p for p in patterns if fnmatchcase(arn, p)], arn
    # no rule delivers commands or promotions: only principals that IAM allows may send them
    assert {text(queue) for queue in policy["Queues"]} == sent
    assert text(hub()["Resources"]["EventBus"]["Properties"]["Name"]) == "${AWS::StackName}"
    assert not [p for p in patterns if fnmatchcase(arn.replace("${AWS::StackName}", "other"), p)]


def test_only_eventbridge_may_send_by_a_queue_policy() -> None:
    for template in (hub(), spoke()):
        for properties in of_type(template, "AWS::SQS::QueuePolicy").values():
            for statement in properties["PolicyDocument"]["Statement"]:
                assert statement["Principal"] == {"Service": "events.amazonaws.com"}
                assert statement["Action"] == "sqs:SendMessage"


@pytest.mark.parametrize("template", [hub(), spoke()], ids=["hub", "spoke"])
def test_test_events_and_registry_events_are_never_confused(template: dict[str, Any]) -> None:
    trip = next(bodies(ROOT / "events/record_push/round-trip.json"))
    for path in (ROOT / "events").glob("record_*/*.json"):
        for event in bodies(path):
            if event.get("source", "").startswith("aws."):
                assert matching(template, {**event, "source": trip["source"]}) == set()
    assert matching(template, {**trip, "source": "aws.ecr"}) == set()
    assert matching(template, {**trip, "source": "tallyman"}) == set()


def test_only_our_own_test_event_may_be_put_on_a_default_bus() -> None:
    found = [
        (name, s)
        for template in (hub(), spoke())
        for name, role in of_type(template, "AWS::IAM::Role").items()
        for s in statements(role)
        if "events:PutEvents" in listed(s["Action"]) and "event-bus/default" in text(s["Resource"])
    ]
    assert [name for name, _ in found] == ["ReconcileRole", "ReadRole"]
    for _, statement in found:
        asked = {"events:source": TRIP_SOURCE, "events:detail-type": TRIP}
        assert statement["Condition"] == {"StringEquals": asked}


def test_the_bus_accepts_only_the_accounts_of_spokes_and_three_sources() -> None:
    (policy,) = of_type(hub(), "AWS::Events::EventBusPolicy").values()
    statement = policy["Statement"]
    assert statement["Principal"] == {"AWS": {"Ref": "SpokeAccounts"}}
    assert statement["Condition"] == {"StringEquals": {"events:source": ["aws.ecr", "aws.inspector2", TRIP_SOURCE]}}
    assert hub()["Resources"]["EventBusPolicy"]["Condition"] == "HasSpokes"


def test_a_spoke_sends_straight_to_the_hubs_bus_with_a_role_and_a_dead_letter_queue() -> None:
    rules = of_type(spoke(), "AWS::Events::Rule")
    assert len(rules) == 3
    for rule in rules.values():
        assert "EventBusName" not in rule
        (target,) = rule["Targets"]
        assert text(target["Arn"]) == "${HubBusArn}"
        assert text(target["RoleArn"]) == "${ForwardRole.Arn}"
        assert text(target["DeadLetterConfig"]["Arn"]) == "${UndeliveredQueue.Arn}"


def test_the_command_knows_the_names_of_the_stacks_rules_and_queues() -> None:
    names = {text(rule["Name"]) for rule in of_type(hub(), "AWS::Events::Rule").values()}
    for function in of_type(hub(), "AWS::Serverless::Function").values():
        names |= {text(e["Properties"]["Name"]) for e in function["Events"].values() if e["Type"] == "Schedule"}
    assert {name.removeprefix("${AWS::StackName}-") for name in names} == stack_names.RULES
    queues = {text(queue["QueueName"]) for queue in of_type(hub(), "AWS::SQS::Queue").values()}
    assert {name.removeprefix("${AWS::StackName}-") for name in queues} == stack_names.QUEUES
