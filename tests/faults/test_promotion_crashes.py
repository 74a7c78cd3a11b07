"""A promotion that dies at any call, or runs beside others, ends as an undisturbed one."""

import json
import threading
from datetime import timedelta

import pytest

from support.fakes.ports import Crash, CrashAfter
from support.fakes.promotion import PLACES, PromotionStack, one
from support.images.builders import DEV, image, multi_arch
from tallyman.domain.history.facts import Kind
from tallyman.domain.names import Digest
from tallyman.errors import LeaseHeld, RevisionConflict
from tallyman.services.shared.lease import LENGTH, Leases


def calm() -> tuple[object, ...]:
    stack, _ = one()
    stack.work()
    return stack.end()


def calls() -> int:
    stack, _ = one()
    ((_, body, _),) = stack.hints.take("promote")
    crash = CrashAfter()
    stack.handle(body, stack.worker(crash))
    return crash.count


CALLS = calls()


@pytest.mark.parametrize("when", ["before", "after"])
def test_the_next_worker_completes_the_work_of_one_that_died_at_any_call(when: str) -> None:
    wanted = calm()
    for n in range(1, CALLS + 1):
        stack, digest = one()
        ((_, body, _),) = stack.hints.take("promote")
        with pytest.raises(Crash):
            stack.worker(CrashAfter(n, when)).handle(json.dumps(body), lambda: 900.0)
        released = stack.released()
        if released:
            assert stack.tags("v1.0.0") == [digest, digest], n
        stack.hints.send("promote", body)  # the queue delivers it again
        stack.work()
        assert stack.end() == wanted, (n, when)
        assert not stack.refused


def test_a_promotion_whose_worker_was_killed_resumes_within_seconds() -> None:
    stack, _ = one()
    ((_, body, _),) = stack.hints.take("promote")
    crash = CrashAfter()
    stack.handle(body, stack.worker(crash))
    middle = crash.calls.index("upload") + 1
    stack, digest = one()
    ((_, body, _),) = stack.hints.take("promote")
    with pytest.raises(Crash):
        stack.worker(CrashAfter(middle)).handle(json.dumps(body), lambda: 900.0)
    began = stack.clock()
    stack.hints.send("promote", body)
    stack.work()
    assert stack.released() == digest
    assert stack.clock() - began <= LENGTH + timedelta(seconds=1)


def test_a_doubled_hint_does_nothing_twice() -> None:
    stack, _ = one()
    ((_, body, _),) = stack.hints.take("promote")
    for _ in range(3):
        stack.hints.send("promote", body)
    stack.work()
    assert stack.end() == calm()
    assert len(stack.announcements.emitted) == 1
    assert len(stack.registries.pushes) == len(set(stack.registries.pushes))


def test_two_concurrent_workers_have_the_result_of_one() -> None:
    stack, _ = one()
    ((_, body, _),) = stack.hints.take("promote")
    gate = threading.Barrier(2)
    failures: list[BaseException] = []

    def run() -> None:
        gate.wait()
        try:
            stack.handle(body)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    stack.work()
    assert stack.end() == calm()
    staged = [p for p in stack.registries.pushes if p[0] in PLACES]
    assert len(staged) == len(set(staged))


def test_a_worker_with_an_expired_lease_cannot_move_the_release() -> None:
    stack, digest = one()
    ((_, body, _),) = stack.hints.take("promote")
    newer = image("b")
    slow = stack.worker()
    put = stack.registries.put_manifest
    slept: list[str] = []

    def sleepy(repository: object, manifest: object, tag: str | None = None) -> None:
        if tag and not slept:
            slept.append(tag)
            stack.clock.advance(seconds=LENGTH.total_seconds() + 1)
            stack.registries.put_manifest = put  # type: ignore[method-assign]
            other = stack.push(newer, "v1.1.0")
            stack.work()  # another worker promotes a newer one meanwhile
            assert stack.released() == other
        put(repository, manifest, tag)  # type: ignore[arg-type]

    stack.registries.put_manifest = sleepy  # type: ignore[method-assign]
    stack.handle(body, slow)
    assert slept == ["v1.0.0"]
    assert stack.released() == newer.digest
    assert not [f for f in stack.facts(Kind.PROMOTED) if f.digest == digest]
    stack.work()
    assert stack.tags("v1.0.0") == [digest, digest]
    assert stack.tags("v1.1.0") == [newer.digest, newer.digest]


def test_the_promotion_of_an_index_is_completed_too() -> None:
    built = multi_arch("a")
    stack = PromotionStack()
    stack.push(built, "v1.0.0")
    bodies = [body for _, body, _ in stack.hints.take("promote")]
    crash = CrashAfter()
    stack.handle(bodies[-1], stack.worker(crash))
    wanted = stack.end()
    for n in range(1, crash.count, 7):
        stack = PromotionStack()
        stack.push(built, "v1.0.0")
        body = stack.hints.take("promote")[-1][1]
        with pytest.raises(Crash):
            stack.worker(CrashAfter(n)).handle(json.dumps(body), lambda: 900.0)
        for place in PLACES:
            if stack.registries.tag_of(place, "v1.0.0"):
                assert all(set(built.manifests) <= set(stack.registries.held(p).manifests) for p in PLACES)
        stack.hints.send("promote", body)
        stack.work()
        assert stack.end() == wanted, n


# --- leases alone


def leases(stack: PromotionStack) -> Leases:
    return Leases(stack.state, stack.clock, sleep=lambda seconds: None)


def test_a_lease_excludes_others_until_it_is_released() -> None:
    stack = PromotionStack()
    with leases(stack).hold("prod", "a", "one"), pytest.raises(LeaseHeld) as busy:  # noqa: SIM117
        with leases(stack).hold("prod", "a", "two"):
            raise AssertionError("both hold it")
    assert busy.value.after == LENGTH.total_seconds()
    with leases(stack).hold("prod", "a", "two") as lease:
        lease.check()


def test_the_fencing_token_only_grows_and_invalidates_the_old_one() -> None:
    stack = PromotionStack()
    with pytest.raises(Crash), leases(stack).hold("prod", "a", "one") as lost:
        raise Crash("killed")
    first = stack.state.get("L#prod", "a")
    assert first is not None
    stack.clock.advance(seconds=LENGTH.total_seconds())
    with leases(stack).hold("prod", "a", "two") as mine:
        second = stack.state.get("L#prod", "a")
        assert second is not None
        assert second.revision > first.revision
        with pytest.raises(RevisionConflict):
            lost.renew()
        with pytest.raises(RevisionConflict):
            lost.check()
        mine.check()


def test_the_source_is_only_read() -> None:
    stack, _ = one()
    before = len(stack.registries.pushes)
    stack.work()
    assert not [p for p in stack.registries.pushes[before:] if p[0] == DEV]
    assert isinstance(stack.released(), Digest)
