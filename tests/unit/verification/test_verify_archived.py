"""verify_digest and archived images, whose bytes can't be read."""

import json

from support.fakes.chains import Chain, chain
from support.images.builders import DEV, image
from tallyman.domain.history.facts import Kind


def test_an_archived_image_is_verified_when_it_is_restored_and_is_no_dead_letter_before() -> None:
    stack = Chain(
        chain({"dev": {"registries": [str(DEV.registry)]}, "prod": {"registries": ["222222222222/us-east-2"]}})
    )
    digest = stack.registries.push(DEV, image("a"), "v1.0.0")
    archived = stack.registries.held(DEV).archived
    archived.add(digest)
    hint = json.dumps({"verify": {"repository": str(DEV), "digest": digest, "tag": "v1.0.0"}})
    assert stack.verifier().handle(hint, lambda: 900.0) == "archived: it can't be read before it is restored"
    assert not [fact for fact in stack.ledger.of_digest(digest) if fact.kind is Kind.VERIFIED]
    archived.clear()
    assert stack.verifier().handle(hint, lambda: 900.0) == "verification passed"
