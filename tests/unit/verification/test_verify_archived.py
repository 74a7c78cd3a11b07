"""verify_digest and images whose bytes can't be read: archived, or removed meanwhile."""

import json

import pytest

from support.fakes.chains import Chain, chain
from support.fakes.vanishing import dropped_before
from support.images.builders import DEV, image, multi_arch, push_event
from tallyman.domain.history.facts import Kind
from tallyman.errors import Unreachable


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


def test_an_index_of_which_a_platform_image_is_archived_waits_and_is_verified_after_the_restore() -> None:
    stack = Chain(
        chain({"dev": {"registries": [str(DEV.registry)]}, "prod": {"registries": ["222222222222/us-east-2"]}})
    )
    built = multi_arch("a")
    stack.registries.push(DEV, built, "v1.0.0")
    child = built.root.children[0].digest
    archived = stack.registries.held(DEV).archived
    archived.add(child)
    stack.run()  # no dead letter: nothing raises
    (gate,) = [g for g in stack.decision(built.digest, "prod").gates if g.name == "verified"]
    assert gate.verdict == "waiting"
    assert f"{child} is listed and archived" in gate.reason
    archived.clear()
    stack.clock.advance(hours=1)
    stack.services().reconcile.run({}, "a sweep", lambda: 900.0)
    (hint,) = stack.hints.to("verify")
    assert stack.verifier().handle(json.dumps(hint), lambda: 900.0) == "verification passed"
    stack.run()
    assert stack.runs("prod") == built.digest


@pytest.mark.parametrize("method", ["manifest", "missing_blobs", "referrers"])
def test_the_verification_of_an_image_whose_repository_is_deleted_meanwhile_just_ends(
    monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    stack = Chain(
        chain({"dev": {"registries": [str(DEV.registry)]}, "prod": {"registries": ["222222222222/us-east-2"]}})
    )
    digest = stack.registries.push(DEV, image("a"), "v1.0.0")
    event = json.dumps(push_event(DEV, digest, "v1.0.0", at=stack.clock()))
    dropped_before(monkeypatch, stack.registries, method, DEV)
    outcome = stack.verifier().handle(event, lambda: 900.0)
    if method == "referrers":  # all was read before
        assert outcome == "verification passed"
    else:
        assert outcome == "gone: the image was removed since"
        assert not [fact for fact in stack.ledger.of_digest(digest) if fact.kind is Kind.VERIFIED]


def test_an_image_that_is_listed_and_not_read_is_verified_again(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = Chain(
        chain({"dev": {"registries": [str(DEV.registry)]}, "prod": {"registries": ["222222222222/us-east-2"]}})
    )
    digest = stack.registries.push(DEV, image("a"), "v1.0.0")
    event = json.dumps(push_event(DEV, digest, "v1.0.0", at=stack.clock()))
    with monkeypatch.context() as lagging:
        lagging.setattr(stack.registries, "manifest", lambda *_: None)
        with pytest.raises(Unreachable):
            stack.verifier().handle(event, lambda: 900.0)
    assert stack.verifier().handle(event, lambda: 900.0) == "verification passed"
