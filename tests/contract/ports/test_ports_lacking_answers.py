"""An incomplete answer of AWS means unknown: neither empty, nor done, nor removed."""

from datetime import timedelta
from typing import Any

import pytest

from support.images.builders import DEV, NOON, PROD
from tallyman.adapters.aws.cloudtrail import CloudTrail
from tallyman.adapters.aws.notices import put_event
from tallyman.adapters.aws.rollouts import EcsRollOuts
from tallyman.adapters.dynamodb.tables import DynamoState
from tallyman.domain.policy.rollout import Runs, Service
from tallyman.errors import NotFound, Unreachable

HOUR = timedelta(hours=1)
APP = Service(Runs.ECS, "shop/app", "team/app")


class Answering:
    """Clients, and a client, whose operations all return this answer."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def get(self, *_: object, **__: object) -> Any:
        return self

    def __getattr__(self, name: str) -> Any:
        return lambda **_: self.answer


@pytest.mark.parametrize("answer", [{}, {"Events": None}, {"NextToken": "t"}])
def test_a_page_of_the_trail_without_its_list_is_an_error(answer: Any) -> None:
    trail: Any = CloudTrail(Answering(answer), rate=0)  # type: ignore[arg-type]
    with pytest.raises(Unreachable, match="lacks 'Events'"):
        trail.page(DEV.registry, NOON, NOON + HOUR, None, lambda: None)


def test_a_page_of_the_trail_with_its_own_token_is_an_error() -> None:
    trail: Any = CloudTrail(Answering({"Events": [], "NextToken": "t"}), rate=0)  # type: ignore[arg-type]
    first = trail.page(DEV.registry, NOON, NOON + HOUR, None, lambda: None)
    with pytest.raises(Unreachable, match="the same next page twice"):
        trail.page(DEV.registry, NOON, NOON + HOUR, first.position, lambda: None)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ({}, Unreachable),
        ({"services": []}, Unreachable),
        ({"services": [], "failures": [{"reason": "SOMETHING"}]}, Unreachable),
        ({"services": [], "failures": [{"reason": "MISSING"}]}, NotFound),
        ({"services": [{"status": "INACTIVE"}]}, NotFound),
    ],
)
def test_a_service_is_missing_only_if_ecs_says_so(answer: Any, error: type[Exception]) -> None:
    rollouts: Any = EcsRollOuts(Answering(answer))  # type: ignore[arg-type]
    with pytest.raises(error):
        rollouts.back(PROD.registry, APP, "before")


@pytest.mark.parametrize(
    "answer", [{}, {"Entries": []}, {"Entries": [{}]}, {"FailedEntryCount": 1, "Entries": [{"ErrorCode": "Internal"}]}]
)
def test_an_event_is_sent_only_if_the_bus_confirms_it(answer: Any) -> None:
    with pytest.raises(Unreachable):
        put_event(Answering(answer), {}, "put it")


@pytest.mark.parametrize(
    "answer", [{"FailedEntryCount": 0, "Entries": [{"EventId": "1"}]}, {"Entries": [{"EventId": "1"}]}]
)
def test_an_accepted_event_is_sent(answer: Any) -> None:
    put_event(Answering(answer), {}, "put it")


def test_an_answer_without_responses_is_an_error() -> None:
    with pytest.raises(Unreachable, match="lacks 'Responses'"):
        DynamoState(Answering({}), "state").get_many([("a", "b")])


def test_a_page_of_a_table_without_its_list_is_an_error() -> None:
    with pytest.raises(Unreachable, match="lacks 'Items'"):
        list(DynamoState(Answering({}), "state").list("a"))
