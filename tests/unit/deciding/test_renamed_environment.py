"""An environment that only gets another name in the policy keeps its freezes, releases and promotions."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

from support.fakes.chains import NAME, Chain, chain
from support.fakes.promotion import command
from support.fakes.retention import RetentionStack
from support.images.builders import delete_event, image
from tallyman.domain.decide import PROMOTED
from tallyman.domain.history.facts import Kind
from tallyman.domain.names import Digest
from tallyman.domain.policy import Policy
from tallyman.domain.retention import Inventory
from tallyman.services.deciding.renamed_environments import move_environment
from tallyman.services.retention.release_log import ReleaseLog
from tallyman.state import pending
from tallyman.state.pending import PENDING
from tallyman.state.policy import KEY, POLICY

DEV, STAGING, PROD = ({"registries": [f"{account * 12}/us-east-2"]} for account in "132")


def deployed(stack: Chain, policy: Policy) -> None:
    """Deploy a policy: the first work of each process publishes it."""
    stack.policy = replace(policy, raw=" ".join(policy.environments).encode())
    stack.services().policy_in_force.ensure()


def two(prod: str, **last: Any) -> Policy:
    return chain({"dev": DEV, prod: PROD}, **last)


def released(*tags: str) -> tuple[Chain, list[Digest]]:
    """Images that were promoted to `prod` and released, an hour apart."""
    stack = Chain(policy=two("prod"))
    deployed(stack, stack.policy)
    digests = []
    for tag in tags:
        digests.append(stack.pushed(image(tag), tag))
        stack.clock.advance(hours=1)
    assert stack.runs("prod") == digests[-1]
    return stack, digests


def test_its_images_stay_promoted_and_its_release_stays() -> None:
    stack, digests = released("v1.0.0", "v1.1.0")
    deployed(stack, two("production"))
    announced, promoted = len(stack.announcements.emitted), len(stack.facts(Kind.PROMOTED))
    for digest in digests:  # as after a new scan
        stack.evaluator.digest(digest)
        stack.run()
        assert stack.decision(digest, "production").verdict == PROMOTED
    assert stack.runs("production") == digests[-1]
    assert stack.runs("prod") is None
    assert len(stack.announcements.emitted) == announced
    assert len(stack.facts(Kind.PROMOTED)) == promoted
    newer = stack.pushed(image("c"), "v1.2.0")
    assert stack.runs("production") == newer


def test_a_freeze_holds_under_the_new_name() -> None:
    stack, _ = released("v1.0.0")
    command(stack, "freeze", Digest(""), environment="prod", because="incident 7")
    waiting = stack.pushed(image("b"), "v1.1.0")
    deployed(stack, two("production"))
    assert [entry.sk for entry in PENDING.list(stack.state, pending.partition("prod"))] == []
    stack.evaluator.digest(waiting)
    stack.run()
    assert stack.decision(waiting, "production").verdict == "waiting"
    assert stack.registries.tag_of(stack.places("production")[0], "v1.1.0") is None
    command(stack, "thaw", Digest(""), "r2", environment="production")
    move_environment(stack.state, "prod", "production", stack.clock())  # by a process that was suspended
    stack.evaluator.digest(waiting)
    stack.run()
    assert stack.runs("production") == waiting


def test_its_release_is_rolled_back_and_no_push_undoes_that() -> None:
    stack, (first, second) = released("v1.0.0", "v1.1.0")
    deployed(stack, two("production"))
    command(stack, "roll-back", first, repository=NAME, environment="production")
    stack.run()
    assert stack.runs("production") == first
    stack.clock.advance(hours=1)
    stack.pushed(image("v1.1.0"), "v1.1.0")
    assert second == image("v1.1.0").digest
    assert stack.runs("production") == first


def test_retention_knows_the_releases_under_the_name_before() -> None:
    stack, (first, second) = released("v1.0.0", "v1.1.0")
    deployed(stack, two("production"))
    deployed(stack, two("live"))
    stack.clock.advance(hours=1)
    third = stack.pushed(image("c"), "v1.2.0")
    ports = RetentionStack()
    ports.policy, ports.clock = stack.policy, stack.clock
    ports.state, ports.ledger = stack.state, stack.ledger
    reader, _ = ports.needs()
    inventory = Inventory(stack.places("live")[0], NAME, "live")
    found = reader.read(inventory, ReleaseLog(NAME, timedelta(days=1)), {}).releases
    (now,), (before,), (then,) = found[third], found[second], found[first]
    assert (now.until, before.until, then.until) == (None, now.since, before.since)


def test_the_proof_of_content_of_a_renamed_environment_within_a_chain_holds() -> None:
    stack = Chain(policy=chain({"dev": DEV, "staging": STAGING, "prod": PROD}, soak="24h"))
    deployed(stack, stack.policy)
    digest = stack.pushed(image("a"), "v1.0.0")
    deployed(stack, chain({"dev": DEV, "stage": STAGING, "prod": PROD}, soak="24h"))
    stack.registries.delete(stack.places("dev")[0], digest)
    stack.record().handle(json.dumps(delete_event(stack.places("dev")[0], digest, at=stack.clock())))
    stack.clock.advance(hours=25)
    stack.evaluator.digest(digest)
    stack.run()
    assert stack.runs("prod") == digest


def test_an_environment_with_other_registries_is_another_one() -> None:
    stack, (digest,) = released("v1.0.0")
    deployed(stack, chain({"dev": DEV, "production": STAGING}))
    stack.evaluator.digest(digest)
    assert stack.decision(digest, "production").verdict != PROMOTED
    assert stack.runs("production") is None
    assert stack.runs("prod") == digest


def test_what_an_earlier_release_wrote_about_the_policy_is_completed_without_a_fact() -> None:
    stack, (digest,) = released("v1.0.0")
    entry = POLICY.read(stack.state, KEY)
    stack.state.put(entry.write(replace(entry.value, places=None)))
    facts = len(stack.facts(Kind.POLICY))
    deployed(stack, two("prod"))
    deployed(stack, two("prod"))
    assert len(stack.facts(Kind.POLICY)) == facts
    deployed(stack, two("production"))
    assert stack.runs("production") == digest
