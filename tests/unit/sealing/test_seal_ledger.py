"""Entries are sealed in the order of their arrival, each once, despite crashes, concurrent runs and late entries."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from support.fakes.ports import Crash, CrashAfter, FakeArchive, FakeClock, FakeLedger, FakeNotices, FakeState
from support.images.builders import digest_of, fact, pushed
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.history.seals import LATE, Segment, entry_hash
from tallyman.domain.names import Digest
from tallyman.errors import BadInput, OutOfTime
from tallyman.services.sealing import seal_ledger
from tallyman.services.sealing.check_ledger import CheckLedger, Proof
from tallyman.services.sealing.seal_ledger import SealBroken, SealLedger
from tallyman.services.shared.pauses import Pauses
from tallyman.state.seals import KEY, SEALS


class SealingStack:
    """A ledger, its seal, and the services that write and verify it."""

    def __init__(self) -> None:
        self.clock, self.state, self.notices = FakeClock(), FakeState(), FakeNotices()
        self.ledger, self.seals = FakeLedger(self.state), FakeArchive().seals
        self.write(replace(fact(Kind.POLICY), environment="*", digest=None, repository=None, tag=None))

    def write(self, found: Fact, late: timedelta = timedelta(0)) -> Fact:
        """Write a fact that was observed so long ago."""
        found = replace(found, seen=self.clock() - late, id=f"{len(self.ledger.items):032x}")
        self.ledger.append(found)
        return found

    def push(self, name: str, late: timedelta = timedelta(0)) -> Fact:
        return self.write(pushed(digest_of(name), "v1.0.0"), late)

    def sealer(self, wrap: Callable[[Any], Any] = lambda port: port) -> SealLedger:
        ports = (wrap(self.ledger), wrap(self.seals), wrap(self.ledger), wrap(self.state))
        return SealLedger(*ports, self.notices, self.clock, Pauses(self.state, self.clock))

    def seal(self, left: float = 900.0) -> tuple[int, int]:
        return self.sealer().run(lambda: left)

    def check(self, head: Digest | None = None) -> Proof:
        return CheckLedger(self.ledger, self.seals, self.state, self.clock).run(head)

    def segments(self) -> list[Segment]:
        return [Segment.parse(self.seals.objects[number]) for number in sorted(self.seals.objects)]

    def sealed(self) -> list[str]:
        """The keys of all segments, in order."""
        return [each.sk for segment in self.segments() for each in segment.entries]

    def is_intact(self) -> bool:
        """Whether verification finds nothing, and nothing waits."""
        proof = self.check()
        assert [flaw.what for flaw in proof.flaws] == []
        return proof.waiting == 0 and proof.sealed == proof.entries == len(self.ledger.items)


def test_entries_are_sealed_by_arrival_and_each_segment_names_the_one_before() -> None:
    stack = SealingStack()
    first = stack.push("a")
    stack.clock.advance(minutes=15)
    assert stack.seal() == (2, 1)
    older = stack.write(replace(pushed(digest_of("b"), "v0.1.0"), at=first.at - timedelta(days=90)))  # a late event
    stack.clock.advance(minutes=15)
    assert stack.seal() == (1, 1)
    one, two = stack.segments()
    assert (one.number, one.previous, two.number, two.previous) == (1, None, 2, Digest.of(stack.seals.objects[1]))
    assert [each.sk for each in two.entries] == [older.sort]
    assert stack.is_intact()


def test_a_run_without_entries_writes_no_segment_and_advances() -> None:
    stack = SealingStack()
    stack.seal()
    for _ in range(3):
        stack.clock.advance(days=1)
        assert stack.seal() == (0, 0)
    head = SEALS.get(stack.state, KEY)
    assert head is not None
    assert (head.number, head.until) == (1, stack.clock())
    assert stack.is_intact()


@pytest.mark.parametrize("late", [timedelta(minutes=1), LATE - timedelta(seconds=1)])
def test_a_late_entry_is_in_the_next_segment(late: timedelta) -> None:
    stack = SealingStack()
    stack.push("a")
    stack.seal()
    stack.clock.advance(minutes=15)
    stack.push("b", late=timedelta(minutes=1))
    stack.seal()
    stack.push("c", late=late)  # its position is before what is sealed
    assert stack.check().flaws == []
    assert stack.check().waiting == 1
    assert stack.seal() == (1, 1)
    assert len(stack.sealed()) == len(set(stack.sealed())) == 4
    assert stack.is_intact()


def test_entries_older_than_possible_are_never_sealed() -> None:
    stack = SealingStack()
    stack.seal()
    stack.push("b", late=LATE + timedelta(seconds=1))
    assert stack.seal() == (0, 0)
    assert [flaw.kind for flaw in stack.check().flaws] == ["entry_inserted"]


def test_a_long_backlog_is_sealed_in_segments_of_a_bounded_size_and_over_several_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(seal_ledger, "ENTRIES", 10)
    stack = SealingStack()
    for number in range(64):
        stack.push(f"image {number}")
        stack.clock.advance(minutes=3)
    runs = [stack.seal(left=0.0) for _ in range(6)]
    assert runs == [(10, 1)] * 6
    assert stack.check().flaws == []
    assert stack.seal() == (5, 1)
    assert stack.sealed() == [str(item["sk"]) for item in stack.ledger.items.values()]
    assert stack.is_intact()


def test_many_entries_of_one_moment_are_sealed_over_several_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seal_ledger, "ENTRIES", 10)
    stack = SealingStack()
    for number in range(34):
        stack.push(f"image {number}")
    assert [stack.seal(left=0.0) for _ in range(4)] == [(10, 1), (10, 1), (10, 1), (5, 1)]
    assert stack.is_intact()


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_run_that_crashed_at_any_call_is_completed_by_the_next(when: str) -> None:
    counting = CrashAfter()
    calm = SealingStack()
    calm.push("a")
    calm.sealer(counting.wrap).run(lambda: 900.0)
    for n in range(1, counting.count + 1):
        stack = SealingStack()
        stack.push("a")
        with pytest.raises(Crash):
            stack.sealer(CrashAfter(n, when).wrap).run(lambda: 900.0)
        assert stack.check().flaws == []
        stack.clock.advance(minutes=15)
        stack.push("b")
        stack.seal()
        assert len(stack.sealed()) == len(set(stack.sealed())) == 3
        assert stack.is_intact()


class Meanwhile:
    """A port during whose n-th call another run does all of its work."""

    def __init__(self, n: int, other: Callable[[], object]) -> None:
        self.n, self.other, self.count = n, other, 0

    def wrap(self, port: Any) -> Any:
        return _Paused(port, self)


class _Paused:
    def __init__(self, port: Any, meanwhile: Meanwhile) -> None:
        self._port, self._meanwhile = port, meanwhile

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._port, name)

        def call(*args: Any) -> Any:
            self._meanwhile.count += 1
            if self._meanwhile.count == self._meanwhile.n:
                self._meanwhile.other()
            return value(*args)

        return call


@pytest.mark.parametrize("n", range(1, 9))
def test_two_concurrent_runs_seal_each_entry_once(n: int) -> None:
    stack = SealingStack()
    stack.push("a")
    stack.seal()
    stack.clock.advance(minutes=15)
    stack.push("b")

    def other() -> None:
        stack.seal()
        stack.push("c")
        stack.clock.advance(seconds=1)
        stack.seal()

    stack.sealer(Meanwhile(n, other).wrap).run(lambda: 900.0)
    stack.clock.advance(minutes=15)
    stack.seal()
    assert len(stack.sealed()) == len(set(stack.sealed())) == len(stack.ledger.items)
    assert stack.is_intact()


def test_a_lost_head_is_restored_from_the_segments() -> None:
    stack = SealingStack()
    for name in "abc":
        stack.push(name)
        stack.seal()
        stack.clock.advance(hours=2)
    del stack.state.items[KEY]
    assert [flaw.kind for flaw in stack.check().flaws] == ["chain_cut"]
    with pytest.raises(OutOfTime):  # one step a run, if there is no more time
        stack.seal(left=0.0)
    stack.push("d")
    assert stack.seal() == (1, 1)
    assert stack.is_intact()


@pytest.mark.parametrize("damage", ["removed", "altered", "no segment", "another number", "no chain"])
def test_a_changed_chain_is_reported_and_not_continued(damage: str) -> None:
    stack = SealingStack()
    stack.seal()
    last = stack.segments()[0]
    if damage == "removed":
        del stack.seals.objects[1]
    elif damage == "altered":
        stack.seals.objects[1] = replace(last, entries=()).dump()
    elif damage == "no segment":
        stack.seals.objects[2] = b"[" * 100_000
    elif damage == "another number":
        stack.seals.objects[2] = replace(last, number=7, previous=Digest.of(stack.seals.objects[1])).dump()
    else:
        stack.seals.objects[2] = replace(last, number=2).dump()
    before = dict(stack.seals.objects)
    for _ in range(2):
        with pytest.raises(SealBroken, match=r"segment [12]"):
            stack.seal()
    assert stack.seals.objects == before
    assert len(stack.notices.published) == 1
    stack.clock.advance(days=1)
    with pytest.raises(SealBroken):
        stack.seal()
    assert len(stack.notices.published) == 2


def test_a_head_from_the_future_does_not_stop_the_sealing() -> None:
    stack = SealingStack()
    stack.seal()
    entry = SEALS.read(stack.state, KEY)
    stack.state.put(entry.write(replace(entry.value, until=stack.clock() + timedelta(days=900))))
    stack.push("a")
    assert stack.seal() == (1, 1)


def test_a_ledger_without_any_entry_is_not_sealed() -> None:
    stack = SealingStack()
    stack.ledger.items.clear()
    assert stack.seal() == (0, 0)
    assert (stack.seals.objects, stack.state.items) == ({}, {})


def counted(entries: int) -> tuple[int, int]:
    """A run's calls, and the entries that it reads, in a ledger of this size."""
    stack = SealingStack()
    for number in range(entries):
        stack.push(f"image {number}")
        stack.clock.advance(minutes=1)
    for _ in range(2):
        stack.seal()
        stack.clock.advance(hours=3)
    stack.push("one more")
    counting = CrashAfter()
    stack.sealer(counting.wrap).run(lambda: 900.0)
    assert stack.is_intact()
    return len([call for call in counting.calls if not call.endswith(": next")]), counting.calls.count("arrived: next")


def test_the_cost_of_a_run_is_independent_of_the_ledgers_size() -> None:
    assert counted(10) == counted(3000) == (6, 2)  # head, next, last segment; entries, segment, head


def test_the_hash_covers_every_stored_attribute() -> None:
    item = {"pk": {"S": "a"}, "size": {"N": "1"}}
    known = entry_hash(item)
    assert known == "808732465b3c33650181bb82f3a3d790fa29c92352de50712e8e9b5de82c6b22"  # printf the JSON to sha256sum
    others: list[dict[str, Any]] = [
        {**item, "size": {"N": "2"}},
        {**item, "size": {"S": "1"}},
        {**item, "more": {"B": b"x"}},
        {**item, "more": {"M": {"a": {"BOOL": True}}}},
        {"pk": {"S": "a"}},
    ]
    assert len({known, *map(entry_hash, others)}) == 6
    assert entry_hash(dict(reversed(item.items()))) == known


def test_a_segment_is_read_as_it_was_written_and_other_bytes_are_refused() -> None:
    stack = SealingStack()
    stack.push("ä\n")
    stack.seal()
    (segment,) = stack.segments()
    assert Segment.parse(segment.dump()) == segment
    data = json.loads(segment.dump())
    wrongs: list[object] = [
        {**data, "version": 2},
        {**data, "previous": "sha256:1"},
        {**data, "until": 5},
        {**data, "entries": [["a", "b"]]},
        {key: data[key] for key in data if key != "since"},
        [],
    ]
    for wrong in wrongs:
        with pytest.raises(BadInput, match="segment"):
            Segment.parse(json.dumps(wrong).encode())
