"""A signature or statement that was removed no longer counts: by an event, by a sweep, until it is pushed again."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest

from support.fakes.promotion import PromotionStack
from support.fakes.recording import RecordingStack, policy
from support.images.builders import (
    DEV,
    NOON,
    PROD,
    Built,
    delete_event,
    fact,
    image,
    index,
    push_event,
    referrer_event,
    sbom,
    signature,
)
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.images.details import SigningStatus
from tallyman.domain.images.referrers import is_gone
from tallyman.domain.names import Digest, Location
from tallyman.errors import Unreachable
from tallyman.services.deciding.image_facts import load_image_facts

APP = image("app")
PROFILE = "arn:aws:signer:us-east-2:111111111111:/signing-profiles/release"


def verdicts(system: RecordingStack, digest: Digest = APP.digest) -> dict[str, tuple[str, str]]:
    """Each gate's verdict in the newest decision."""
    last = max((f for f in system.facts(Kind.DECIDED) if f.digest == digest), key=lambda f: f.at)
    return {g["name"]: (g["verdict"], g["reason"]) for g in last.detail["gates"]}


def pushed_with(gates: dict[str, Any], referrer: Built, subject: Built = APP) -> RecordingStack:
    """Push an image and its referrers to dev, with their events."""
    system = RecordingStack(policy=policy(**gates))
    system.registries.push(DEV, subject, "v1.0.0")
    for digest in subject.manifests:
        tag = "v1.0.0" if digest == subject.digest else ""
        system.deliver(push_event(DEV, digest, tag, at=system.clock()))
    system.clock.advance(minutes=1)
    system.registries.push(DEV, referrer)
    system.deliver(referrer_event(DEV, referrer.digest, at=system.clock()))
    system.clock.advance(minutes=1)
    return system


def remove(system: RecordingStack, referrer: Built) -> dict[str, Any]:
    """Remove it, and deliver the event."""
    system.registries.delete(DEV, referrer.digest)
    return delete_event(DEV, referrer.digest, at=system.clock())


@pytest.mark.parametrize(
    ("gates", "name", "referrer", "reason"),
    [
        ({"signed": True}, "signed", signature(APP), "its signature was removed"),
        ({"attested": "sbom"}, "attested", sbom(APP), "no sbom yet"),
    ],
)
def test_a_removal_event_closes_the_gate_at_once(
    gates: dict[str, Any], name: str, referrer: Built, reason: str
) -> None:
    system = pushed_with(gates, referrer)
    assert verdicts(system)[name][0] == "passed"
    system.deliver(remove(system, referrer))
    assert verdicts(system)[name] == ("waiting", reason)


def test_a_removal_without_an_event_is_found_by_the_sweep_and_closes_the_gate() -> None:
    referrer = signature(APP)
    system = pushed_with({"signed": True}, referrer)
    system.reconcile()
    assert verdicts(system)["signed"][0] == "passed"
    remove(system, referrer)
    system.clock.advance(hours=1)
    system.reconcile()
    assert verdicts(system)["signed"] == ("waiting", "its signature was removed")


def test_a_referrer_pushed_again_counts_however_late_the_removals_event_arrives() -> None:
    referrer = signature(APP)
    system = pushed_with({"signed": True}, referrer)
    removed = remove(system, referrer)
    system.clock.advance(minutes=1)
    system.registries.push(DEV, referrer)
    again = referrer_event(DEV, referrer.digest, at=system.clock())
    system.deliver(removed)
    assert verdicts(system)["signed"][0] == "passed"  # the registry still has it
    system.deliver(again)
    assert verdicts(system)["signed"][0] == "passed"
    system.deliver(removed, again)
    assert verdicts(system)["signed"][0] == "passed"


def test_a_removal_followed_by_another_push_opens_the_gate_again() -> None:
    referrer = signature(APP)
    system = pushed_with({"signed": True}, referrer)
    system.deliver(remove(system, referrer))
    system.clock.advance(minutes=1)
    system.registries.push(DEV, referrer)
    system.deliver(referrer_event(DEV, referrer.digest, at=system.clock()))
    assert verdicts(system)["signed"][0] == "passed"


def test_one_of_two_signatures_is_enough() -> None:
    first, second = signature(APP), signature(APP, "another")
    system = pushed_with({"signed": True}, first)
    system.registries.push(DEV, second)
    system.deliver(referrer_event(DEV, second.digest, at=system.clock()))
    system.deliver(remove(system, first))
    assert verdicts(system)["signed"] == ("passed", "1 signature (cosign)")
    system.deliver(remove(system, second))
    assert verdicts(system)["signed"][0] == "waiting"


def test_removing_one_platform_images_signature_closes_the_gate_of_the_index() -> None:
    images = [image("app", architecture=name) for name in ("amd64", "arm64")]
    both, signatures = index(*images), [signature(each) for each in images]
    system = pushed_with({"signed": True}, signatures[0], both)
    system.registries.push(DEV, signatures[1])
    system.deliver(referrer_event(DEV, signatures[1].digest, at=system.clock()))
    assert verdicts(system, both.digest)["signed"][0] == "passed"
    system.deliver(remove(system, signatures[1]))
    assert verdicts(system, both.digest)["signed"][0] == "waiting"


def test_without_such_a_gate_facts_of_referrers_are_not_read() -> None:
    referrer = signature(APP)
    system = pushed_with({"verified": True}, referrer)
    system.deliver(remove(system, referrer))
    assert load_image_facts(system.ledger, system.state, APP.digest, system.policy).gone == frozenset()


def pushed_at(seconds: float, seen: float, **more: Any) -> Fact:
    at: dict[str, Any] = {"at": NOON + timedelta(seconds=seconds), "seen": NOON + timedelta(seconds=seen)}
    return fact(Kind.PUSHED, APP.digest, DEV, **at, **{"index": False, **more})


def removed_at(seconds: float, seen: float, place: Any = DEV, **more: Any) -> Fact:
    at: dict[str, Any] = {"at": NOON + timedelta(seconds=seconds), "seen": NOON + timedelta(seconds=seen)}
    return fact(Kind.DELETED, APP.digest, place, **at, **{"gone": True, **more})


@pytest.mark.parametrize(
    ("facts", "gone"),
    [
        ([], False),
        ([pushed_at(0, 1)], False),
        ([pushed_at(0, 1), removed_at(5, 6)], True),
        ([pushed_at(0, 9), removed_at(5, 6)], True),  # the push's event arrives late
        ([pushed_at(0, 1), removed_at(5, 6, gone=False)], False),  # it was there again when this event arrived
        ([pushed_at(0, 1), removed_at(5, 6), pushed_at(9, 10)], False),
        ([pushed_at(0, 1), removed_at(5.3, 5.3), pushed_at(5, 6)], False),  # a sweep's time is exact, an event's is not
        ([pushed_at(0, 1), removed_at(5, 6), pushed_at(5, 5.5)], True),
        ([pushed_at(0, 1), removed_at(5, 6, PROD)], False),
        ([pushed_at(0, 1), removed_at(5, 6, gone=False, absent=True)], True),  # with its last tag
    ],
)
def test_the_latest_event_decides_whether_a_referrer_exists(facts: list[Fact], gone: bool) -> None:
    assert is_gone(facts, str(DEV)) is gone
    assert is_gone(reversed(facts), str(DEV)) is gone


# --- managed signing, read right before it is needed


def signed_by_ecr() -> tuple[PromotionStack, Digest]:
    """An image of dev whose managed signing completed; the hint to promote it waits."""
    stack = PromotionStack(policy=policy(verified=True, signed=True))
    stack.signing.silent = False
    stack.signing.statuses[DEV, APP.digest] = [SigningStatus(PROFILE, "complete")]
    stack.push(APP, "v1.0.0")
    worker = stack.worker().promotions
    assert worker.signing is not None
    worker.signing.refresh(APP.digest)
    stack.evaluator.digest(APP.digest)
    return stack, APP.digest


def test_the_status_of_managed_signing_at_promotion_counts() -> None:
    stack, digest = signed_by_ecr()
    stack.signing.statuses.clear()
    stack.work()
    assert stack.tags("v1.0.0") == [None, None]
    assert stack.pending()[0]["reason"] == "no signature yet"
    stack.clock.advance(seconds=1)
    stack.signing.statuses[DEV, digest] = [SigningStatus(PROFILE, "complete")]
    stack.worker().promotions.signing.refresh(digest)
    stack.evaluator.digest(digest)
    stack.work()
    assert stack.tags("v1.0.0") == [digest, digest]


def test_a_registry_that_no_longer_reports_a_status_closes_the_gate() -> None:
    stack, _ = signed_by_ecr()
    stack.signing.silent = True
    stack.work()
    assert stack.tags("v1.0.0") == [None, None]


def test_a_registry_that_does_not_answer_delays_the_promotion(monkeypatch: pytest.MonkeyPatch) -> None:
    stack, digest = signed_by_ecr()
    answering, asked = stack.signing.signing, []

    def silent_at_first(*where: Any) -> Any:
        asked.append(where)
        if len(asked) == 1:
            raise Unreachable("no answer")
        return answering(*where)

    monkeypatch.setattr(stack.signing, "signing", silent_at_first)
    stack.work()
    assert stack.facts(Kind.DELAYED)
    assert stack.tags("v1.0.0") == [digest, digest]


def test_a_signing_status_revoked_during_staging_prevents_the_tags() -> None:
    stack, _ = signed_by_ecr()
    staged: list[Digest] = []
    upload = stack.registries.upload

    def taken_back(repository: Location, digest: Digest, size: int | None, chunks: Iterable[bytes]) -> None:
        staged.append(digest)
        stack.signing.statuses.clear()
        upload(repository, digest, size, chunks)

    stack.registries.upload = taken_back  # type: ignore[method-assign]
    stack.work()
    assert staged
    assert stack.tags("v1.0.0") == [None, None]
