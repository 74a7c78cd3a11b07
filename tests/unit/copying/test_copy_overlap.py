"""Work that a copy overlaps, so that no part waits while it could proceed.

Each test makes one side of an overlap wait for the other: without the overlap they would block each other.
"""

import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from support.fakes.ports import FakeClock, FakeRegistries
from support.images.builders import DEV, PROD, PROD_SA, Built, big_layer, image, index, layer, referrer, signature
from tallyman.domain.images.manifest import Descriptor, Manifest
from tallyman.domain.names import Digest, Location, Repository
from tallyman.ports.copying import BlobStream
from tallyman.services.copying.blobs import ahead
from tallyman.services.copying.images import CopyImages, Image
from tallyman.services.copying.manifest_order import Order
from tallyman.services.copying.stage import FAR, CopyOptions, CopyProgress, Staged, read_graph, stage

LONG = 30
"""Seconds until a test fails: only a deadlock waits this long."""


def forever() -> float:
    return float("inf")


class SynchronizedRegistries(FakeRegistries):
    """Calls signal bells, or wait for them: `on[method, repository, argument]` runs before that call."""

    def __init__(self) -> None:
        super().__init__(FakeClock(), chunk=1024)
        self.on: dict[tuple[str, Location, str], Callable[[], object]] = {}
        for repository in (DEV, PROD, PROD_SA):
            self.add(repository)

    def meet(self, method: str, repository: Location, arguments: Iterable[str]) -> None:
        for argument in arguments:
            self.on.get((method, repository, argument), bool)()

    def manifests(self, repository: Location, references: Sequence[str]) -> dict[str, Manifest]:
        self.meet("manifests", repository, references)
        return super().manifests(repository, references)

    def referrers(self, repository: Location, subject: Digest) -> list[Descriptor]:
        self.meet("referrers", repository, [subject])
        return super().referrers(repository, subject)

    def mount(self, repository: Location, digest: Digest, source: str) -> bool:
        self.meet("mount", repository, [digest])
        return super().mount(repository, digest, source)

    def upload(self, repository: Location, digest: Digest, size: int | None, chunks: Iterable[bytes]) -> None:
        self.meet("upload", repository, [digest])
        super().upload(repository, digest, size, chunks)

    def put_manifest(self, repository: Location, manifest: Manifest, tag: str | None = None) -> None:
        super().put_manifest(repository, manifest, tag)
        self.meet("put_manifest", repository, [manifest.digest])

    @contextmanager
    def open_blob(self, repository: Location, digest: Digest, start: int = 0) -> Iterator[BlobStream]:
        self.meet("open_blob", repository, [digest])
        with super().open_blob(repository, digest, start) as stream:
            yield stream


class Bell(threading.Event):
    """Rung by one side, awaited by the other."""

    def awaited(self) -> None:
        assert self.wait(LONG), "what was to be done meanwhile was not begun"


@pytest.fixture
def registries() -> SynchronizedRegistries:
    return SynchronizedRegistries()


def staged(registries: SynchronizedRegistries, built: Built, **more: Any) -> Staged:
    members = read_graph(registries, DEV, built.digest)
    found = stage(registries, DEV, registries, [PROD], members, CopyOptions(forever, **more))[PROD]
    assert isinstance(found, Staged), found
    return found


def test_a_manifest_is_put_while_blobs_of_others_are_in_transit(registries: SynchronizedRegistries) -> None:
    slow, quick = big_layer(9_000, 1), layer("quick")
    first, second = image(quick), image(slow, architecture="arm64")
    registries.push(DEV, index(first, second))
    put = Bell()
    registries.on["put_manifest", PROD, first.digest] = put.set
    registries.on["upload", PROD, slow.digest] = put.awaited
    assert set(staged(registries, index(first, second), parallel=4).pushed) >= {first.digest, second.digest}


def test_a_signature_is_put_as_soon_as_its_image_exists(registries: SynchronizedRegistries) -> None:
    """While a blob of another referrer is still in transit."""
    built = image("a")
    signed, listed = signature(built), referrer(built, "application/spdx+json", "s" * 9_000)
    [slow] = listed.root.layers
    for each in (built, signed, listed):
        registries.push(DEV, each)
    put = Bell()
    registries.on["put_manifest", PROD, signed.digest] = put.set
    registries.on["upload", PROD, slow.digest] = put.awaited
    assert set(staged(registries, built, parallel=4).pushed) == {built.digest, signed.digest, listed.digest}


def test_referrers_are_read_while_manifests_are_read(registries: SynchronizedRegistries) -> None:
    built = index(image("a"), image("b", architecture="arm64"))
    registries.push(DEV, built)
    registries.push(DEV, signature(built))
    asked = Bell()
    registries.on["referrers", DEV, built.digest] = asked.set
    registries.on["manifests", DEV, built.digest] = asked.awaited
    assert signature(built).digest in read_graph(registries, DEV, built.digest).digests


@pytest.mark.parametrize("targets", [{PROD: None}, {PROD: None, PROD_SA: None}], ids=["one", "two"])
def test_targets_are_checked_while_the_source_is_read(
    registries: SynchronizedRegistries, targets: Mapping[Location, str | None]
) -> None:
    child = image("a")
    built = index(child)
    registries.push(DEV, built, "v1")
    for target in targets:
        asked = Bell()
        name = "v1" if len(targets) == 1 else built.digest  # with several, tags wait for all content
        registries.on["manifests", target, name] = asked.set
        registries.on["manifests", DEV, child.digest] = asked.awaited
    service = CopyImages(registries, registries, forever, CopyProgress())
    found = service.copy(DEV, targets, [Image(built.digest, "v1", registries.held(DEV).manifests[built.digest])])
    assert all(report.ok and report.tagged == {"v1": built.digest} for report in found.values()), found


def test_no_target_waits_for_the_manifests_and_tags_of_another(registries: SynchronizedRegistries) -> None:
    built = index(image("a"), image("b", architecture="arm64"))
    registries.push(DEV, built, "v1")
    for digest in built.manifests:
        together = threading.Barrier(2)
        for target in (PROD, PROD_SA):
            registries.on["put_manifest", target, digest] = partial(together.wait, LONG)
    service = CopyImages(registries, registries, forever, CopyProgress())
    found = service.copy(DEV, {PROD: None, PROD_SA: None}, [Image(built.digest, "v1", built.root)])
    assert all(report.ok and report.tagged == {"v1": built.digest} for report in found.values()), found


def test_blobs_are_mounted_at_once_after_the_first(registries: SynchronizedRegistries) -> None:
    other, built = Repository(DEV.registry, "rocketseat/other"), image("a", "b", "c", "d")
    registries.add(other)
    registries.push(DEV, built)
    first, *others = sorted(built.blobs)
    together = threading.Barrier(len(others))
    for digest in others:
        registries.on["mount", other, digest] = partial(together.wait, LONG)
    members = read_graph(registries, DEV, built.digest)
    found = stage(registries, DEV, registries, [other], members, CopyOptions(forever))[other]
    assert isinstance(found, Staged), found
    assert sorted(found.mounted) == [first, *others]


def test_prefetched_answers_are_not_requested_again(registries: SynchronizedRegistries) -> None:
    built = image("a")
    registries.push(DEV, built, "v1")
    registries.push(PROD, built, "v1")
    service = CopyImages(registries, registries, forever, CopyProgress())
    service.copy(DEV, {PROD: None}, [Image(built.digest, "v1", built.root)])
    assert [method for method, where, _ in registries.requests if where == PROD] == ["manifests"]


def test_a_distant_sources_blob_is_opened_while_its_upload_begins(registries: SynchronizedRegistries) -> None:
    big = big_layer(9_000)
    built = image(big)
    registries.push(DEV, built)
    opened = Bell()
    registries.on["open_blob", DEV, big.digest] = opened.set
    registries.on["upload", PROD, big.digest] = opened.awaited  # before it takes the first chunk
    assert big.digest in staged(registries, built, seconds=FAR * 2).uploaded


def test_a_nearby_sources_blob_is_opened_by_its_sender(registries: SynchronizedRegistries) -> None:
    """An extra thread per blob costs more than the latency of a nearby registry."""
    big = big_layer(9_000)
    built = image(big)
    registries.push(DEV, built)
    seen: list[str] = []
    registries.on["open_blob", DEV, big.digest] = lambda: seen.append("opened")
    registries.on["upload", PROD, big.digest] = lambda: seen.append("upload began")
    staged(registries, built)
    assert seen == ["upload began", "opened"]


def test_a_prefetched_blob_is_closed_with_its_reader() -> None:
    """Otherwise the connection that it holds stays open until Python collects it."""
    closed = threading.Event()

    def content() -> Generator[bytes, None, None]:
        try:
            yield b"first"
            yield b"second"
        finally:
            closed.set()

    with ThreadPoolExecutor(1) as pool:
        for taken in (0, 1):
            closed.clear()
            held = content()  # by another owner too: our own release is not enough
            begun = ahead(held, pool)
            assert [next(begun) for _ in range(taken)] == [b"first"][:taken]
            begun.close()
            assert closed.is_set()
        assert list(ahead(content(), pool)) == [b"first", b"second"]


def test_an_empty_prefetch_is_harmless() -> None:
    def nothing() -> Generator[bytes, None, None]:
        yield from ()

    with ThreadPoolExecutor(1) as pool:
        assert list(ahead(nothing(), pool)) == []


def test_each_manifest_waits_for_its_blobs_and_children() -> None:
    first, second = image("a"), image("b", architecture="arm64")
    root = index(first, second)
    signed = signature(root)
    manifests = [first.root, second.root, root.root, signed.root]
    [a], [b] = ([d.digest for d in each.root.layers] for each in (first, second))
    blobs = {first.digest: {a}, second.digest: {b}, root.digest: set(), signed.digest: set()}
    order = Order(manifests, blobs)
    assert order.arrived("blob", a) == [first.root]
    assert order.arrived("blob", a) == []  # once
    assert order.arrived("manifest", first.digest) == []
    assert order.arrived("blob", b) == [second.root]
    assert order.arrived("manifest", second.digest) == [root.root]
    assert order.arrived("manifest", root.digest) == [signed.root]
    assert [{m.digest for m in level} for level in Order(manifests, blobs).levels(set())] == [
        {first.digest, second.digest},
        {root.digest},
        {signed.digest},
    ]
    assert [{m.digest for m in level} for level in order.levels({first.digest, root.digest})] == [
        {second.digest, signed.digest}
    ]
