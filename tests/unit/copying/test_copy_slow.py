"""A slow or hanging target does not delay the others; and an interrupted copy ends at once."""

import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from support.fakes.ports import FakeClock, FakeRegistries
from support.images.builders import DEV, PROD, PROD_SA, Built, big_layer, image, index
from tallyman.domain.images.manifest import Manifest
from tallyman.domain.names import Digest, Location
from tallyman.errors import DigestMismatch
from tallyman.services.copying import images as copy_images
from tallyman.services.copying import tee
from tallyman.services.copying.images import CopyImages, Image
from tallyman.services.copying.progress import CopyProgress
from tallyman.services.copying.stage import CopyOptions, Staged, read_graph, stage

LONG = 30
"""Seconds until a test fails: only a deadlock waits this long."""


def forever() -> float:
    return float("inf")


class OneHangs(FakeRegistries):
    """PROD_SA hangs in a call until PROD has the image."""

    def __init__(self, method: str, built: Built) -> None:
        super().__init__(FakeClock(), chunk=1024)
        self.method, self.built = method, built
        self.done = threading.Event()
        for repository in (DEV, PROD, PROD_SA):
            self.add(repository)
        self.push(DEV, built)

    def hang(self, method: str, repository: Location) -> None:
        if (method, repository) == (self.method, PROD_SA):
            assert self.done.wait(LONG), "the other target was held up"

    def manifests(self, repository: Location, references: Sequence[str]) -> dict[str, Manifest]:
        self.hang("manifests", repository)
        return super().manifests(repository, references)

    def missing_blobs(self, repository: Location, digests: Iterable[Digest]) -> set[Digest]:
        self.hang("missing_blobs", repository)
        return super().missing_blobs(repository, digests)

    def upload(self, repository: Location, digest: Digest, size: int | None, chunks: Iterable[bytes]) -> None:
        self.hang("upload", repository)
        super().upload(repository, digest, size, chunks)
        self.hang("answer", repository)

    def put_manifest(self, repository: Location, manifest: Manifest, tag: str | None = None) -> None:
        super().put_manifest(repository, manifest, tag)
        if repository == PROD and manifest.digest == self.built.digest:
            self.done.set()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tee, "PATIENCE", 0.02)
    monkeypatch.setattr(copy_images, "SOON", 0.02)


def images(size: int) -> Built:
    return index(*[image(big_layer(size, seed), architecture=f"a{seed}") for seed in range(6)])


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("method", ["manifests", "missing_blobs", "upload", "answer"])
@pytest.mark.parametrize("size", [500, 30_000])
def test_a_hanging_target_does_not_delay_the_others_and_catches_up(method: str, size: int) -> None:
    """Also for blobs that are small enough to be buffered completely between reader and writer."""
    built = images(size)
    registries = OneHangs(method, built)
    members = read_graph(registries, DEV, built.digest)
    outcome = stage(registries, DEV, registries, [PROD, PROD_SA], members, CopyOptions(forever, parallel=2))
    assert all(isinstance(found, Staged) for found in outcome.values()), outcome
    for target in (PROD, PROD_SA):
        assert registries.held(target).blobs == built.blobs
    if method == "answer":  # what had arrived late is not sent again
        sent = [d for call, where, d in registries.requests if (call, where) == ("upload", PROD_SA)]
        assert len(sent) == len(set(sent))


@pytest.mark.usefixtures("impatient")
def test_a_target_that_hangs_during_the_read_does_not_delay_the_others() -> None:
    built = images(500)
    registries = OneHangs("manifests", built)
    service = CopyImages(registries, registries, forever, CopyProgress())
    reports = service.copy(DEV, {PROD: None, PROD_SA: None}, [Image(built.digest, "v1")])
    assert all(report.ok for report in reports.values()), reports
    assert registries.held(PROD_SA).blobs == built.blobs


def test_the_time_limit_is_per_blob_not_per_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A target that takes each chunk just before its timeout must not slow down the others."""
    raw = [bytes([n]) * 10 for n in range(60)]
    now, take, pipes = [0.0], threading.Semaphore(0), []

    class Timed(tee.Pipe):
        """Reading from the first target takes three seconds per chunk, while the other is idle."""

        def __init__(self) -> None:
            super().__init__()
            pipes.append(self)

        def put(self, chunk: bytes, timeout: float) -> bool:
            if self is pipes[0] and not super().put(chunk, 0):
                with pipes[1]._changed:
                    while not pipes[1].hungry:  # its size is not announced
                        pipes[1]._changed.wait(0.001)
                now[0] += 3.0
                take.release()
                return super().put(chunk, LONG)
            return self is pipes[0] or super().put(chunk, timeout)

    def crawl(chunks: Iterator[bytes]) -> None:
        for _ in chunks:
            assert take.acquire(timeout=LONG)

    monkeypatch.setattr(tee, "PATIENCE", 5.0)
    monkeypatch.setattr(tee, "Pipe", Timed)
    monkeypatch.setattr(tee, "time", SimpleNamespace(monotonic=lambda: now[0]))
    quick: list[bytes] = []
    with ThreadPoolExecutor(2) as pool:
        content = (chunk for chunk in raw)
        found = tee.tee(content, Digest.of(b"".join(raw)), 600, {1: crawl, 2: quick.extend}, pool, forever)
        take.release(len(raw))
    assert list(found.slow) == [1]
    assert quick == raw
    assert now[0] == 6.0


def test_the_reader_is_never_further_ahead_than_the_buffer() -> None:
    """This bounds the memory."""
    raw = [bytes([n]) * 10 for n in range(60)]
    taken = {1: 0, 2: 0}
    read = 0
    furthest = 0

    def content() -> Generator[bytes, None, None]:
        nonlocal read, furthest
        for chunk in raw:
            read += 1
            furthest = max(furthest, read - min(taken.values()))
            yield chunk

    def take(key: int) -> Callable[[Iterator[bytes]], None]:
        def writer(chunks: Iterator[bytes]) -> None:
            for _ in chunks:
                taken[key] += 1

        return writer

    with ThreadPoolExecutor(2) as pool:
        digest = Digest.of(b"".join(raw))
        found = tee.tee(content(), digest, 600, {key: take(key) for key in taken}, pool, forever)
    assert not found.failed
    assert not found.slow
    assert read == 60
    assert furthest <= tee.DEPTH + 3  # one is buffered, one is handed over, one is being read


@pytest.mark.parametrize("writers", [1, 2])
def test_an_endless_body_is_cut_at_the_blobs_size(writers: int) -> None:
    read = 0

    def endless() -> Generator[bytes, None, None]:
        nonlocal read
        while read < 10_000:  # otherwise this test would have none
            read += 10
            yield b"0123456789"

    completed: list[int] = []

    def write(chunks: Iterator[bytes]) -> None:
        completed.append(sum(map(len, chunks)))

    with ThreadPoolExecutor(2) as pool:
        found = tee.tee(
            endless(), Digest.of(b"0123456789" * 3), 30, dict.fromkeys(range(writers), write), pool, forever
        )
    assert [type(error) for error in found.failed.values()] == [DigestMismatch] * writers
    assert found.source_failed
    assert read == 40
    assert completed == []


def test_an_interrupted_copy_ends_at_the_next_chunk() -> None:
    result = threading.Event()
    began: list[Digest] = []

    class Interrupted(FakeRegistries):
        def upload(self, repository: Location, digest: Digest, size: int | None, chunks: Iterable[bytes]) -> None:
            began.append(digest)
            if len(began) == 3:
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
                assert result.wait(LONG)
            super().upload(repository, digest, size, chunks)

    def handler(number: int, frame: object) -> None:
        result.set()
        raise KeyboardInterrupt

    registries = Interrupted(FakeClock(), chunk=10)
    for repository in (DEV, PROD):
        registries.add(repository)
    built = images(100_000)
    registries.push(DEV, built)
    members = read_graph(registries, DEV, built.digest)
    before = signal.signal(signal.SIGINT, handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            stage(registries, DEV, registries, [PROD], members, CopyOptions(forever, parallel=1))
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(registries.held(PROD).blobs) == 2
    assert registries.held(PROD).manifests == {}
