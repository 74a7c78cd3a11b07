"""A person asks to promote a promoted image: what the targets have lost is brought again, if every gate passes."""

import json
from collections.abc import Callable

import pytest

from support.fakes.promotion import PLACES, PromotionStack, command, one
from support.images.builders import DEV, PROD, PROD_SA, delete_event, image
from tallyman.domain.history.facts import Kind
from tallyman.domain.names import Digest
from tallyman.errors import Unreachable


def promoted() -> tuple[PromotionStack, Digest]:
    stack, digest = one()
    stack.work()
    assert stack.released() == digest
    stack.clock.advance(days=1)
    return stack, digest


def lose_image(stack: PromotionStack, digest: Digest) -> None:
    stack.registries.delete(PROD, digest)
    stack.record().handle(json.dumps(delete_event(PROD, digest, at=stack.clock())))


def lose_tag(stack: PromotionStack, digest: Digest) -> None:
    lose_image(stack, digest)
    stack.registries.push(PROD, image("a"))


def ask(stack: PromotionStack, digest: Digest) -> None:
    command(stack, "promote", digest, "again", repository=DEV.name, **{"from": "dev", "to": "prod"})


@pytest.mark.parametrize("lose", [lose_image, lose_tag])
def test_what_a_target_has_lost_is_brought_again(lose: Callable[[PromotionStack, Digest], None]) -> None:
    stack, digest = promoted()
    lose(stack, digest)
    ask(stack, digest)
    stack.work()
    assert stack.tags("v1.0.0") == [digest, digest]
    assert stack.outcomes[-1] == "promoted"
    assert len(stack.facts(Kind.PROMOTED)) == 2
    assert len(stack.announcements.emitted) == 1
    assert stack.pending() == []


def test_what_the_source_has_lost_of_it_is_read_from_another_target() -> None:
    stack, digest = promoted()
    lose_image(stack, digest)
    held = stack.registries.held(DEV)
    config = next(iter(image("a").blobs))
    held.blobs.pop(config)
    del held.manifests[digest]
    ask(stack, digest)
    stack.work()
    assert stack.tags("v1.0.0") == [digest, digest]


def test_an_image_that_a_gate_refuses_today_is_not_brought_again() -> None:
    stack, digest = promoted()
    lose_image(stack, digest)
    command(stack, "recall", digest, "r0")
    ask(stack, digest)
    stack.work()
    assert stack.tags("v1.0.0") == [None, digest]
    assert len(stack.facts(Kind.PROMOTED)) == 1


def test_a_recall_while_it_is_brought_again_stops_it() -> None:
    stack, digest = promoted()
    lose_image(stack, digest)
    ask(stack, digest)

    def recall() -> None:
        command(stack, "recall", digest, "r0")

    stack.work(meanwhile=recall)
    assert stack.tags("v1.0.0") == [None, digest]


def test_a_registry_that_does_not_answer_is_tried_again() -> None:
    stack, digest = promoted()
    lose_image(stack, digest)
    stack.registries.fail(PROD_SA.registry, error=Unreachable("no answer"))
    ask(stack, digest)
    for _, body, _ in stack.hints.take("promote"):
        assert "no answer" in stack.handle(body)
    stack.registries.heal()
    stack.work()
    assert stack.tags("v1.0.0") == [digest, digest]


def test_a_request_moves_no_release_back_and_undoes_no_roll_back() -> None:
    stack, first = promoted()
    second = stack.push(image("b"), "v1.1.0")
    stack.work()
    ask(stack, first)
    stack.work()
    assert stack.released() == second
    command(stack, "roll-back", first, "back", repository=DEV.name, environment="prod")
    stack.work()
    lose_image(stack, second)
    command(stack, "promote", second, "again2", repository=DEV.name, **{"from": "dev", "to": "prod"})
    stack.work()
    assert [stack.registries.tag_of(place, "v1.1.0") for place in PLACES] == [second, second]
    assert stack.released() == first
