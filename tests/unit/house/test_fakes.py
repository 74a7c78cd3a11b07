"""The helpers that other tests rely on: crashes and failures on demand, a clock to set."""

from typing import Any

import pytest

from support.fakes.ports import Crash, CrashAfter, FakeClock, FakeHints, FakeLedger, FakeRegistries, FakeState
from support.images.builders import DEV, PROD, image, multi_arch, pushed
from tallyman.domain.history.facts import Kind
from tallyman.errors import Throttled, Unreachable
from tallyman.state.items import StateChange


def work(crash: CrashAfter, ledger: FakeLedger, hints: FakeHints) -> None:
    crash.wrap(ledger).append(pushed(image().digest))
    crash.wrap(hints).send("verify", {})
    list(crash.wrap(ledger).of_repository(DEV))


def test_a_crash_is_possible_before_and_after_every_call() -> None:
    clean = CrashAfter()
    work(clean, FakeLedger(), FakeHints())
    assert clean.calls[:3] == ["append", "send", "of_repository"]
    done = []
    for when in ("before", "after"):
        for n in range(1, clean.count + 1):
            ledger, hints = FakeLedger(), FakeHints()
            with pytest.raises(Crash):
                work(CrashAfter(n, when), ledger, hints)
            done.append((len(ledger.facts), len(hints.sent)))
    assert done[:2] == [(0, 0), (1, 0)]
    assert done[clean.count : clean.count + 2] == [(1, 0), (1, 1)]


def test_no_error_handler_catches_a_crash() -> None:
    assert not issubclass(Crash, Exception)


def test_a_crash_can_interrupt_a_blob() -> None:
    registries = FakeRegistries(FakeClock(), chunk=1)
    registries.add(DEV)
    built = image()
    registries.push(DEV, built)
    crash = CrashAfter(3)
    got: list[bytes] = []
    with pytest.raises(Crash), crash.wrap(registries).open_blob(DEV, next(iter(built.blobs))) as stream:
        got.extend(stream)
    assert (len(got), stream.size) == (1, len(next(iter(built.blobs.values()))))


def test_a_registry_fails_as_configured_and_recovers() -> None:
    registries = FakeRegistries(FakeClock())
    for repository in (DEV, PROD):
        registries.add(repository)
    registries.fail(PROD.registry)
    with pytest.raises(Unreachable):
        registries.settings(PROD)
    assert registries.settings(DEV) is not None
    registries.heal(PROD.registry)
    registries.fail(PROD.registry, Throttled("slow"), methods={"describe"}, times=2)
    assert registries.settings(PROD) is not None
    for _ in range(2):
        with pytest.raises(Throttled):
            registries.describe(PROD, ["v1"])
    assert registries.describe(PROD, ["v1"]) == []
    assert [name for name, *_ in registries.requests].count("describe") == 3


def test_a_blob_breaks_after_so_many_bytes() -> None:
    registries = FakeRegistries(FakeClock(), chunk=10)
    registries.add(DEV)
    built = image()
    registries.push(DEV, built)
    registries.fail(DEV.registry, after_bytes=25)
    got: list[bytes] = []
    with pytest.raises(Unreachable), registries.open_blob(DEV, built.root.layers[0].digest) as stream:
        got.extend(stream)
    assert sum(map(len, got)) == 20


def test_removing_the_last_tag_removes_the_image() -> None:
    registries = FakeRegistries(FakeClock())
    registries.add(DEV)
    digest = registries.push(DEV, multi_arch(), "v1")
    registries.put_manifest(DEV, multi_arch().root, "v2")
    registries.untag(DEV, "v1")
    assert registries.tag_of(DEV, "v2") == digest
    registries.untag(DEV, "v2")
    assert registries.manifest(DEV, digest) is None


def test_fakes_refuse_values_that_json_cannot_hold() -> None:
    state = FakeState()
    mutable: dict[str, Any] = {"n": [1]}
    state.put(StateChange("p", "s", 0, mutable))
    mutable["n"].append(2)
    item = state.get("p", "s")
    assert item is not None
    assert item.data == {"n": [1]}


def test_the_ledger_shows_facts_in_the_order_of_writing() -> None:
    ledger, clock = FakeLedger(), FakeClock()
    late, early = pushed(image().digest, "b", at=clock.advance(hours=1)), pushed(image().digest, "a")
    ledger.append(late)
    ledger.append(early)
    assert ledger.facts == [late, early]
    assert {f.kind for f in ledger.facts} == {Kind.PUSHED}
