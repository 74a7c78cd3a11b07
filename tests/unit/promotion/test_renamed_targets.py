"""An environment whose repositories get another name: what was promoted to the old one is promoted to the new one."""

import pytest

from support.fakes.policies import parsed
from support.fakes.promotion import PLACES, PromotionStack
from support.images.builders import DEV, image
from tallyman.domain.decide import PROMOTED
from tallyman.domain.history.details.promotions import Promoted
from tallyman.domain.history.facts import Kind
from tallyman.domain.names import Repository
from tallyman.domain.policy import Policy


def named(pattern: str) -> Policy:
    """dev → prod, whose repositories have names of this pattern."""
    return parsed(
        {
            "environments": {
                "dev": {"registries": [str(DEV.registry)]},
                "prod": {"registries": [str(place.registry) for place in PLACES], "repository": pattern},
            },
            "repositories": [
                {
                    "match": "rocketseat/*",
                    "create": {"immutable": True},
                    "promotions": [{"from": "dev", "to": "prod", "gates": {"verified": True}}],
                }
            ],
        }
    )


def test_an_image_is_promoted_again_where_the_repositories_got_another_name() -> None:
    stack = PromotionStack(named("{name}"))
    digest = stack.push(image("a"), "v1.0.0")
    stack.work()
    assert stack.tags("v1.0.0") == [digest, digest]
    stack.policy = named("prod/{name}")
    stack.evaluator.digest(digest, again=True)
    stack.work()
    there = [Repository(place.registry, f"prod/{place.name}") for place in PLACES]
    assert [stack.registries.tag_of(place, "v1.0.0") for place in there] == [digest, digest]
    assert [f.detail["repository"] for f in stack.facts(Kind.PROMOTED)] == [DEV.name, f"prod/{DEV.name}"]
    assert stack.evaluator.digest(digest)[0].verdict == PROMOTED


@pytest.mark.parametrize(("recorded", "reached"), [(None, True), (DEV.name, True), (f"prod/{DEV.name}", False)])
def test_a_promotion_of_an_earlier_version_reached_the_repository_of_any_name(
    recorded: str | None, reached: bool
) -> None:
    promoted = Promoted("prod", "dev", DEV.name, [], [str(PLACES[0].registry)], "", {}, repository=recorded)
    assert promoted.reached(PLACES[0]) is reached
    assert not promoted.reached(PLACES[1])
    assert ("repository" in promoted.dump()) is (recorded is not None)
