"""A roll-back is carried out once, in the order of requests, never to a recalled image, and no promotion undoes it."""

from typing import Any

from support.fakes.policies import parsed
from support.fakes.promotion import PromotionStack, command
from support.images.builders import DEV, PROD, PROD_SA, image, multi_arch
from tallyman.domain.history.facts import Kind
from tallyman.domain.names import Digest
from tallyman.domain.policy import Policy
from tallyman.errors import Refused


def released(*contents: str) -> tuple[PromotionStack, list[Digest]]:
    """Images of these contents were promoted as v1.0.0, v1.1.0 and so on."""
    stack = PromotionStack()
    digests = []
    for number, content in enumerate(contents):
        digests.append(stack.push(image(content), f"v1.{number}.0"))
        stack.work()
        assert stack.released() == digests[-1]
    return stack, digests


def request(stack: PromotionStack, digest: Digest, name: str = "r1") -> dict[str, Any]:
    """Record a request to roll back; return its hint."""
    command(stack, "roll-back", digest, name, repository=DEV.name, environment="prod")
    ((_, body, _),) = stack.hints.take("promote")
    return body


def refusals(stack: PromotionStack) -> list[str]:
    return [f.detail["refused"] for f in stack.facts(Kind.REQUESTED) if f.detail["refused"]]


def test_a_hint_that_arrives_again_does_not_undo_a_later_release() -> None:
    stack, (first, _) = released("a", "b")
    hint = request(stack, first)
    stack.handle(hint)
    third = stack.push(image("c"), "v1.2.0")
    stack.work()
    assert stack.released() == third
    assert stack.handle(hint) == "rolled back"
    assert stack.released() == third
    assert len(stack.facts(Kind.ROLLED_BACK)) == 1


def test_a_hint_that_arrives_again_after_its_image_is_gone_refuses_nothing() -> None:
    stack, (first, _) = released("a", "b")
    hint = request(stack, first)
    stack.handle(hint)
    stack.registries.delete(PROD, first)
    assert stack.handle(hint) == "rolled back"
    assert refusals(stack) == []


def test_a_refused_request_stays_refused_though_its_reason_is_gone() -> None:
    stack, (first, second) = released("a", "b")
    stack.registries.delete(PROD, first)
    hint = request(stack, first)
    stack.handle(hint)
    stack.registries.push(PROD, image("a"), "v1.0.0")
    stack.handle(hint)
    assert stack.released() == second
    assert len(refusals(stack)) == 1
    assert [type(error) for error in stack.refused] == [Refused, Refused]


def test_of_two_requests_the_later_one_counts_in_any_order_of_their_hints() -> None:
    stack, (first, second, _) = released("a", "b", "c")
    one, two = request(stack, first, "r1"), request(stack, second, "r2")
    stack.handle(two)
    assert stack.released() == second
    stack.handle(one)
    assert stack.released() == second
    assert len(refusals(stack)) == 1
    assert "ana requested at" in refusals(stack)[0]
    assert [d["digest"] for _, d in stack.announcements.emitted][-1] == second


def test_the_later_request_counts_also_where_its_release_is_no_longer_in_force() -> None:
    stack, (first, second, _) = released("a", "b", "c")
    one, two = request(stack, first, "r1"), request(stack, second, "r2")
    stack.handle(two)
    fourth = stack.push(image("d"), "v1.3.0")
    stack.work()
    stack.handle(one)
    assert stack.released() == fourth


def test_requests_in_their_order_are_both_carried_out() -> None:
    stack, (first, second, _) = released("a", "b", "c")
    one, two = request(stack, first, "r1"), request(stack, second, "r2")
    stack.handle(one)
    stack.handle(two)
    assert stack.released() == second
    assert refusals(stack) == []
    stack.handle(request(stack, first, "r3"))
    assert stack.released() == first


def test_an_index_with_a_recalled_platform_is_not_released_again() -> None:
    stack = PromotionStack()
    index = multi_arch()
    first = stack.push(index, "v1.0.0")
    stack.work()
    second = stack.push(image("b"), "v1.1.0")
    stack.work()
    command(stack, "recall", index.root.children[0].digest, "r0")
    stack.work()
    stack.handle(request(stack, first))
    assert stack.released() == second
    assert "was recalled" in refusals(stack)[0]


def test_an_image_that_is_pushed_again_by_the_same_tag_does_not_undo_a_roll_back() -> None:
    stack, (first, second) = released("a", "b")
    stack.handle(request(stack, first))
    stack.push(image("b"), "v1.1.0")
    stack.work()
    assert stack.released() == first
    (subject, text, _) = stack.notices.published[-1]
    assert subject == f"{DEV.name}:v1.1.0 is in prod, but not released"
    assert "prod was rolled back to v1.0.0 at" in text
    stack.push(image("b"), "v1.1.1")
    stack.work()
    assert stack.released() == second  # a new version of it is a new release


def environments(*prod: str) -> Policy:
    """dev → prod with these registries."""
    return parsed(
        {
            "environments": {"dev": {"registries": [str(DEV.registry)]}, "prod": {"registries": list(prod)}},
            "repositories": [
                {
                    "match": "rocketseat/*",
                    "create": {"immutable": True},
                    "promotions": [{"from": "dev", "to": "prod", "gates": {"verified": True}}],
                }
            ],
        }
    )


def test_a_new_registry_of_the_environment_does_not_undo_a_roll_back() -> None:
    stack = PromotionStack(environments(str(PROD.registry)))
    first = stack.push(image("a"), "v1.0.0")
    stack.work()
    second = stack.push(image("b"), "v1.1.0")
    stack.work()
    stack.handle(request(stack, first))
    stack.policy = environments(str(PROD.registry), str(PROD_SA.registry))
    for digest in (first, second):
        stack.evaluator.digest(digest, again=True)
    stack.work()
    assert stack.tags("v1.0.0") == [first, first]
    assert stack.tags("v1.1.0") == [second, second]
    assert stack.released() == first
