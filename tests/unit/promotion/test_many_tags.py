"""An image with as many and as long tags as ECR takes (1,000 of 128 characters) is promoted, released and announced."""

from dataclasses import replace
from typing import Any

from support.fakes.policies import parsed
from support.fakes.ports import FakeArchive
from support.fakes.promotion import PLACES, PromotionStack
from support.fakes.wiring import FakePorts, services
from support.images.builders import DEV, image
from tallyman.adapters.aws.notices import BusAnnouncements

TAGS = [f"v1.0.{number}-{'x' * 121}"[:128] for number in range(1000)]
POLICY = parsed(
    {
        "environments": {
            "dev": {"registries": [str(DEV.registry)]},
            "prod": {"registries": [str(place.registry) for place in PLACES]},
        },
        "repositories": [
            {"match": "rocketseat/*", "create": {"immutable": True}, "promotions": [{"from": "dev", "to": "prod"}]}
        ],
    }
)


class Bus:
    """EventBridge's client."""

    def __init__(self) -> None:
        self.entries: list[Any] = []

    def put_events(self, Entries: Any) -> dict[str, Any]:
        self.entries += Entries
        return {"FailedEntryCount": 0, "Entries": [{"EventId": "1"}]}


class Protected:
    """`Guards`: nobody else may push."""

    def problem(self, repository: object, others: object) -> None:
        return None


class OneArchive(PromotionStack):
    """A stack whose processes share an archive, and announce on a bus with EventBridge's limit."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.archive, self.bus = FakeArchive(), Bus()

    def ports(self) -> FakePorts:
        announcements: Any = BusAnnouncements(self.bus, "tallyman")
        guards: Any = Protected()
        return replace(super().ports(), archive=self.archive, announcements=announcements, guards=guards)


def test_an_image_with_a_thousand_long_tags_is_released_and_announced_and_the_next_one_too() -> None:
    stack = OneArchive(POLICY)
    for tag in TAGS:
        stack.registries.push(DEV, image("a"), tag)
    services(stack.ports()).reconcile.run({}, "r1", lambda: 900.0)
    stack.work()
    assert stack.refused == []
    assert stack.released() == image("a").digest
    assert all(stack.tags(tag) == [image("a").digest] * 2 for tag in (TAGS[0], TAGS[-1]))
    assert max(len(str(item["data"])) for item in stack.state.items.values()) < 380_000
    second = stack.push(image("b"), "v2.0.0")
    stack.work()
    assert stack.released() == second
    assert len(stack.bus.entries) == 2
