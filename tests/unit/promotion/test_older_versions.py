"""Without a person a release never moves to an older version: the image is copied and tagged, and the release stays."""

import json
from typing import Any

import pytest

from support.fakes.policies import parsed
from support.fakes.promotion import PromotionStack, command, one
from support.fakes.recording import policy
from support.images.builders import DEV, image, push_event
from tallyman.domain.decide import PROMOTED, decide_all
from tallyman.domain.names import Digest
from tallyman.domain.policy import Policy
from tallyman.services.deciding.image_facts import load_image_facts

REGISTRIES = {"dev": ("111111111111/us-east-2",), "prod": ("222222222222/us-east-2", "222222222222/sa-east-1")}


def any_tag(**gates: Any) -> Policy:
    """`policy` from dev to prod, for every tag."""
    registries = {name: {"registries": list(places)} for name, places in REGISTRIES.items()}
    promotion = {"from": "dev", "to": "prod", "gates": gates}
    create = {"immutable": True, "mutable_tags": ["latest"]}
    rule = {"match": "rocketseat/*", "create": create, "promotions": [promotion]}
    return parsed({"environments": registries, "repositories": [rule]})


def second(stack: PromotionStack, tag: str, content: str = "b") -> Digest:
    """Push another image to dev and promote it as the tag."""
    digest = stack.push(image(content), tag)
    stack.work()
    assert stack.tags(tag) == [digest, digest]
    return digest


def not_released_notices(stack: PromotionStack) -> list[str]:
    return [subject for subject, _, attributes in stack.notices.published if attributes["kind"] == "not_released"]


@pytest.mark.parametrize("gates", [{}, {"order": False}], ids=["by-default", "order-false"])
def test_an_older_version_is_copied_and_tagged_but_not_released(gates: dict[str, object]) -> None:
    stack = PromotionStack(policy=policy(verified=True, **gates))
    newer = stack.push(image("a"), "v1.1.0")
    stack.work()
    older = second(stack, "v1.0.0")
    assert stack.released() == newer
    assert stack.pending() == []
    assert [d["digest"] for _, d in stack.announcements.emitted] == [newer]
    assert not_released_notices(stack) == ["rocketseat/widget-server:v1.0.0 is in prod, but not released"]
    (decision,) = decide_all(
        stack.policy, load_image_facts(stack.ledger, stack.state, older, stack.policy), stack.clock()
    )
    assert decision.verdict == PROMOTED
    assert decision.stays == "v1.0.0 is older than v1.1.0, which prod runs"


@pytest.mark.parametrize(
    ("first", "then", "moves"),
    [
        ("v1.0.0", "v1.0.1", True),
        ("v1.10.0", "v1.9.0", False),
        ("v1.0.0", "v1.0.0-rc.1", False),
        ("v1.0.0-abc1234", "v1.0.0-def5678", True),
        ("v1.1.0-abc1234", "v1.0.0-def5678", False),
    ],
)
def test_the_order_of_versions_decides(first: str, then: str, moves: bool) -> None:
    stack = PromotionStack()
    before = stack.push(image("a"), first)
    stack.work()
    after = second(stack, then)
    assert stack.released() == (after if moves else before)
    assert bool(not_released_notices(stack)) is not moves


def test_of_equal_versions_the_first_pushed_is_older() -> None:
    stack = PromotionStack(policy=policy(verified=True, approvals={"count": 1, "from": ["role/release-managers"]}))
    early = stack.push(image("a"), "v1.0.0-abc1234")
    stack.clock.advance(minutes=1)
    stack.push(image("b"), "v1.0.0-def5678")
    stack.policy = policy(verified=True)
    stack.evaluator.digest(image("b").digest, again=True)
    stack.work()
    assert stack.released() == image("b").digest
    stack.evaluator.digest(early, again=True)
    stack.work()
    assert stack.tags("v1.0.0-abc1234") == [early, early]
    assert stack.released() == image("b").digest


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ("20260101", "20260102"),
        ("2026.01.05", "2026.01.06"),
        ("build-9", "build-10"),
        ("f00dfeed", "abc1234"),
        ("v1", "latest"),
        ("v1.0.0", "nightly"),
        ("nightly", "v1.0.0"),
    ],
)
@pytest.mark.parametrize("seconds", [60, 0], ids=["a-minute-apart", "within-a-second"])
def test_without_comparable_versions_the_first_pushed_is_older(first: str, then: str, seconds: int) -> None:
    """Dates, build numbers, commits, moving tags: an image whose gates open later does not move a release back."""
    stack = PromotionStack(policy=any_tag(verified=True, soak="24h"))
    older = stack.push(image("a"), first)
    stack.clock.advance(seconds=seconds, milliseconds=5)
    newer = stack.push(image("b"), then)
    stack.policy = any_tag(verified=True)
    for digest, tag in ((newer, then), (older, first)):
        stack.evaluator.digest(digest, again=True)
        stack.hints.sent = [row for row in stack.hints.sent if row[1]["digest"] == digest]
        stack.work()
        assert stack.tags(tag) == [digest, digest]
    assert stack.released() == newer
    assert not_released_notices(stack) == [f"rocketseat/widget-server:{first} is in prod, but not released"]


def test_a_tag_moved_back_to_an_older_image_does_not_move_the_release() -> None:
    stack = PromotionStack(policy=any_tag(verified=True))
    older = stack.push(image("a"), "latest")
    stack.work()
    stack.clock.advance(minutes=1)
    newer = stack.push(image("b"), "latest")
    stack.work()
    assert stack.released() == newer
    stack.clock.advance(minutes=1)
    stack.push(image("a"), "latest")
    stack.work()
    assert stack.tags("latest") == [older, older]
    assert stack.released() == newer
    assert not_released_notices(stack) == ["rocketseat/widget-server:latest is in prod, but not released"]


def test_releasing_a_copied_older_version_is_a_roll_back() -> None:
    stack = PromotionStack()
    newer = stack.push(image("a"), "v1.1.0")
    stack.work()
    older = second(stack, "v1.0.0")
    command(stack, "roll-back", older, environment="prod", repository=DEV.name)
    stack.work()
    assert stack.released() == older
    facts = load_image_facts(stack.ledger, stack.state, older, stack.policy)
    assert decide_all(stack.policy, facts, stack.clock())[0].stays is None
    assert [d["digest"] for _, d in stack.announcements.emitted] == [newer, older]


def test_the_later_end_of_an_older_versions_soak_does_not_move_the_release() -> None:
    """v1.1.0 went first by an override of its soak; when v1.0.0's soak ends, the release stays."""
    soaking = policy(verified=True, soak="24h")
    stack = PromotionStack(policy=soaking)
    older = stack.push(image("a"), "v1.0.0")
    stack.clock.advance(hours=1)
    stack.policy = policy(verified=True)  # as if it were overridden for this one
    newer = stack.push(image("b"), "v1.1.0")
    stack.hints.sent = [row for row in stack.hints.sent if row[1]["digest"] == newer]
    stack.work()
    stack.policy = soaking
    stack.clock.advance(hours=24)
    stack.evaluator.digest(older, again=True)
    stack.work()
    assert stack.tags("v1.0.0") == [older, older]
    assert stack.released() == newer


def test_promoting_the_same_image_again_does_not_release_it_again() -> None:
    stack, digest = one()
    stack.work()
    stack.push(image("a"), "v1.0.0")  # the same push once more
    stack.work()
    assert stack.released() == digest
    assert len({d["id"] for _, d in stack.announcements.emitted}) == 1


def test_an_image_that_latest_released_is_compared_by_the_version_that_is_still_pending() -> None:
    stack = PromotionStack(policy=any_tag(verified=True))
    newer = stack.push(image("newer"), "v1.3.0")
    held = stack.hints.take("promote")
    older = second(stack, "latest")
    assert stack.released() == older
    stack.push(image("b"), "v1.2.0")
    waiting = stack.hints.take("promote")
    stack.hints.sent = held
    stack.work()
    assert stack.released() == newer
    stack.hints.sent = waiting
    stack.work()
    assert stack.tags("v1.2.0") == [older, older]
    assert stack.released() == newer


def test_the_first_release_is_no_older_version_than_one_that_the_environment_holds() -> None:
    """It may run there: somebody brought it before promotions began, or by another name of the environment."""
    stack = PromotionStack(policy=policy(verified=True))
    (place, *_) = stack.policy.environment("prod").repositories(image_name := "rocketseat/widget-server")
    held = stack.registries.push(place, image("held"), "v1.5.0")
    stack.registries.push(place, image("chart"), "chart-9.0.0")
    for digest, tag in ((held, "v1.5.0"), (image("chart").digest, "chart-9.0.0")):
        stack.record().handle(json.dumps(push_event(place, digest, tag, at=stack.clock())))
    older = second(stack, "v1.0.0")
    assert stack.released() is None
    assert stack.announcements.emitted == []
    assert not_released_notices(stack) == [f"{image_name}:v1.0.0 is in prod, but not released"]
    (decision,) = decide_all(
        stack.policy, load_image_facts(stack.ledger, stack.state, older, stack.policy), stack.clock()
    )
    assert decision.stays == "v1.0.0 is older than v1.5.0, which prod holds"
    newer = second(stack, "v1.6.0", "c")
    assert stack.released() == newer
