"""Test events on a registry's bus, its forwarding rule and undelivered events, by answers of EventBridge and SQS."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from support.images.builders import DEV, PROD
from support.servers import aws_mock
from tallyman.adapters.aws.clients import Clients
from tallyman.adapters.aws.registry_buses import EventBridgeBuses
from tallyman.domain.names import EcrRegistry
from tallyman.errors import NotAllowed, NotFound, Throttled
from tallyman.ports.messages import RegistryBuses, Way


class OneAccount(Clients):
    """All registries are moto's one account."""

    def _session(self, account: str, power: Any) -> Any:
        return super()._session(self.hub.account, "read")


@pytest.fixture
def buses() -> Iterator[RegistryBuses]:
    with aws_mock.aws():
        yield EventBridgeBuses(OneAccount(DEV.registry, "tallyman", "reconcile"), "tallyman")


def rule(name: str, state: str) -> None:
    aws_mock.client("events").put_rule(Name=name, EventPattern='{"source": ["aws.ecr"]}', State=state)


def queue(name: str, messages: int = 0) -> None:
    sqs = aws_mock.client("sqs")
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    for number in range(messages):
        sqs.send_message(QueueUrl=url, MessageBody=str(number))


def test_the_forwarding_state_is_the_rule_for_pushes_and_its_undelivered_events(buses: RegistryBuses) -> None:
    rule("tallyman-image-own", "ENABLED")
    queue("tallyman-undelivered")
    rule("tallyman-spoke-image", "DISABLED")
    queue("tallyman-spoke-undelivered", 2)
    assert buses.way(DEV.registry) == Way("tallyman-image-own", True, 0)
    assert buses.way(PROD.registry) == Way("tallyman-spoke-image", False, 2)


def test_another_region_of_the_hubs_account_is_a_spoke(buses: RegistryBuses) -> None:
    far = EcrRegistry(DEV.registry.account, "eu-west-1")
    with pytest.raises(NotFound, match="tallyman-spoke-undelivered of 111111111111/eu-west-1"):
        buses.way(far)


def test_a_missing_rule_is_neither_enabled_nor_disabled(buses: RegistryBuses) -> None:
    queue("tallyman-spoke-undelivered")
    assert buses.way(PROD.registry) == Way("tallyman-spoke-image", None, 0)


class Answers:
    """Clients whose operations all return this answer, or raise it."""

    def __init__(self, answer: Any) -> None:
        self.answer, self.asked = answer, list[tuple[EcrRegistry, dict[str, Any]]]()

    def get(self, service: str, registry: EcrRegistry) -> Any:
        outer = self

        class Client:
            def put_events(self, **request: Any) -> Any:
                outer.asked.append((registry, request))
                if isinstance(outer.answer, Exception):
                    raise outer.answer
                return outer.answer

        return Client()


def test_a_test_event_is_one_entry_for_the_default_bus() -> None:
    clients = Answers({"FailedEntryCount": 0})
    EventBridgeBuses(clients, "tallyman").send(PROD.registry, "a-nonce")  # type: ignore[arg-type]
    ((registry, request),) = clients.asked
    (entry,) = request["Entries"]
    assert registry == PROD.registry
    assert json.loads(entry.pop("Detail")) == {"nonce": "a-nonce"}
    assert entry == {"Source": "tallyman.doctor", "DetailType": "Round Trip"}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "PutEvents"), NotAllowed),
        ({"FailedEntryCount": 1, "Entries": [{"ErrorCode": "ThrottlingException"}]}, Throttled),
    ],
)
def test_a_refused_test_event_is_an_error_that_names_the_registry(answer: Any, expected: type) -> None:
    with pytest.raises(expected, match="put a test event on the default bus of 222222222222/us-east-2"):
        EventBridgeBuses(Answers(answer), "tallyman").send(PROD.registry, "a-nonce")  # type: ignore[arg-type]
