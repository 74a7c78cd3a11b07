"""What has begun to tag is finished, or told until a person ends it, whatever becomes of the image in the source."""

import json
from datetime import timedelta

import pytest

from support.fakes.promotion import PLACES, Harbour, command, one
from support.images.builders import DEV, PROD_SA, image, push_event
from tallyman.domain.history.facts import Kind
from tallyman.domain.images.manifest import Manifest
from tallyman.domain.names import Digest, Location
from tallyman.errors import Throttled


class Broken:
    """A region that takes no tag until it is healed."""

    def __init__(self, harbour: Harbour) -> None:
        self.put, self.healed = harbour.registries.put_manifest, False
        harbour.registries.put_manifest = self  # type: ignore[method-assign]

    def __call__(self, repository: Location, manifest: Manifest, tag: str | None = None) -> None:
        if repository == PROD_SA and tag and not self.healed:
            raise Throttled("Rate exceeded")
        self.put(repository, manifest, tag)


def half(tag: str = "v1.0.0") -> tuple[Harbour, Digest, Broken]:
    """The tag is in the first region of prod, the second takes none."""
    harbour, digest = one()
    broken = Broken(harbour)
    harbour.work(until=timedelta(seconds=10))
    assert harbour.tags("v1.0.0") == [digest, None]
    return harbour, digest, broken


def tell(harbour: Harbour, digest: Digest, tag: str | None, action: str = "PUSH") -> None:
    """record_push hears of it."""
    harbour.clock.advance(seconds=1)
    harbour.record().handle(json.dumps(push_event(DEV, digest, tag, action=action, at=harbour.clock())))


def gone(harbour: Harbour, digest: Digest, how: str) -> None:
    """The source loses the tag, or the image, or its tag moves on."""
    held = harbour.registries.held(DEV)
    if how == "untagged":
        held.tags["keep"] = digest
        harbour.registries.untag(DEV, "v1.0.0")
        tell(harbour, digest, "v1.0.0", "DELETE")
    elif how == "removed":
        harbour.registries.delete(DEV, digest)
        tell(harbour, digest, None, "DELETE")
    else:
        held.tags.pop("v1.0.0")
        newer = harbour.registries.push(DEV, image("b"), "v1.0.0")
        tell(harbour, newer, "v1.0.0")


HOW = ["untagged", "removed", "moved"]


@pytest.mark.parametrize("how", HOW)
def test_it_is_finished_whatever_the_source_does(how: str) -> None:
    harbour, digest, broken = half()
    gone(harbour, digest, how)
    (pending,) = [p for p in harbour.pending() if p["digest"] == digest]
    assert pending["tags"] == ["v1.0.0"]
    assert pending["tagging_since"]
    broken.healed = True
    harbour.work(until=timedelta(hours=1))
    assert harbour.tags("v1.0.0") == [digest, digest]
    assert harbour.released() == digest
    assert [p for p in harbour.pending() if p["digest"] == digest] == []
    assert not [f for f in harbour.facts(Kind.PARKED) if f.digest == digest]


@pytest.mark.parametrize("how", HOW)
def test_reconcile_takes_it_up_when_its_hint_is_lost(how: str) -> None:
    harbour, digest, broken = half()
    gone(harbour, digest, how)
    harbour.hints.take("promote")  # a dead letter
    broken.healed = True
    harbour.evaluator.digest(digest, again=True)
    harbour.work(until=timedelta(hours=1))
    assert harbour.tags("v1.0.0") == [digest, digest]


def test_a_recalled_image_is_not_finished_and_stays_pending_until_its_tags_are_removed() -> None:
    harbour, digest, broken = half()
    command(harbour, "recall", digest)
    gone(harbour, digest, "removed")
    broken.healed = True
    harbour.work(until=timedelta(hours=1))
    assert harbour.tags("v1.0.0") == [digest, None]
    (pending,) = harbour.pending()
    assert (pending["verdict"], pending["gate"]) == ("failed", "recalled")
    assert pending["tagging_since"]
    harbour.registries.untag(next(r for r in PLACES if harbour.registries.tag_of(r, "v1.0.0")), "v1.0.0")
    harbour.evaluator.digest(digest, again=True)  # as the next sweep does
    harbour.work(until=timedelta(minutes=1))
    assert harbour.pending() == []


def test_a_tag_that_another_image_has_taken_over_is_left_to_it() -> None:
    """`latest`-like tags may move: what the source moved on to ends what was begun before."""
    harbour, digest, broken = half()
    for place in PLACES:
        held = harbour.registries.held(place)
        held.tags["v1.0.0"] = image("other").digest
    gone(harbour, digest, "untagged")
    broken.healed = True
    harbour.work(until=timedelta(hours=1))
    assert harbour.tags("v1.0.0") == [image("other").digest] * 2
    assert harbour.pending() == []
    assert harbour.released() is None


def test_a_freeze_holds_the_release_but_not_the_tags_that_were_begun() -> None:
    harbour, digest, broken = half()
    command(harbour, "freeze", digest, environment="prod")
    broken.healed = True
    harbour.work(until=timedelta(hours=1))
    assert harbour.tags("v1.0.0") == [digest, digest]
    assert harbour.released() is None
    (pending,) = harbour.pending()
    assert (pending["verdict"], pending["gate"]) == ("waiting", "freeze")
    command(harbour, "thaw", digest, request="r2", environment="prod")
    harbour.work(until=timedelta(hours=1))
    assert harbour.released() == digest
