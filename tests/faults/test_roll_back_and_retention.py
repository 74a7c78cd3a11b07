"""A roll-back and a removal of the same image at one moment: what an environment releases is there."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import pytest

from support.fakes.policies import parsed
from support.fakes.promotion import PLACES, PromotionStack, command
from support.fakes.retention import FakeRemover, FakeReplication
from support.fakes.wiring import services
from support.images.builders import DEV, PROD, PROD_SA, image
from tallyman.domain.names import EcrRegistry
from tallyman.domain.policy import UsageRules
from tallyman.domain.usage import Reading

POLICY = parsed(
    {
        "environments": {
            "dev": {"registries": [str(DEV.registry)]},
            "prod": {"registries": [str(PROD.registry), str(PROD_SA.registry)]},
        },
        "repositories": [
            {
                "match": "rocketseat/*",
                "create": {"immutable": True},
                "promotions": [{"from": "dev", "to": "prod", "gates": {"verified": True}}],
                "retention": {
                    "keep": [{"newest": 1, "of": "semver"}],
                    "grace": "0s",
                    "at_most": "100%",
                    "enforce": True,
                    "roll_back": "1h",
                },
            }
        ],
    }
)


class Usage:
    """`UsageReadings` without a use; `asked` runs before each answer."""

    asked: Callable[[], None] = staticmethod(lambda: None)

    def readings(self, registry: EcrRegistry, at: datetime, rules: UsageRules) -> list[Reading]:
        self.asked()
        return [Reading("ECS", registry, at)]


@pytest.mark.parametrize("moment", range(1, 7))
def test_a_roll_back_while_retention_looks_never_releases_what_is_removed(moment: int) -> None:
    stack, usage, times = PromotionStack(POLICY), Usage(), [0]
    first = stack.push(image("a"), "v1.0.0")
    stack.work()
    stack.clock.advance(days=2)
    stack.push(image("b"), "v1.1.0")
    stack.work()
    stack.clock.advance(days=2)
    command(stack, "roll-back", first, repository=DEV.name, environment="prod")
    ((_, hint, _),) = stack.hints.take("promote")

    def roll_back() -> None:
        times[0] += 1
        if times[0] == moment:
            stack.handle(hint)

    usage.asked = roll_back
    ports = replace(
        stack.ports(), usage_readings=usage, remover=FakeRemover(stack.registries), replication=FakeReplication()
    )
    for place in PLACES:
        services(ports).apply_retention.handle(json.dumps({"repository": str(place)}))
    stack.work()
    there = all(stack.registries.describe(place, [first]) for place in PLACES)
    assert there or stack.released() != first
    assert (stack.released() == first) is not bool(stack.refused)
