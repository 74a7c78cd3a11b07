"""Stowaways: what somebody else tagged in an environment, also where promotions had copied the content."""

import pytest

from support.fakes.chains import Chain, chain
from support.fakes.promotion import command
from support.images.builders import Built, image, multi_arch
from tallyman.domain.history.facts import Kind
from tallyman.domain.names import Digest
from tallyman.services.promotion.intents import is_brought

DEV = {"registries": ["111111111111/us-east-2"]}
PROD = {"registries": ["222222222222/us-east-2", "222222222222/sa-east-1"]}


def staged(built: Built) -> tuple[Chain, Digest]:
    """An image that is staged in the first registry of prod, untagged: the second one did not answer. Then it was
    recalled."""
    stack = Chain(policy=chain({"dev": DEV, "prod": PROD}))
    first, second = stack.places("prod")
    stack.registries.fail(second.registry)
    digest = stack.pushed(built, "v1.0.0")
    command(stack, "recall", digest)
    stack.registries.heal()
    stack.run()
    assert digest in stack.registries.held(first).manifests
    assert stack.registries.tag_of(first, "v1.0.0") is None
    return stack, digest


@pytest.mark.parametrize("built", [image("a"), multi_arch("a")], ids=["image", "index"])
def test_a_staged_image_that_somebody_else_tags_is_a_stowaway(built: Built) -> None:
    stack, digest = staged(built)
    assert stack.facts(Kind.STOWAWAY) == []
    place = stack.places("prod")[0]
    stack.registries.push(place, built, "v1.0.0")
    stack.run()
    assert [(f.digest, f.tag) for f in stack.facts(Kind.STOWAWAY)] == [(digest, "v1.0.0")]
    assert [s for s, _, a in stack.notices.published if a["kind"] == "stowaway"] == [f"stowaway in prod: {place.name}"]
    assert not is_brought(stack.policy, stack.ledger, stack.ledger.of_digest(digest), place, "v1.0.0")


def test_a_part_of_a_staged_index_that_somebody_else_tags_is_a_stowaway_and_of_a_promoted_one_it_is_not() -> None:
    built = multi_arch("a")
    child = built.root.children[0].digest
    stack, _ = staged(built)
    place = stack.places("prod")[0]
    stack.registries.put_manifest(place, built.manifests[child], "arm")
    stack.run()
    assert [(f.digest, f.tag) for f in stack.facts(Kind.STOWAWAY)] == [(child, "arm")]
    promoted = Chain(policy=chain({"dev": DEV, "prod": PROD}))
    promoted.pushed(built, "v1.0.0")
    promoted.registries.put_manifest(place, built.manifests[child], "arm")
    promoted.registries.put_manifest(place, built.root, "v1")
    promoted.run()
    assert promoted.runs("prod") == built.digest
    assert promoted.facts(Kind.STOWAWAY) == []
