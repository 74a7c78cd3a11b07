"""A promotion that dies at any call, or has company, ends as one that ran alone and to its end."""

import json
import threading
from datetime import timedelta

import pytest

from support.fakes.ports import Crash, CrashAfter
from support.fakes.promotion import PLACES, Harbour, one
from support.images.builders import DEV, image, multi_arch
from tallyman.domain.history.facts import Kind
from tallyman.domain.names import Digest
from tallyman.errors import LeaseHeld, RevisionConflict
from tallyman.services.shared.lease import LENGTH, Leases


def calm() -> tuple[object, ...]:
    harbour, _ = one()
    harbour.work()
    return harbour.end()


def calls() -> int:
    harbour, _ = one()
    ((_, body, _),) = harbour.hints.take("promote")
    crash = CrashAfter()
    harbour.handle(body, harbour.worker(crash))
    return crash.count


CALLS = calls()


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_worker_that_dies_at_any_call_leaves_what_the_next_one_finishes(when: str) -> None:
    wanted = calm()
    for n in range(1, CALLS + 1):
        harbour, digest = one()
        ((_, body, _),) = harbour.hints.take("promote")
        with pytest.raises(Crash):
            harbour.worker(CrashAfter(n, when)).handle(json.dumps(body), lambda: 900.0)
        released = harbour.released()
        if released:
            assert harbour.tags("v1.0.0") == [digest, digest], n
        harbour.hints.send("promote", body)  # the queue offers it again
        harbour.work()
        assert harbour.end() == wanted, (n, when)
        assert not harbour.refused


def test_a_promotion_whose_worker_was_killed_goes_on_within_seconds() -> None:
    harbour, _ = one()
    ((_, body, _),) = harbour.hints.take("promote")
    crash = CrashAfter()
    harbour.handle(body, harbour.worker(crash))
    middle = crash.calls.index("upload") + 1
    harbour, digest = one()
    ((_, body, _),) = harbour.hints.take("promote")
    with pytest.raises(Crash):
        harbour.worker(CrashAfter(middle)).handle(json.dumps(body), lambda: 900.0)
    began = harbour.clock()
    harbour.hints.send("promote", body)
    harbour.work()
    assert harbour.released() == digest
    assert harbour.clock() - began <= LENGTH + timedelta(seconds=1)


def test_a_doubled_hint_does_nothing_twice() -> None:
    harbour, _ = one()
    ((_, body, _),) = harbour.hints.take("promote")
    for _ in range(3):
        harbour.hints.send("promote", body)
    harbour.work()
    assert harbour.end() == calm()
    assert len(harbour.announcements.emitted) == 1
    assert len(harbour.registries.pushes) == len(set(harbour.registries.pushes))


def test_two_workers_at_once_end_as_one() -> None:
    harbour, _ = one()
    ((_, body, _),) = harbour.hints.take("promote")
    gate = threading.Barrier(2)
    failures: list[BaseException] = []

    def run() -> None:
        gate.wait()
        try:
            harbour.handle(body)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    harbour.work()
    assert harbour.end() == calm()
    staged = [p for p in harbour.registries.pushes if p[0] in PLACES]
    assert len(staged) == len(set(staged))


def test_a_worker_that_slept_through_its_lease_can_not_move_the_release() -> None:
    harbour, digest = one()
    ((_, body, _),) = harbour.hints.take("promote")
    newer = image("b")
    slow = harbour.worker()
    put = harbour.registries.put_manifest
    slept: list[str] = []

    def sleepy(repository: object, manifest: object, tag: str | None = None) -> None:
        if tag and not slept:
            slept.append(tag)
            harbour.clock.advance(seconds=LENGTH.total_seconds() + 1)
            harbour.registries.put_manifest = put  # type: ignore[method-assign]
            other = harbour.push(newer, "v1.1.0")
            harbour.work()  # somebody else promotes a newer one meanwhile
            assert harbour.released() == other
        put(repository, manifest, tag)  # type: ignore[arg-type]

    harbour.registries.put_manifest = sleepy  # type: ignore[method-assign]
    harbour.handle(body, slow)
    assert slept == ["v1.0.0"]
    assert harbour.released() == newer.digest
    assert not [f for f in harbour.facts(Kind.PROMOTED) if f.digest == digest]
    harbour.work()
    assert harbour.tags("v1.0.0") == [digest, digest]
    assert harbour.tags("v1.1.0") == [newer.digest, newer.digest]


def test_an_index_that_dies_halfway_is_finished_too() -> None:
    built = multi_arch("a")
    harbour = Harbour()
    harbour.push(built, "v1.0.0")
    bodies = [body for _, body, _ in harbour.hints.take("promote")]
    crash = CrashAfter()
    harbour.handle(bodies[-1], harbour.worker(crash))
    wanted = harbour.end()
    for n in range(1, crash.count, 7):
        harbour = Harbour()
        harbour.push(built, "v1.0.0")
        body = harbour.hints.take("promote")[-1][1]
        with pytest.raises(Crash):
            harbour.worker(CrashAfter(n)).handle(json.dumps(body), lambda: 900.0)
        for place in PLACES:
            if harbour.registries.tag_of(place, "v1.0.0"):
                assert all(set(built.manifests) <= set(harbour.registries.held(p).manifests) for p in PLACES)
        harbour.hints.send("promote", body)
        harbour.work()
        assert harbour.end() == wanted, n


# --- leases by themselves


def leases(harbour: Harbour) -> Leases:
    return Leases(harbour.state, harbour.clock, sleep=lambda seconds: None)


def test_a_lease_keeps_others_out_until_it_is_given_back() -> None:
    harbour = Harbour()
    with leases(harbour).hold("prod", "a", "one"), pytest.raises(LeaseHeld) as busy:  # noqa: SIM117
        with leases(harbour).hold("prod", "a", "two"):
            raise AssertionError("both hold it")
    assert busy.value.after == LENGTH.total_seconds()
    with leases(harbour).hold("prod", "a", "two") as lease:
        lease.check()


def test_the_fencing_token_only_grows_and_the_old_one_is_of_no_more_use() -> None:
    harbour = Harbour()
    with pytest.raises(Crash), leases(harbour).hold("prod", "a", "one") as lost:
        raise Crash("killed")
    first = harbour.state.get("L#prod", "a")
    assert first is not None
    harbour.clock.advance(seconds=LENGTH.total_seconds())
    with leases(harbour).hold("prod", "a", "two") as mine:
        second = harbour.state.get("L#prod", "a")
        assert second is not None
        assert second.revision > first.revision
        with pytest.raises(RevisionConflict):
            lost.renew()
        with pytest.raises(RevisionConflict):
            lost.check()
        mine.check()


def test_the_source_is_only_read() -> None:
    harbour, _ = one()
    before = len(harbour.registries.pushes)
    harbour.work()
    assert not [p for p in harbour.registries.pushes[before:] if p[0] == DEV]
    assert isinstance(harbour.released(), Digest)
