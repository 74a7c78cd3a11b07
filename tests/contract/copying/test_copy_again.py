"""A copy that dies at any of its requests and runs again has the same result, doubles nothing and re-reads nothing that
is already there; each of several targets is independent."""

import json
import math
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import pytest

from support.fakes.ports import CRASH_STEPS, Crash
from support.images.builders import Built, image, index, sbom, signature
from support.servers.oci import OciServer, Trouble, oci_server
from tallyman.adapters.http.client import Body, HttpClient, Response
from tallyman.adapters.oci.auth import OciAuth
from tallyman.adapters.oci.client import RegistryClient
from tallyman.adapters.oci.registry import AT_ONCE, OciRegistry
from tallyman.domain.locations import repository_at
from tallyman.domain.names import Digest, Location
from tallyman.services.copying.images import CopyImages, Image, Report
from tallyman.services.copying.progress import CopyProgress

NAME = "team/app"
PART = image("a")
LISTED = sbom(PART, "listed")  # a referrer that is also a child of the index
BUILT = index(PART, LISTED)
ABOUT = (signature(BUILT), sbom(BUILT))


class DyingClient(HttpClient):
    """Kills the process before its n-th request is sent, or after it was served; 0: never."""

    def __init__(self, n: int = 0, when: str = "before") -> None:
        super().__init__()
        self.n, self.when, self.count = n, when, 0
        self._counting = threading.Lock()

    def open(  # noqa: PLR0913 - as the client it stands for
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        what: str,
        body: Body = None,
        read: float | None = None,
        stranger: str = "",
    ) -> Response:
        with self._counting:
            self.count += 1
            mine = self.count == self.n
        if mine and self.when == "before":
            raise Crash(what)
        answer = super().open(method, url, headers=headers, what=what, body=body)
        if mine:
            answer.close()
            raise Crash(what)
        return answer


class Registries:
    """A source, and two targets without the referrers API."""

    def __init__(self, stack: ExitStack) -> None:
        self.source, self.target, self.other = (stack.enter_context(oci_server()) for _ in range(3))
        self.source.push(NAME, BUILT, "v1")
        for made in ABOUT:
            self.source.push(NAME, made)
        self.targets = (self.target, self.other)
        for server in self.targets:
            server.referrers_api = False

    def run(self, wire: HttpClient) -> list[Report]:
        auth = OciAuth(wire, lambda place: None, power="pull,push")
        way = OciRegistry(RegistryClient(wire, auth, attempts=2, sleep=lambda seconds: None))
        places: dict[Location, str | None] = {repository_at(server.host, NAME): None for server in self.targets}
        service = CopyImages(way, way, lambda: math.inf, CopyProgress())
        try:
            return list(
                service.copy(repository_at(self.source.host, NAME), places, [Image(BUILT.digest, "v1")]).values()
            )
        finally:
            wire.close()

    def listed(self, server: OciServer, subject: Built = BUILT) -> list[str]:
        """The entries of the referrers list, in their order."""
        repo = server.repo(NAME)
        raw, _ = repo.manifests.get(repo.tags.get(f"sha256-{subject.digest.hex}", ""), (b'{"manifests": []}', ""))
        return sorted(entry["digest"] for entry in json.loads(raw)["manifests"])

    def is_complete(self, server: OciServer) -> bool:
        return server.repo(NAME).tags.get("v1") == BUILT.digest and self.holds(server)

    def holds(self, server: OciServer) -> bool:
        """Whether the target has everything, whatever its tag names."""
        repo = server.repo(NAME)
        everything = (BUILT, *ABOUT)
        return (
            repo.blobs == {str(d): raw for built in everything for d, raw in built.blobs.items()}
            and all(repo.manifests[str(d)][0] == m.raw for built in everything for d, m in built.manifests.items())
            and self.listed(server) == sorted(made.digest for made in ABOUT)
            and self.listed(server, PART) == [LISTED.digest]
        )


@pytest.fixture
def registries() -> Iterator[Registries]:
    with ExitStack() as stack:
        yield Registries(stack)


@CRASH_STEPS
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_copy_that_dies_at_any_request_is_completed_by_the_next_run(when: str, step: int) -> None:
    with ExitStack() as stack:
        counted = DyingClient()
        assert all(report.ok for report in Registries(stack).run(counted))
    deaths = 0
    for n in range(1, counted.count + 1, step):
        with ExitStack() as stack:
            registries = Registries(stack)
            try:
                registries.run(DyingClient(n, when))
            except Crash:
                deaths += 1
            if any(
                "v1" in server.repo(NAME).tags for server in registries.targets
            ):  # tags come last, across all targets
                assert all(registries.holds(server) for server in registries.targets), n
            lacking = {str(d) for built in (BUILT, *ABOUT) for d in built.blobs}
            lacking = {d for d in lacking if any(d not in server.repo(NAME).blobs for server in registries.targets)}
            registries.source.requests.clear()
            assert all(report.ok for report in registries.run(HttpClient())), n
            assert all(registries.is_complete(server) for server in registries.targets), n
            read = [path.rpartition("/")[2] for method, path in registries.source.requests if "/blobs/" in path]
            assert len(read) == len(set(read))
            assert set(read) <= lacking
            for server in registries.targets:
                server.requests.clear()
            assert all(report.ok for report in registries.run(HttpClient()))
            assert not [r for server in registries.targets for r in server.requests if r[0] in ("POST", "PUT", "PATCH")]
    assert deaths > counted.count / step * 0.9


def test_a_referrer_missing_from_the_fallback_list_is_added_by_the_next_copy(registries: Registries) -> None:
    for server in registries.targets:
        server.on("PUT", f"/manifests/sha256-{BUILT.digest.hex}", Trouble(status=503), times=9)
    assert not any(report.ok for report in registries.run(HttpClient()))
    for server in registries.targets:
        server.rules.clear()
        assert (
            str(ABOUT[0].digest) in server.repo(NAME).manifests or str(ABOUT[1].digest) in server.repo(NAME).manifests
        )
        assert registries.listed(server) == []
    assert all(report.ok for report in registries.run(HttpClient()))
    assert all(registries.is_complete(server) for server in registries.targets)


class _HoldingClient(HttpClient):
    """Holds the requests to one registry back until they are released."""

    def __init__(self, host: str) -> None:
        super().__init__()
        self.host, self.held, self.released = host, threading.Semaphore(0), threading.Event()

    def open(self, method: str, url: str, **more: Any) -> Response:
        if urlsplit(url).netloc == self.host:
            self.held.release()
            assert self.released.wait(30), "the other registry's answers wait for this one's"
        return super().open(method, url, **more)


def test_no_registry_waits_for_the_answers_of_another() -> None:
    with ExitStack() as stack:
        slow, quick = (stack.enter_context(oci_server()).host for _ in range(2))
        wire = _HoldingClient(slow)
        stack.callback(wire.close)
        registry = OciRegistry(RegistryClient(wire, OciAuth(wire, lambda _: None, power="pull,push")))
        digests = [Digest.of(b"%d" % number) for number in range(AT_ONCE)]
        pool = stack.enter_context(ThreadPoolExecutor(1))
        waiting = pool.submit(registry.missing_blobs, repository_at(slow, NAME), digests)
        for _ in digests:
            wire.held.acquire()
        assert registry.missing_blobs(repository_at(quick, NAME), digests) == set(digests)
        wire.released.set()
        assert waiting.result() == set(digests)
