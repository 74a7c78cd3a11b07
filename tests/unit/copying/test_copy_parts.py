"""Large blobs in parts: what is kept, where a copy resumes, and what starts again."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from support.fakes.ports import Crash, CrashAfter, FakeClock, FakeRegistries, FakeState, listed
from support.images.builders import DEV, PROD, PROD_SA, Built, Layer, big_layer, image
from tallyman.domain.names import Digest, Location, Repository
from tallyman.errors import DigestMismatch, OutOfTime, TallymanError, Unreachable, UploadExpired
from tallyman.services.copying.parts import Parts
from tallyman.services.copying.stage import CopyOptions, Staged, read_graph, stage
from tallyman.state.items import StateChange

PART = 5_000
SIZE = 28_000


class FakeLayerUploads:
    """ECR's upload sessions over the fake registries."""

    def __init__(self, registries: FakeRegistries) -> None:
        self.registries = registries
        self.sessions: dict[str, bytearray] = {}
        self.sent: list[tuple[int, int]] = []
        self.lose: Callable[[int], bool] = lambda number: False  # the answer to the n-th part is lost
        self.begun = 0

    def begin(self, repository: Location, digest: Digest) -> str:
        self.begun += 1
        session = f"session-{self.begun}"
        self.sessions[session] = bytearray()
        return session

    def send_part(self, repository: Location, session: str, first: int, part: bytes) -> int:
        if session not in self.sessions:
            raise UploadExpired(f"{session} is not known")
        held = self.sessions[session]
        self.sent.append((first, len(part)))
        if first == len(held):
            held += part
        if self.lose(len(self.sent)):
            raise Unreachable("the answer was lost")
        return len(held)

    def complete(self, repository: Location, session: str, digest: Digest) -> None:
        if session not in self.sessions:
            raise UploadExpired(f"{session} is not known")
        raw = bytes(self.sessions.pop(session))
        if Digest.of(raw) != digest:
            raise DigestMismatch(f"it is {Digest.of(raw)}")
        self.registries.held(repository).blobs[digest] = raw


class Registries:
    def __init__(self) -> None:
        self.registries = FakeRegistries(FakeClock(), chunk=1000)
        for repository in (DEV, PROD, PROD_SA):
            self.registries.add(repository)
        self.state = FakeState()
        self.uploads = FakeLayerUploads(self.registries)
        self.layer: Layer = big_layer(SIZE)
        self.built: Built = image(self.layer)
        self.registries.push(DEV, self.built)
        self.read: list[int] = []
        opened = self.registries.open_blob

        def open_blob(repository: Location, digest: Digest, start: int = 0) -> Any:
            if digest == self.layer.digest:
                self.read.append(start)
            return opened(repository, digest, start)

        self.registries.open_blob = open_blob  # type: ignore[method-assign]

    @property
    def parts(self) -> Parts:
        return Parts(self.uploads, self.state, FakeClock(), large=20_000, part=PART)

    def copy(
        self,
        *targets: Repository,
        deadline: Callable[[], float] = lambda: float("inf"),
        crash: CrashAfter | None = None,
    ) -> dict[Repository, Staged | TallymanError]:
        crash = crash or CrashAfter(0)
        port = crash.wrap(self.registries)
        parts = Parts(crash.wrap(self.uploads), crash.wrap(self.state), FakeClock(), large=20_000, part=PART)
        members = read_graph(port, DEV, self.built.digest)
        return stage(port, DEV, port, targets or (PROD,), members, CopyOptions(deadline, parts=parts))

    def whole(self, *targets: Repository) -> bool:
        return all(self.registries.held(t).blobs == dict(self.built.blobs) for t in targets or (PROD,))

    def progress(self) -> list[Any]:
        return [*listed(self.state, f"U#{PROD}"), *listed(self.state, f"U#{PROD_SA}")]


@pytest.fixture
def system() -> Registries:
    return Registries()


def test_a_large_blob_goes_in_parts_and_leaves_no_progress_behind(system: Registries) -> None:
    assert isinstance(system.copy()[PROD], Staged)
    assert system.whole()
    size = len(system.layer.raw)
    assert [first for first, _ in system.uploads.sent] == list(range(0, size, PART))
    assert system.progress() == []


def test_a_small_blob_is_uploaded_in_one_request(system: Registries) -> None:
    system.copy()
    config = next(d for d in system.built.blobs if d != system.layer.digest)
    assert ("upload", PROD, config) in system.registries.requests
    assert ("upload", PROD, system.layer.digest) not in system.registries.requests


def test_an_ended_run_is_resumed_at_its_offset(system: Registries) -> None:
    left = [40.0]

    def deadline() -> float:
        left[0] -= 1
        return left[0]

    runs = 0
    while True:
        runs += 1
        left[0] = 30.0
        outcome = system.copy(deadline=deadline)[PROD]
        if isinstance(outcome, Staged):
            break
        assert isinstance(outcome, OutOfTime)
        assert runs < 20
    assert runs > 1
    assert system.whole()
    assert system.uploads.begun == 1
    read_twice = sum(n for _, n in system.uploads.sent) - len(system.layer.raw)
    assert read_twice == 0  # each part was accepted once
    assert system.read == sorted(system.read)


def test_a_part_with_a_lost_answer_is_not_sent_twice(system: Registries) -> None:
    system.uploads.lose = lambda number: number == 3
    outcome = system.copy()[PROD]  # it catches up alone
    assert isinstance(outcome, Staged), outcome
    assert system.whole()
    assert system.uploads.begun == 1
    assert system.read == [0, 2 * PART]


def test_bytes_that_the_registry_has_are_not_sent_again_for_any_part_size(system: Registries) -> None:
    raw = bytes(system.layer.raw)
    session = system.uploads.begin(PROD, system.layer.digest)
    system.uploads.sessions[session] += raw[:7_000]  # a part of another length, whose answer was not recorded
    kept = {"session": session, "offset": 5_000}
    system.state.put(StateChange(f"U#{PROD}", str(system.layer.digest), 0, kept, FakeClock()() + timedelta(days=1)))
    assert isinstance(system.copy()[PROD], Staged)
    assert system.whole()
    assert system.read == [5_000]
    assert [first for first, _ in system.uploads.sent] == [5_000, 7_000, 12_000, 17_000, 22_000, 27_000]


def test_an_expired_session_restarts(system: Registries) -> None:
    system.uploads.lose = lambda number: number >= 3
    assert isinstance(system.copy()[PROD], Unreachable)
    system.uploads.lose = lambda number: False
    system.uploads.sessions.clear()
    assert isinstance(system.copy()[PROD], Staged)  # refused once, then from byte 0
    assert system.whole()
    assert system.uploads.begun == 2
    assert system.read[-1] == 0


def test_a_blob_assembled_with_wrong_bytes_restarts_and_is_never_completed(system: Registries) -> None:
    system.uploads.lose = lambda number: number >= 3
    assert isinstance(system.copy()[PROD], Unreachable)
    system.uploads.lose = lambda number: False
    [held] = system.uploads.sessions.values()
    held[0] ^= 1
    assert isinstance(system.copy()[PROD], Staged)
    assert system.whole()


def test_a_damaged_source_is_completed_nowhere(system: Registries) -> None:
    damaged = system.layer.raw[:-1] + bytes([system.layer.raw[-1] ^ 1])
    system.registries.damage(DEV, system.layer.digest, damaged)
    assert isinstance(system.copy(PROD, PROD_SA)[PROD], DigestMismatch)
    assert system.layer.digest not in system.registries.held(PROD).blobs


def test_targets_at_different_offsets_share_one_read(system: Registries) -> None:
    system.uploads.lose = lambda number: number >= 4
    assert isinstance(system.copy(PROD)[PROD], Unreachable)
    system.uploads.lose = lambda number: False
    system.read.clear()
    outcome = system.copy(PROD, PROD_SA)
    assert all(isinstance(found, Staged) for found in outcome.values()), outcome
    assert system.read == [0]
    assert system.whole(PROD, PROD_SA)
    assert system.uploads.begun == 2


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_crash_at_any_call_costs_at_most_one_part(when: str) -> None:
    counted = CrashAfter(0)
    Registries().copy(crash=counted)
    for n in range(1, counted.count + 1):
        system = Registries()
        with suppress(Crash):
            system.copy(crash=CrashAfter(n, when))
        sent_before = len(system.uploads.sent)
        complete = system.layer.digest in system.registries.held(PROD).blobs
        outcome = system.copy()[PROD]
        assert isinstance(outcome, Staged), (n, outcome)
        assert system.whole()
        assert complete or system.progress() == []  # otherwise it stays until it expires
        assert len(system.layer.raw) not in system.read  # a range past the end is refused
        if system.uploads.begun == 1 and sent_before:
            sent = sum(size for _, size in system.uploads.sent)
            assert sent <= len(system.layer.raw) + PART, n


def test_only_repositories_with_resumable_uploads_get_parts(system: Registries) -> None:
    parts = Parts(system.uploads, system.state, FakeClock(), takes=lambda repository: repository == PROD_SA, large=1)
    members = read_graph(system.registries, DEV, system.built.digest)
    stage(
        system.registries,
        DEV,
        system.registries,
        [PROD, PROD_SA],
        members,
        CopyOptions(lambda: float("inf"), parts=parts),
    )
    assert system.whole(PROD, PROD_SA)
    assert ("upload", PROD, system.layer.digest) in system.registries.requests
    assert ("upload", PROD_SA, system.layer.digest) not in system.registries.requests


def test_the_registrys_offset_is_used(system: Registries) -> None:
    """More than we had recorded: the last answer was lost in another process."""

    def chunks(start: int) -> Iterable[bytes]:
        raw = system.layer.raw
        return (raw[at : at + 1000] for at in range(start, len(raw), 1000))

    system.uploads.lose = lambda number: number == 2
    with pytest.raises(Unreachable):
        system.parts.upload(PROD, system.layer.digest, SIZE, 0, chunks(0))
    system.uploads.lose = lambda number: False
    assert system.parts.offset(PROD, system.layer.digest) == PART
    system.parts.upload(PROD, system.layer.digest, SIZE, PART, chunks(PART))
    assert system.layer.digest in system.registries.held(PROD).blobs
