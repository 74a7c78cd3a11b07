"""The local bus delivers events as EventBridge does, by the rules, targets and policies in moto."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from moto.events.models import events_backends
from moto.sqs.models import sqs_backends

from support.stacks import sample_stack as sample
from tallyman.domain.names import EcrRegistry
from tallyman.domain.times import parse_time
from tallyman_local.events.bus import Bus
from tallyman_local.moto import calls as moto_calls
from tallyman_local.stack.deploy import HUB, deploy_hub, deploy_spoke
from tallyman_local.stack.template import BadTemplate

SPOKE = EcrRegistry("222222222222", "sa-east-1")


@pytest.fixture
def bus() -> Iterator[Bus]:
    moto_calls.reset()
    hub = deploy_hub(sample.ROOT, "sample", parameters={"SpokeAccounts": SPOKE.account})
    deploy_spoke(sample.ROOT, "sample", SPOKE, {"HubBusArn": hub.outputs["BusArn"], "HubAccount": HUB.account})
    yield Bus(invoke=lambda arn, payload: invoked.append((arn, payload)))
    moto_calls.reset()
    invoked.clear()


invoked: list[tuple[str, str]] = []


def bodies(queue: str, registry: EcrRegistry = HUB) -> list[dict[str, Any]]:
    found = sqs_backends[registry.account][registry.region].queues[queue]
    return [json.loads(message.body) for message in found._messages]


def letters(queue: str, registry: EcrRegistry = HUB) -> list[dict[str, str]]:
    found = sqs_backends[registry.account][registry.region].queues[queue]
    return [{name: v["StringValue"] for name, v in m.message_attributes.items()} for m in found._messages]


def test_an_event_reaches_the_queue_whose_rule_matches_before_emit_returns(bus: Bus) -> None:
    event = sample.push_event(HUB.account, HUB.region)
    bus.emit(event, HUB.account, HUB.region)
    assert bodies("sample-work") == [event]
    assert bus.counts["delivered"] == 1


def test_an_event_without_a_matching_rule_is_dropped(bus: Bus) -> None:
    bus.emit(sample.push_event(HUB.account, HUB.region, source="aws.s3"), HUB.account, HUB.region)
    assert bodies("sample-work") == []
    assert bus.counts["unmatched"] == 1


def test_an_event_crosses_accounts_with_its_account_region_time_and_id(bus: Bus) -> None:
    event = sample.push_event(SPOKE.account, SPOKE.region)
    bus.emit(event, SPOKE.account, SPOKE.region)
    (arrived,) = bodies("sample-work")
    assert arrived == event
    assert (arrived["account"], arrived["region"], arrived["time"], arrived["id"]) == (
        SPOKE.account,
        SPOKE.region,
        "2026-11-16T01:54:34Z",
        event["id"],
    )


def test_a_forwarded_event_is_not_forwarded_again(bus: Bus) -> None:
    bus.emit(sample.push_event(SPOKE.account, SPOKE.region), SPOKE.account, SPOKE.region)
    assert bodies("sample-far") == []
    own = sample.push_event(HUB.account, HUB.region)
    bus.emit(own, HUB.account, HUB.region, "sample")  # PutEvents on the second bus: one hop is still allowed
    assert bodies("sample-far") == [own]


def test_a_bus_refuses_what_its_policy_does_not_allow(bus: Bus) -> None:
    bus.emit(sample.push_event(SPOKE.account, SPOKE.region, source="test.other"), SPOKE.account, SPOKE.region)
    assert bodies("sample-far") == []
    (letter,) = letters("spoke-undelivered", SPOKE)
    assert letter["ERROR_CODE"] == "NO_PERMISSIONS"
    assert letter["TARGET_ARN"] == "arn:aws:events:us-east-2:111111111111:event-bus/sample"


def test_a_bus_refuses_an_account_that_its_policy_does_not_name(bus: Bus) -> None:
    stranger = EcrRegistry("333333333333", "us-east-2")
    deploy_spoke(
        sample.ROOT,
        "sample",
        stranger,
        {"HubBusArn": f"arn:aws:events:{HUB.region}:{HUB.account}:event-bus/sample"} | {"HubAccount": HUB.account},
    )
    bus.emit(sample.push_event(stranger.account, stranger.region), stranger.account, stranger.region)
    assert bodies("sample-work") == []
    assert letters("spoke-undelivered", stranger)[0]["ERROR_CODE"] == "NO_PERMISSIONS"


def test_a_queue_takes_only_from_the_rules_that_its_policy_names(bus: Bus) -> None:
    event = sample.push_event(HUB.account, HUB.region, source="test.forbidden")
    bus.emit(event, HUB.account, HUB.region)
    assert bodies("sample-far") == []
    assert bodies("sample-undelivered") == [event]
    assert letters("sample-undelivered")[0]["ERROR_CODE"] == "NO_PERMISSIONS"


def test_a_missing_queue_sends_the_event_to_the_targets_dead_letter_queue(bus: Bus) -> None:
    del sqs_backends[HUB.account][HUB.region].queues["sample-work"]
    event = sample.push_event(HUB.account, HUB.region)
    bus.emit(event, HUB.account, HUB.region)
    assert bodies("sample-undelivered") == [event]
    assert letters("sample-undelivered")[0]["ERROR_CODE"] == "RESOURCE_NOT_FOUND"
    assert bus.counts["failed"] == 1


def test_an_undeliverable_event_without_a_dead_letter_queue_is_dropped_and_counted(bus: Bus) -> None:
    del sqs_backends[HUB.account][HUB.region].queues["sample-work"]
    bus.emit(sample.push_event(HUB.account, HUB.region), HUB.account, HUB.region, "sample")
    assert bus.counts["dropped"] == 1


def test_a_disabled_rule_matches_nothing(bus: Bus) -> None:
    for rule in events_backends[HUB.account][HUB.region].event_buses["default"].rules.values():
        rule.disable()
    bus.emit(sample.push_event(HUB.account, HUB.region), HUB.account, HUB.region)
    assert bodies("sample-work") == []


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ({"Input": '{"constant": true}'}, {"constant": True}),
        ({"InputPath": "$.detail"}, {"action-type": "PUSH", "result": "SUCCESS"}),
        (
            {"InputTransformer": {"InputPathsMap": {"who": "$.account"}, "InputTemplate": '{"from": "<who>"}'}},
            {"from": HUB.account},
        ),
    ],
    ids=["constant", "path", "transformer"],
)
def test_a_target_receives_its_configured_input(bus: Bus, target: dict[str, Any], expected: dict[str, Any]) -> None:
    events = events_backends[HUB.account][HUB.region]
    events.put_rule("lambda", event_pattern='{"source": ["test"]}', event_bus_arn="default")
    arn = "arn:aws:lambda:us-east-2:111111111111:function:f"
    events.put_targets("lambda", "default", [{"Id": "1", "Arn": arn, **target}])
    detail = {"action-type": "PUSH", "result": "SUCCESS"}
    bus.emit(sample.push_event(HUB.account, HUB.region, source="test", detail=detail), HUB.account, HUB.region)
    ((function, payload),) = invoked
    assert function == arn
    assert json.loads(payload) == expected


def test_put_events_says_which_entries_are_wrong(bus: Bus) -> None:
    good = {"Source": "my.application", "DetailType": "ECR Image Action", "Detail": '{"a": 1}'}
    bad = [{**good, "Detail": "no json"}, {**good, "Detail": "[]"}, {"Source": "x", "DetailType": "y"}]
    bad += [{**good, "Source": "aws.ecr"}]  # only AWS itself may use this source
    before = datetime.now(UTC).replace(microsecond=0)
    answer = bus.put_events([good, *bad], HUB.account, HUB.region)
    assert answer["FailedEntryCount"] == 4
    codes = [entry.get("ErrorCode") for entry in answer["Entries"]]
    assert codes == [None, "MalformedDetail", "MalformedDetail", "InvalidArgument", "NotAuthorizedForSourceException"]
    (event,) = bodies("sample-work")
    assert event["id"] == answer["Entries"][0]["EventId"]
    assert event["account"] == HUB.account
    assert before <= parse_time(event["time"]) <= datetime.now(UTC)


@pytest.mark.parametrize("time", [1794794074.5, "2026-11-16T01:54:34Z"])
def test_put_events_keeps_the_time_of_an_entry(bus: Bus, time: float | str) -> None:
    entry = {"Source": "my.application", "DetailType": "ECR Image Action", "Detail": "{}", "Time": time}
    bus.put_events([entry], HUB.account, HUB.region)
    (event,) = bodies("sample-work")
    assert event["time"] == "2026-11-16T01:54:34Z"


def test_put_events_finds_a_bus_by_name_and_by_arn(bus: Bus) -> None:
    entry = {"Source": "my.application", "DetailType": "ECR Image Action", "Detail": "{}"}
    for name in ("sample", f"arn:aws:events:{HUB.region}:{HUB.account}:event-bus/sample"):
        answer = bus.put_events([{**entry, "EventBusName": name}], HUB.account, HUB.region)
        assert answer["FailedEntryCount"] == 0
    assert len(bodies("sample-work")) == 2


def test_roles_are_created_once_in_an_account(bus: Bus) -> None:
    again = EcrRegistry(SPOKE.account, "eu-west-1")
    arn = f"arn:aws:events:{HUB.region}:{HUB.account}:event-bus/sample"
    values = {"HubBusArn": arn, "HubAccount": HUB.account, "CreateRoles": "false"}
    assert deploy_spoke(sample.ROOT, "sample", again, values).skipped == {}
    assert moto_calls.role("arn:aws:iam::222222222222:role/sample-spoke-read")


def test_a_template_that_cannot_be_translated_says_why(tmp_path: Any) -> None:
    (tmp_path / "template.yaml").write_text(
        "Transform: AWS::Serverless-2016-10-31\n"
        "Resources: {F: {Type: AWS::Serverless::Function, Properties: {Events: {A: {Type: Nonsense}}}}}\n"
    )
    with pytest.raises(BadTemplate, match="F"):
        deploy_hub(tmp_path, "sample")


@pytest.mark.parametrize("may", [True, False])
def test_an_event_crosses_accounts_only_as_the_role_of_the_target_may(bus: Bus, may: bool) -> None:
    asked: list[tuple[str, str, str]] = []

    def role_may(*what: str) -> bool:
        asked.append((what[0], what[1], what[2]))
        return may

    forward = f"arn:aws:iam::{SPOKE.account}:role/forward"
    rules = events_backends[SPOKE.account][SPOKE.region].event_buses["default"].rules.values()
    targets = [t for rule in rules for t in rule.targets if ":event-bus/" in t["Arn"]]
    for target in targets:
        target["RoleArn"] = forward
    strict = Bus(invoke=lambda arn, payload: None, role_may=role_may)
    strict.emit(sample.push_event(SPOKE.account, SPOKE.region), SPOKE.account, SPOKE.region)
    assert asked
    assert {(role, action) for role, action, _ in asked} == {(forward, "events:PutEvents")}
    assert bool(bodies("sample-work")) is may
