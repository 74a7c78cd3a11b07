"""A promotion that has set a tag is finished, or notified until a person ends it, whatever happens to the image in the
source."""

import json
from datetime import timedelta

import pytest

from support.fakes.promotion import PLACES, PromotionStack, command, one
from support.fakes.recording import policy
from support.images.builders import DEV, PROD_SA, image, push_event
from tallyman.domain.history.facts import Kind
from tallyman.domain.images.manifest import Manifest
from tallyman.domain.names import Digest, Location
from tallyman.errors import Throttled


class Broken:
    """A region that accepts no tag until it is healed."""

    def __init__(self, stack: PromotionStack) -> None:
        self.put, self.healed = stack.registries.put_manifest, False
        stack.registries.put_manifest = self  # type: ignore[method-assign]

    def __call__(self, repository: Location, manifest: Manifest, tag: str | None = None) -> None:
        if repository == PROD_SA and tag and not self.healed:
            raise Throttled("Rate exceeded")
        self.put(repository, manifest, tag)


def half(tag: str = "v1.0.0") -> tuple[PromotionStack, Digest, Broken]:
    """The tag is in the first region of prod, the second accepts none."""
    stack, digest = one()
    broken = Broken(stack)
    stack.work(until=timedelta(seconds=10))
    assert stack.tags("v1.0.0") == [digest, None]
    return stack, digest, broken


def deliver(stack: PromotionStack, digest: Digest, tag: str | None, action: str = "PUSH") -> None:
    """Deliver an event to record_push."""
    stack.clock.advance(seconds=1)
    stack.record().handle(json.dumps(push_event(DEV, digest, tag, action=action, at=stack.clock())))


def gone(stack: PromotionStack, digest: Digest, how: str) -> None:
    """The source loses the tag, or the image, or its tag moves on."""
    held = stack.registries.held(DEV)
    if how == "untagged":
        held.tags["keep"] = digest
        stack.registries.untag(DEV, "v1.0.0")
        deliver(stack, digest, "v1.0.0", "DELETE")
    elif how == "removed":
        stack.registries.delete(DEV, digest)
        deliver(stack, digest, None, "DELETE")
    else:
        held.tags.pop("v1.0.0")
        newer = stack.registries.push(DEV, image("b"), "v1.0.0")
        deliver(stack, newer, "v1.0.0")


HOW = ["untagged", "removed", "moved"]


@pytest.mark.parametrize("how", HOW)
def test_it_is_completed_whatever_happens_in_the_source(how: str) -> None:
    stack, digest, broken = half()
    gone(stack, digest, how)
    (pending,) = [p for p in stack.pending() if p["digest"] == digest]
    assert pending["tags"] == ["v1.0.0"]
    assert pending["tagging_since"]
    broken.healed = True
    stack.work(until=timedelta(hours=1))
    assert stack.tags("v1.0.0") == [digest, digest]
    assert stack.released() == digest
    assert [p for p in stack.pending() if p["digest"] == digest] == []
    assert not [f for f in stack.facts(Kind.PARKED) if f.digest == digest]


@pytest.mark.parametrize("how", HOW)
def test_reconcile_resumes_it_if_its_hint_is_lost(how: str) -> None:
    stack, digest, broken = half()
    gone(stack, digest, how)
    stack.hints.take("promote")  # a dead letter
    broken.healed = True
    stack.evaluator.digest(digest, again=True)
    stack.work(until=timedelta(hours=1))
    assert stack.tags("v1.0.0") == [digest, digest]


def test_a_recalled_image_is_not_completed_and_stays_pending_until_its_tags_are_removed() -> None:
    stack, digest, broken = half()
    command(stack, "recall", digest)
    gone(stack, digest, "removed")
    broken.healed = True
    stack.work(until=timedelta(hours=1))
    assert stack.tags("v1.0.0") == [digest, None]
    (pending,) = stack.pending()
    assert (pending["verdict"], pending["gate"]) == ("failed", "recalled")
    assert pending["tagging_since"]
    stack.registries.untag(next(r for r in PLACES if stack.registries.tag_of(r, "v1.0.0")), "v1.0.0")
    stack.evaluator.digest(digest, again=True)  # as the next sweep does
    stack.work(until=timedelta(minutes=1))
    assert stack.pending() == []


def test_a_tag_taken_over_by_another_image_is_not_changed() -> None:
    """Tags such as `latest` may move: the source's newer image ends the older promotion."""
    stack, digest, broken = half()
    for place in PLACES:
        held = stack.registries.held(place)
        held.tags["v1.0.0"] = image("other").digest
    gone(stack, digest, "untagged")
    broken.healed = True
    stack.work(until=timedelta(hours=1))
    assert stack.tags("v1.0.0") == [image("other").digest] * 2
    assert stack.pending() == []
    assert stack.released() is None


def test_a_freeze_blocks_the_release_but_not_the_remaining_tags() -> None:
    stack, digest, broken = half()
    command(stack, "freeze", digest, environment="prod")
    broken.healed = True
    stack.work(until=timedelta(hours=1))
    assert stack.tags("v1.0.0") == [digest, digest]
    assert stack.released() is None
    (pending,) = stack.pending()
    assert (pending["verdict"], pending["gate"]) == ("waiting", "freeze")
    command(stack, "thaw", digest, request="r2", environment="prod")
    stack.work(until=timedelta(hours=1))
    assert stack.released() == digest


def test_a_tag_that_is_added_to_a_half_tagged_image_waits_for_the_thaw() -> None:
    stack, digest, broken = half()
    command(stack, "freeze", Digest(""), "r1", environment="prod")
    stack.registries.push(DEV, image("a"), "v1.0.1")
    deliver(stack, digest, "v1.0.1")
    broken.healed = True
    stack.work()
    assert stack.tags("v1.0.0") == [digest, digest]  # begun before the freeze
    assert stack.tags("v1.0.1") == [None, None]
    assert stack.released() is None
    command(stack, "thaw", Digest(""), "r2", environment="prod")
    stack.work()
    assert stack.tags("v1.0.1") == [digest, digest]
    assert stack.released() == digest


def test_a_half_tagged_image_is_finished_and_another_tag_of_it_waits_for_its_gate() -> None:
    stack, digest, broken = half()
    stack.policy = policy(verified=True, approvals={"count": 1, "from": ["role/ops"]})
    stack.registries.push(DEV, image("a"), "v1.0.1")
    deliver(stack, digest, "v1.0.1")
    broken.healed = True
    stack.work()
    assert stack.tags("v1.0.0") == [digest, digest]
    assert stack.tags("v1.0.1") == [None, None]
    assert stack.released() == digest
    (waits,) = stack.pending()
    assert (waits["gate"], waits["tagging_since"]) == ("approvals", None)
    stack.clock.advance(hours=1)
    stack.services().reconcile.run({}, "a sweep", lambda: 900.0)
    assert [attributes["kind"] for _, _, attributes in stack.notices.published if attributes["kind"] == "stuck"] == []
