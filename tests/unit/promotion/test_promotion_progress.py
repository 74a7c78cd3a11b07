"""A promotion that can't proceed: nothing is tagged, the reason is kept, it is retried, and parked in the end."""

import json
from datetime import timedelta
from itertools import pairwise
from unittest import mock

import pytest

from support.fakes.policies import parsed
from support.fakes.ports import listed, stored
from support.fakes.promotion import PLACES, PromotionStack, one
from support.fakes.recording import policy
from support.images.builders import DEV, PROD, PROD_SA, image, multi_arch, signature, verified
from tallyman.domain.decide import Decision
from tallyman.domain.events.hints import Promote
from tallyman.domain.history.facts import Kind
from tallyman.domain.names import Location
from tallyman.domain.policy import Policy
from tallyman.errors import NotAllowed, Throttled
from tallyman.services.promotion.run import Promotions
from tallyman.state import pending as pending_items
from tallyman.state import releases as release_items

STEPS = ["settings", "describe", "missing_blobs", "upload", "put_manifest", "manifest"]


@pytest.mark.parametrize("place", PLACES, ids=["first", "second"])
@pytest.mark.parametrize("step", STEPS)
def test_a_region_that_fails_at_any_step_leaves_no_tag_anywhere(step: str, place: Location) -> None:
    stack, digest = one()
    stack.registries.fail(place.registry, methods={step})
    stack.work(until=timedelta(seconds=20))
    assert stack.tags("v1.0.0") == [None, None]
    assert stack.released() is None
    (pending,) = stack.pending()
    assert pending["verdict"] == "waiting"
    assert str(place.registry) in pending["reason"]
    stack.registries.heal()
    stack.work(until=timedelta(hours=1))
    assert stack.tags("v1.0.0") == [digest, digest]
    assert stack.released() == digest
    assert stack.pending() == []


def test_the_pauses_between_tries_grow() -> None:
    stack, _ = one()
    stack.registries.fail(PROD_SA.registry)
    stack.work(until=timedelta(hours=2))
    tries = [f.at for f in stack.facts(Kind.DELAYED)]
    pauses = [round((b - a).total_seconds()) for a, b in pairwise(tries)]
    assert pauses[:9] == [2, 4, 8, 16, 32, 64, 128, 256, 512]
    assert set(pauses[9:]) == {900}


def test_the_other_region_is_staged_all_the_same() -> None:
    stack, digest = one()
    stack.registries.fail(PROD_SA.registry)
    stack.work(until=timedelta(seconds=1))
    assert digest in stack.registries.held(PROD).manifests


def test_a_registry_that_did_not_answer_gets_no_content_in_that_try() -> None:
    stack, _ = one()
    stack.registries.fail(PROD_SA.registry)
    stack.work(until=timedelta(seconds=1))
    asked = [method for method, where, _ in stack.registries.requests if where == PROD_SA]
    assert asked == ["settings"]


@pytest.mark.parametrize(("limit", "tries"), [("10s", 4), ("0s", 1)])
def test_a_repeatedly_failing_promotion_is_parked_at_the_policys_limit_with_a_notice(limit: str, tries: int) -> None:
    stack = PromotionStack(policy=with_limit(limit))
    stack.push(image("a"), "v1.0.0")
    stack.registries.fail(PROD_SA.registry, Throttled("Rate exceeded"))
    stack.work(until=timedelta(days=3))
    (parked,) = stack.facts(Kind.PARKED)
    assert parked.detail["reason"].startswith(f"given up after {limit}")
    assert "Rate exceeded" in parked.detail["reason"]
    (pending,) = stack.pending()
    assert (pending["verdict"], pending["gate"]) == ("failed", "target")
    assert [s for s, _, _ in stack.notices.published if "refused" in s]
    assert stack.hints.sent == []
    assert len(stack.facts(Kind.DELAYED)) == tries - 1


def test_the_default_limit_is_24_hours() -> None:
    stack, _ = one()
    stack.registries.fail(PROD_SA.registry)
    began = stack.clock()
    stack.work(until=timedelta(days=3))
    (parked,) = stack.facts(Kind.PARKED)
    assert timedelta(hours=24) <= parked.at - began < timedelta(hours=24, minutes=16)


def test_a_permanently_failing_promotion_is_parked_at_once() -> None:
    stack, _ = one()
    stack.registries.fail(
        PROD.registry, NotAllowed("not authorized to perform: ecr:PutImage"), methods={"put_manifest"}
    )
    stack.work()
    assert [type(error) for error in stack.refused] == [NotAllowed]
    assert stack.facts(Kind.PARKED)
    assert stack.tags("v1.0.0") == [None, None]


def test_an_abandoned_promotion_restarts_when_the_image_is_pushed_again() -> None:
    stack, digest = one()
    stack.registries.untag(DEV, "v1.0.0")
    stack.work()
    assert stack.facts(Kind.PARKED)  # "is not there, and cannot be copied"
    stack.push(image("a"), "v1.1.0")
    stack.work()
    assert stack.tags("v1.1.0") == [digest] * 2


def test_a_failing_image_never_delays_another() -> None:
    stack, bad = one()
    good = multi_arch("b")
    stack.push(good, "v2.0.0")
    upload = stack.registries.upload

    def refuse(repository: Location, digest: object, size: object, chunks: object) -> None:
        if repository == PROD_SA and digest in image("a").blobs:
            raise Throttled("Rate exceeded")
        upload(repository, digest, size, chunks)  # type: ignore[arg-type]

    stack.registries.upload = refuse  # type: ignore[method-assign]
    stack.work(until=timedelta(seconds=1))
    assert stack.tags("v2.0.0") == [good.digest, good.digest]
    assert stack.tags("v1.0.0") == [None, None]
    assert [p["digest"] for p in stack.pending()] == [bad]


# --- after the first tag


def half_tagged() -> PromotionStack:
    """v1.0.0 is in the first region, the second accepts no tag."""
    stack, digest = one()
    put = stack.registries.put_manifest

    def no_tags(repository: Location, manifest: object, tag: str | None = None) -> None:
        if repository == PROD_SA and tag and not stack.__dict__.get("healed"):
            raise Throttled("Rate exceeded")
        put(repository, manifest, tag)  # type: ignore[arg-type]

    stack.registries.put_manifest = no_tags  # type: ignore[method-assign]
    stack.work(until=timedelta(seconds=10))
    assert stack.tags("v1.0.0") == [digest, None]
    assert stack.released() is None
    return stack


def test_after_the_first_tag_it_rolls_forward() -> None:
    stack = half_tagged()
    stack.__dict__["healed"] = True
    stack.work(until=timedelta(hours=1))
    assert None not in stack.tags("v1.0.0")
    assert stack.released()


def test_after_the_first_tag_a_waiting_gate_no_longer_blocks() -> None:
    stack = half_tagged()
    stack.policy = policy(verified=True, soak="48h")
    stack.__dict__["healed"] = True
    stack.work(until=timedelta(hours=1))
    assert None not in stack.tags("v1.0.0")


def test_after_the_first_tag_a_failed_gate_still_blocks() -> None:
    stack = half_tagged()
    (item,) = listed(stack.state, pending_items.partition("prod"))
    digest = item.data["digest"]
    stack.clock.advance(seconds=1)
    check = {"name": "content", "verdict": "failed", "reason": "a layer is damaged"}
    now = stack.clock()
    stack.ledger.append(verified(digest, at=now, seen=now, verdict="failed", checks=[check]))
    stack.__dict__["healed"] = True
    stack.work(until=timedelta(hours=1))
    assert stack.tags("v1.0.0") == [digest, None]


def test_the_release_moves_only_when_everything_is_there() -> None:
    stack = half_tagged()
    assert stack.announcements.emitted == []
    assert stored(stack.state, release_items.partition("prod"), PROD.name) is None


def with_limit(limit: str) -> Policy:
    """The policy with this `give_up`."""
    data = {
        "environments": {
            "dev": {"registries": ["111111111111/us-east-2"]},
            "prod": {"registries": ["222222222222/us-east-2", "222222222222/sa-east-1"]},
        },
        "repositories": [
            {
                "match": "rocketseat/*",
                "create": {"immutable": True, "mutable_tags": ["latest"]},
                "promotions": [
                    {"from": "dev", "to": "prod", "tags": ["semver"], "gates": {"verified": True}, "give_up": limit}
                ],
            }
        ],
    }
    return parsed(data)


def test_a_signature_that_a_target_refuses_is_reported_and_does_not_stop_the_image() -> None:
    stack, digest = one()
    signed = signature(image("a"))
    stack.registries.push(DEV, signed, None)
    stack.registries.unsupported.add(signed.root.artifact_type or "")
    stack.work()
    assert stack.tags("v1.0.0") == [digest, digest]
    (promoted,) = stack.facts(Kind.PROMOTED)
    assert {registry: list(reasons) for registry, reasons in promoted.detail["left_out"].items()} == {
        str(place.registry): [signed.digest] for place in PLACES
    }
    assert any("without some of its referrers" in notice[0] for notice in stack.notices.published)


def test_an_outcome_has_the_runs_uploaded_bytes_even_if_a_registry_failed() -> None:
    stack = PromotionStack()
    built = multi_arch("a")
    stack.push(built, "v1.0.0")
    (hint, *_) = stack.hints.to("promote")
    stack.registries.fail(PROD_SA.registry, methods={"upload"})

    def copied() -> int:
        return stack.worker().handle(json.dumps(hint), lambda: 900.0).copied

    size = sum(map(len, built.blobs.values()))
    assert copied() == size  # to the other registry
    stack.registries.heal()
    stack.clock.advance(seconds=3)  # the pause before the next try
    assert copied() == size
    assert stack.released() == built.digest
    assert copied() == 0
    assert stack.worker().handle(json.dumps({"create": str(PROD)}), lambda: 900.0).copied == 0


def test_an_image_promoted_by_another_worker_meanwhile_is_not_released_again() -> None:
    stack, digest = one()
    (hint, *_) = stack.hints.to("promote")
    late = stack.worker()
    original = Promotions.decide
    late_decisions: list[Decision] = []

    def decide(worker: Promotions, of: Promote) -> Decision | None:
        decision = original(worker, of)
        if decision and not late_decisions:  # it decided, then slept while another worker finished everything
            late_decisions.append(decision)
            with mock.patch.object(Promotions, "decide", original):
                stack.work()
            stack.clock.advance(seconds=1)  # a second release would have its own time
        return decision

    with mock.patch.object(Promotions, "decide", decide):
        late.handle(json.dumps(hint), lambda: 600.0)
    assert late_decisions[0].verdict == "waiting"
    assert stack.released() == digest
    assert len(stack.facts(Kind.PROMOTED)) == 1
    assert len(stack.announcements.emitted) == 1
