"""`replicate: native`: we copy to the first registry, ECR fills the others, and all laws still hold."""

import json
from datetime import timedelta

from support.fakes.promotion import PLACES, PromotionStack, native
from support.images.builders import DEV, image, multi_arch, replication_event, sbom
from tallyman.domain.decide import Decision, decide_all
from tallyman.domain.gates import WAITING
from tallyman.domain.history.facts import Kind
from tallyman.domain.images.manifest import Manifest
from tallyman.domain.names import Digest, Repository
from tallyman.services.deciding.image_facts import load_image_facts
from tallyman.services.promotion.replicas import LONGEST

FIRST, REPLICA = PLACES


def decision(stack: PromotionStack, digest: Digest) -> Decision:
    """The decision of `why` now."""
    facts = load_image_facts(stack.ledger, stack.state, digest, stack.policy)
    (found,) = decide_all(stack.policy, facts, stack.clock())
    return found


def reason(stack: PromotionStack, digest: Digest) -> str:
    """The reason of the gate `target`, which waits."""
    gate = next(g for g in decision(stack, digest).gates if g.name == "target")
    assert gate.verdict == WAITING
    return gate.reason


def put(stack: PromotionStack, place: Repository) -> list[str | None]:
    """The tags (or None) of our own pushes to the repository."""
    return [tag for repository, _, tag in stack.registries.pushes if repository == place]


def test_the_first_registry_is_copied_to_and_ecr_fills_the_other() -> None:
    stack, digest = native()
    stack.work()
    assert stack.released() == digest
    assert stack.tags("v1.0.0") == [digest, digest]
    assert not [r for r in stack.registries.requests if r[0] == "upload" and r[1] == REPLICA]
    assert set(put(stack, REPLICA)) <= {"v1.0.0"}  # only the tag, where it had not been replicated
    assert stack.notices.published == []


def test_an_index_with_its_referrer_is_replicated_completely() -> None:
    stack, _ = native()
    index = multi_arch("b")
    digest = stack.push(index, "v1.1.0")
    stack.registries.push(DEV, sbom(index))
    stack.work()
    assert stack.tags("v1.1.0") == [digest, digest]
    held = stack.registries.held(REPLICA).manifests
    assert {*index.manifests, sbom(index).digest} <= set(held)
    assert None not in put(stack, REPLICA)


def test_no_tag_is_set_before_the_content_has_arrived_and_an_arrival_wakes_the_promotion() -> None:
    stack, digest = native()
    stack.replication.slow = True
    stack.work(until=timedelta(minutes=1))
    assert digest in stack.registries.held(FIRST).manifests
    assert stack.tags("v1.0.0") == [None, None]
    assert stack.released() is None
    assert "ECR replicates it since" in reason(stack, digest)
    assert stack.notices.published == []  # nothing failed
    stack.hints.take("promote")  # the next try is a minute away
    stack.replication.deliver()
    stack.record().handle(json.dumps(replication_event(REPLICA, digest, "", at=stack.clock(), origin=FIRST.registry)))
    stack.work(until=timedelta(seconds=1))
    assert stack.tags("v1.0.0") == [digest, digest]
    assert stack.released() == digest


def test_without_events_it_is_checked_with_growing_pauses() -> None:
    stack, digest = native()
    stack.replication.slow = True
    stack.work(until=timedelta(minutes=20))
    assert len(stack.facts(Kind.DELAYED)) <= 10  # no busy waiting
    stack.replication.deliver()
    stack.work(until=timedelta(minutes=20))
    assert stack.released() == digest
    assert None not in put(stack, REPLICA)


def test_a_tag_that_replication_drops_is_set() -> None:
    stack, digest = native()
    stack.replication.drops.add(REPLICA.registry)
    stack.work()
    assert stack.tags("v1.0.0") == [digest, digest]
    assert put(stack, REPLICA) == ["v1.0.0"]
    assert stack.released() == digest


def test_a_failed_replication_is_replaced_by_a_copy_with_a_notice() -> None:
    stack, digest = native()
    stack.replication.fails[REPLICA.registry] = "AccessDenied"
    stack.work()
    assert stack.released() == digest
    assert stack.tags("v1.0.0") == [digest, digest]
    ((subject, text, attributes),) = stack.notices.published
    assert "did not replicate" in subject
    assert "AccessDenied" in text
    assert attributes["kind"] == "not_replicated"


def test_an_image_that_does_not_arrive_in_time_is_copied() -> None:
    stack, digest = native()
    stack.replication.slow = True
    stack.work(until=LONGEST + timedelta(minutes=20))
    assert stack.released() == digest
    ((_, text, _),) = stack.notices.published
    assert "did not come within 30m" in text


def test_an_image_older_than_the_rule_is_copied_after_the_same_time() -> None:
    stack, digest = native()
    stack.replication.configure(FIRST.registry)
    stack.registries.push(FIRST, image("a"))
    stack.replication.configure(FIRST.registry, REPLICA.registry)
    stack.work(until=timedelta(minutes=1))
    assert stack.released() is None
    stack.work(until=LONGEST + timedelta(minutes=20))
    assert stack.released() == digest


def test_without_a_rule_nothing_is_pushed_and_the_reason_says_so() -> None:
    stack, digest = native()
    stack.replication.configure(FIRST.registry, REPLICA.registry, prefix="others/")
    stack.work(until=timedelta(minutes=1))
    assert digest not in stack.registries.held(FIRST).manifests
    assert "no replication rule" in reason(stack, digest)
    assert "tallyman doctor" in reason(stack, digest)
    stack.replication.configure(FIRST.registry, REPLICA.registry)
    stack.work()
    assert stack.released() == digest


def test_missing_blobs_in_a_replica_prevent_all_tags() -> None:
    stack, digest = native()
    built = image("a")

    def lose(place: Repository, manifest: Manifest, tag: str | None) -> None:
        stack.registries.held(REPLICA).blobs.clear()

    stack.registries.watchers.append(lose)
    stack.work(until=timedelta(minutes=1))
    assert digest == built.digest
    assert stack.tags("v1.0.0") == [None, None]
    assert "although it was replicated and copied" in reason(stack, digest)


def test_a_replica_that_does_not_answer_delays_all_tags() -> None:
    stack, digest = native()
    stack.registries.fail(REPLICA.registry, methods={"manifests"})
    stack.work(until=timedelta(minutes=1))
    assert stack.tags("v1.0.0") == [None, None]
    stack.registries.heal()
    stack.work()
    assert stack.released() == digest
