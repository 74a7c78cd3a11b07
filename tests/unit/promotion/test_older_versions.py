"""By itself a release never moves to an older version: the image is brought and tagged, and the release stays."""

import pytest

from support.fakes.promotion import PromotionStack, command, one
from support.fakes.recording import policy
from support.images.builders import DEV, image
from tallyman.domain.decide import PROMOTED, decide_all
from tallyman.domain.names import Digest
from tallyman.services.deciding.image_facts import load_image_facts


def second(stack: PromotionStack, tag: str, content: str = "b") -> Digest:
    """Another image of dev, promoted as the tag."""
    digest = stack.push(image(content), tag)
    stack.work()
    assert stack.tags(tag) == [digest, digest]
    return digest


def told(stack: PromotionStack) -> list[str]:
    return [subject for subject, _, attributes in stack.notices.published if attributes["kind"] == "not_released"]


@pytest.mark.parametrize("gates", [{}, {"order": False}], ids=["by-default", "order-false"])
def test_an_older_version_is_brought_and_tagged_and_not_released(gates: dict[str, object]) -> None:
    stack = PromotionStack(policy=policy(verified=True, **gates))
    newer = stack.push(image("a"), "v1.1.0")
    stack.work()
    older = second(stack, "v1.0.0")
    assert stack.released() == newer
    assert stack.pending() == []
    assert [d["digest"] for _, d in stack.announcements.emitted] == [newer]
    assert told(stack) == ["rocketseat/widget-server:v1.0.0 is in prod, but not released"]
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
def test_versions_decide(first: str, then: str, moves: bool) -> None:
    stack = PromotionStack()
    before = stack.push(image("a"), first)
    stack.work()
    after = second(stack, then)
    assert stack.released() == (after if moves else before)
    assert bool(told(stack)) is not moves


def test_of_equal_versions_the_one_that_was_pushed_first_is_the_older() -> None:
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


def test_going_back_to_what_was_brought_is_a_roll_back() -> None:
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


def test_the_soak_of_an_older_version_that_ends_later_moves_nothing() -> None:
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


def test_promoting_the_same_again_releases_nothing_again() -> None:
    stack, digest = one()
    stack.work()
    stack.push(image("a"), "v1.0.0")  # the same push once more
    stack.work()
    assert stack.released() == digest
    assert len({d["id"] for _, d in stack.announcements.emitted}) == 1
