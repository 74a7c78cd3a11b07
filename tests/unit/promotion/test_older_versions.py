"""By itself a release never moves to an older version: the image is brought and tagged, and the release stays."""

import pytest

from support.fakes.promotion import Harbour, command, one
from support.fakes.recording import policy
from support.images.builders import DEV, image
from tallyman.domain.decide import PROMOTED, decide_all
from tallyman.domain.names import Digest
from tallyman.services.deciding.image_facts import load_image_facts


def second(harbour: Harbour, tag: str, content: str = "b") -> Digest:
    """Another image of dev, promoted as the tag."""
    digest = harbour.push(image(content), tag)
    harbour.work()
    assert harbour.tags(tag) == [digest, digest]
    return digest


def told(harbour: Harbour) -> list[str]:
    return [subject for subject, _, attributes in harbour.notices.published if attributes["kind"] == "not_released"]


@pytest.mark.parametrize("gates", [{}, {"order": False}], ids=["by-default", "order-false"])
def test_an_older_version_is_brought_and_tagged_and_not_released(gates: dict[str, object]) -> None:
    harbour = Harbour(policy=policy(verified=True, **gates))
    newer = harbour.push(image("a"), "v1.1.0")
    harbour.work()
    older = second(harbour, "v1.0.0")
    assert harbour.released() == newer
    assert harbour.pending() == []
    assert [d["digest"] for _, d in harbour.announcements.emitted] == [newer]
    assert told(harbour) == ["rocketseat/widget-server:v1.0.0 is in prod, but not released"]
    (decision,) = decide_all(
        harbour.policy, load_image_facts(harbour.ledger, harbour.state, older, harbour.policy), harbour.clock()
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
    harbour = Harbour()
    before = harbour.push(image("a"), first)
    harbour.work()
    after = second(harbour, then)
    assert harbour.released() == (after if moves else before)
    assert bool(told(harbour)) is not moves


def test_of_equal_versions_the_one_that_was_pushed_first_is_the_older() -> None:
    harbour = Harbour(policy=policy(verified=True, approvals={"count": 1, "from": ["role/release-managers"]}))
    early = harbour.push(image("a"), "v1.0.0-abc1234")
    harbour.clock.advance(minutes=1)
    harbour.push(image("b"), "v1.0.0-def5678")
    harbour.policy = policy(verified=True)
    harbour.evaluator.digest(image("b").digest, again=True)
    harbour.work()
    assert harbour.released() == image("b").digest
    harbour.evaluator.digest(early, again=True)
    harbour.work()
    assert harbour.tags("v1.0.0-abc1234") == [early, early]
    assert harbour.released() == image("b").digest


def test_going_back_to_what_was_brought_is_a_roll_back() -> None:
    harbour = Harbour()
    newer = harbour.push(image("a"), "v1.1.0")
    harbour.work()
    older = second(harbour, "v1.0.0")
    command(harbour, "roll-back", older, environment="prod", repository=DEV.name)
    harbour.work()
    assert harbour.released() == older
    facts = load_image_facts(harbour.ledger, harbour.state, older, harbour.policy)
    assert decide_all(harbour.policy, facts, harbour.clock())[0].stays is None
    assert [d["digest"] for _, d in harbour.announcements.emitted] == [newer, older]


def test_the_soak_of_an_older_version_that_ends_later_moves_nothing() -> None:
    """v1.1.0 went first by an override of its soak; when v1.0.0's soak ends, the release stays."""
    soaking = policy(verified=True, soak="24h")
    harbour = Harbour(policy=soaking)
    older = harbour.push(image("a"), "v1.0.0")
    harbour.clock.advance(hours=1)
    harbour.policy = policy(verified=True)  # as if it were overridden for this one
    newer = harbour.push(image("b"), "v1.1.0")
    harbour.hints.sent = [row for row in harbour.hints.sent if row[1]["digest"] == newer]
    harbour.work()
    harbour.policy = soaking
    harbour.clock.advance(hours=24)
    harbour.evaluator.digest(older, again=True)
    harbour.work()
    assert harbour.tags("v1.0.0") == [older, older]
    assert harbour.released() == newer


def test_promoting_the_same_again_releases_nothing_again() -> None:
    harbour, digest = one()
    harbour.work()
    harbour.push(image("a"), "v1.0.0")  # the same push once more
    harbour.work()
    assert harbour.released() == digest
    assert len({d["id"] for _, d in harbour.announcements.emitted}) == 1
