"""ImageSource, RegistryView and ImageTarget: one suite for the fake and for the adapters on the local ECR."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from support.fakes.ports import FakeRegistries
from support.images.builders import (
    DEV,
    PROD,
    Built,
    big_layer,
    digest_of,
    image,
    index,
    multi_arch,
    sbom,
    signature,
)
from support.servers.ecr import Clock, Served, serve
from tallyman.adapters.ecr.auth import EcrAuth
from tallyman.adapters.ecr.source import EcrSource
from tallyman.adapters.ecr.target import EcrTarget
from tallyman.adapters.ecr.view import EcrView
from tallyman.adapters.http.client import HttpClient
from tallyman.adapters.oci.client import RegistryClient
from tallyman.domain.images.details import RepositorySettings
from tallyman.domain.images.manifest import DOCKER_LIST, Manifest
from tallyman.domain.names import Digest, EcrRegistry, Repository
from tallyman.errors import DigestMismatch, NotFound, TagTaken, TallymanError, TransientError, Unsupported
from tallyman.ports.registries import ImageSource, ImageTarget, RegistryView

OTHER = Repository(DEV.registry, "rocketseat/base")
NOWHERE = Repository(DEV.registry, "rocketseat/nowhere")


class ServedClients:
    """`Clients` of a local ECR without a hub: the account's own credentials everywhere."""

    def __init__(self, served: Served) -> None:
        self.served, self.made = served, dict[tuple[str, EcrRegistry], Any]()

    def get(self, service: str, registry: EcrRegistry | None = None, power: str = "read") -> Any:
        assert service == "ecr"
        where = registry or DEV.registry
        if (service, where) not in self.made:
            self.made[service, where] = self.served.client(where)
        return self.made[service, where]


@dataclass
class Ecr:
    source: ImageSource
    view: RegistryView
    target: ImageTarget

    def create(self, repository: Repository = DEV, **settings: Any) -> None:
        values: dict[str, Any] = {"immutable": True, "mutable_tags": ("latest",), "scan_on_push": False}
        self.target.create(RepositorySettings(repository, **(values | settings)))

    def push(self, built: Built, tag: str | None = None, repository: Repository = DEV) -> Digest:
        """Push as a promotion does."""
        for digest in self.target.missing_blobs(repository, built.blobs):
            raw = built.blobs[digest]
            self.target.upload(repository, digest, len(raw), [raw])
        for manifest in built.manifests.values():
            self.target.put_manifest(repository, manifest, tag if manifest is built.root else None)
        return built.digest


@pytest.fixture(params=["fake", "ecr"])
def ecr(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ecr]:
    if request.param == "fake":
        fake = FakeRegistries(Clock())
        made = Ecr(fake, fake, fake)
        made.create()
        yield made
        return
    with serve(tmp_path, (DEV.registry, PROD.registry)) as served:
        for place in (DEV, PROD):
            served.client(place.registry).put_account_setting(name="BLOB_MOUNTING", value="ENABLED")
        clients: Any = ServedClients(served)
        http = HttpClient()
        made = Ecr(
            EcrSource(clients, http),
            EcrView(clients),
            EcrTarget(clients, RegistryClient(http, EcrAuth(clients), attempts=3), put_rate=0),
        )
        made.create()
        yield made


def read(source: ImageSource, digest: Digest, start: int = 0, repository: Repository = DEV) -> bytes:
    with source.open_blob(repository, digest, start) as stream:
        return b"".join(stream)


def test_an_image_is_returned_byte_for_byte(ecr: Ecr) -> None:
    built = multi_arch(attested=True)
    ecr.push(built, "v1.0.0")
    for port in (ecr.source, ecr.target):
        assert port.manifest(DEV, "v1.0.0") == built.root
        for digest, manifest in built.manifests.items():
            assert port.manifest(DEV, digest) == manifest
    for digest, raw in built.blobs.items():
        assert read(ecr.source, digest) == raw


@pytest.mark.parametrize("docker", [False, True])
def test_a_manifest_keeps_its_media_type(ecr: Ecr, docker: bool) -> None:
    built = multi_arch(docker=docker)
    found = ecr.source.manifest(DEV, ecr.push(built))
    assert found is not None
    assert (found.media_type == DOCKER_LIST) is docker


def test_a_missing_manifest_is_none(ecr: Ecr) -> None:
    for port in (ecr.source, ecr.target):
        assert port.manifest(DEV, "v1") is None
        assert port.manifest(DEV, digest_of("nothing")) is None


def test_a_missing_repository_is_not_found(ecr: Ecr) -> None:
    calls: list[Any] = [
        lambda: ecr.source.manifest(NOWHERE, "v1"),
        lambda: ecr.source.describe(NOWHERE, ["v1"]),
        lambda: list(ecr.source.images(NOWHERE)),
        lambda: ecr.source.missing_blobs(NOWHERE, [digest_of("x")]),
        lambda: read(ecr.source, digest_of("x"), repository=NOWHERE),
        lambda: ecr.source.referrers(NOWHERE, digest_of("x")),
        lambda: ecr.view.scan(NOWHERE, digest_of("x")),
        lambda: ecr.view.start_scan(NOWHERE, digest_of("x")),
        lambda: ecr.target.upload(NOWHERE, digest_of("x"), 1, [b"x"]),
        lambda: ecr.target.put_manifest(NOWHERE, image().root, "v1"),
    ]
    for call in calls:
        with pytest.raises(NotFound, match="rocketseat/nowhere"):
            call()
    assert ecr.view.settings(NOWHERE) is None


def test_existing_images_of_a_list_are_described_and_missing_ones_left_out(ecr: Ecr) -> None:
    digests = [ecr.push(image(f"app {n}"), f"v{n}") for n in range(5)]
    asked = ["v0", digests[0], digest_of("gone"), "v9", digests[3], "v4"]
    found = ecr.source.describe(DEV, asked)
    assert {d.digest for d in found} == {digests[0], digests[3], digests[4]}
    assert len(found) == 3
    assert ecr.source.describe(DEV, []) == []
    assert ecr.source.describe(DEV, ["v9"]) == []


def test_more_than_a_hundred_are_described_in_one_call_of_the_port(ecr: Ecr) -> None:
    digests = {ecr.push(image(f"app {n}", "base")) for n in range(3)}
    asked = [*(digest_of(f"gone {n}") for n in range(150)), *digests]
    assert {d.digest for d in ecr.source.describe(DEV, asked)} == digests


def test_an_image_is_described_with_all_the_registrys_data(ecr: Ecr) -> None:
    built = image("app", big_layer(5000))
    ecr.push(built, "v1")
    ecr.target.put_manifest(DEV, built.root, "v2")
    (found,) = ecr.source.images(DEV)
    assert (found.repository, found.digest, set(found.tags)) == (DEV, built.digest, {"v1", "v2"})
    assert found.size == built.root.size
    assert found.media_type == built.media_type
    assert found.pushed_at.utcoffset() is not None
    assert (found.archived, found.subject) == (False, None)


def test_all_images_are_listed_including_children_and_referrers(ecr: Ecr) -> None:
    built = multi_arch(attested=True)
    ecr.push(built, "v1")
    signed = signature(built)
    ecr.push(signed)
    found = {d.digest: d for d in ecr.source.images(DEV)}
    assert set(found) == {*built.manifests, signed.digest}
    assert found[signed.digest].subject == built.digest


def test_missing_blobs_are_only_those_that_do_not_exist(ecr: Ecr) -> None:
    built = image("here")
    ecr.push(built)
    absent = {digest_of(f"absent {n}") for n in range(130)}
    for port in (ecr.source, ecr.target):
        assert port.missing_blobs(DEV, [*built.blobs, *absent]) == absent
        assert port.missing_blobs(DEV, []) == set()


def test_a_blob_is_read_in_chunks_of_a_mebibyte_at_most_and_from_any_byte(ecr: Ecr) -> None:
    layer = big_layer(3_500_000)
    ecr.push(image(layer))
    with ecr.source.open_blob(DEV, layer.digest) as stream:
        chunks = list(stream)
        assert stream.size == len(layer.raw)
    assert max(map(len, chunks)) <= 1024 * 1024
    assert b"".join(chunks) == layer.raw
    with ecr.source.open_blob(DEV, layer.digest, 2_000_000) as stream:
        assert b"".join(stream) == layer.raw[2_000_000:]
        assert stream.size == len(layer.raw)


def test_a_blob_can_be_read_partly_and_others_after_it(ecr: Ecr) -> None:
    layer = big_layer(3_000_000)
    built = image(layer)
    ecr.push(built)
    for _ in range(3):
        with ecr.source.open_blob(DEV, layer.digest) as stream:
            assert next(iter(stream))
    assert built.root.config is not None
    assert read(ecr.source, built.root.config.digest) == built.blobs[built.root.config.digest]


def test_a_missing_blob_is_not_found(ecr: Ecr) -> None:
    with pytest.raises(NotFound, match="rocketseat/widget-server"):
        read(ecr.source, digest_of("nothing"))


def test_only_referrers_of_the_subject_are_listed(ecr: Ecr) -> None:
    built, other = image("app"), image("other")
    for one in (built, other):
        ecr.push(one)
    expected = [signature(built), sbom(built)]
    for one in (*expected, signature(other)):
        ecr.push(one)
    found = ecr.source.referrers(DEV, built.digest)
    assert {d.digest for d in found} == {e.digest for e in expected}
    assert {d.artifact_type for d in found} == {e.root.artifact_type for e in expected}
    assert ecr.source.referrers(DEV, expected[0].digest) == []


def test_a_blob_with_another_digest_is_refused_and_not_kept(ecr: Ecr) -> None:
    with pytest.raises(DigestMismatch):
        ecr.target.upload(DEV, digest_of("right"), 5, [b"wrong"])
    assert ecr.target.missing_blobs(DEV, [digest_of("right")]) == {digest_of("right")}


@pytest.mark.parametrize("size", [4, 6])
def test_a_blob_of_another_size_than_declared_is_refused(ecr: Ecr, size: int) -> None:
    with pytest.raises(DigestMismatch):
        ecr.target.upload(DEV, digest_of("right"), size, [b"ri", b"ght"])
    assert ecr.target.missing_blobs(DEV, [digest_of("right")]) == {digest_of("right")}


def test_a_blob_of_unknown_size_is_accepted(ecr: Ecr) -> None:
    ecr.target.upload(DEV, digest_of("right"), None, iter([b"ri", b"", b"ght"]))
    assert read(ecr.source, digest_of("right")) == b"right"


@pytest.mark.parametrize("size", [0, None])
def test_an_empty_blob_is_refused(ecr: Ecr, size: int | None) -> None:
    with pytest.raises(Unsupported):
        ecr.target.upload(DEV, digest_of(""), size, [])


class Broken(TallymanError):
    """The error of an upload's source."""


@pytest.mark.parametrize("size", [None, 6_000_000])
def test_an_error_of_the_source_is_raised_and_nothing_is_kept(ecr: Ecr, size: int | None) -> None:
    raw = b"x" * 6_000_000

    def chunks() -> Iterable[bytes]:
        yield raw[:3_000_000]
        raise Broken("the source broke")

    with pytest.raises(Broken):
        ecr.target.upload(DEV, Digest.of(raw), size, chunks())
    assert ecr.target.missing_blobs(DEV, [Digest.of(raw)]) == {Digest.of(raw)}
    ecr.target.upload(DEV, Digest.of(raw), size, [raw])
    assert ecr.target.missing_blobs(DEV, [Digest.of(raw)]) == set()


def test_a_blob_is_mounted_from_another_repository_of_the_registry(ecr: Ecr) -> None:
    ecr.create(OTHER)
    ecr.push(image("base"), repository=OTHER)
    digest = next(iter(image("base").blobs))
    assert ecr.target.mount(DEV, digest, OTHER.name) is True
    assert ecr.target.missing_blobs(DEV, [digest]) == set()


def test_a_blob_that_cannot_be_mounted_is_uploaded(ecr: Ecr) -> None:
    assert ecr.target.mount(DEV, digest_of("right"), OTHER.name) is False
    ecr.target.upload(DEV, digest_of("right"), 5, [b"right"])
    assert read(ecr.source, digest_of("right")) == b"right"


def test_pushing_the_same_image_under_an_immutable_tag_again_succeeds(ecr: Ecr) -> None:
    built = image("app")
    for _ in range(2):
        ecr.push(built, "v1")
    assert ecr.source.manifest(DEV, "v1") == built.root


def test_another_image_under_an_immutable_tag_is_refused(ecr: Ecr) -> None:
    ecr.push(image("app"), "v1")
    with pytest.raises(TagTaken, match=r"'v1' already exists .* immutable"):
        ecr.push(image("other"), "v1")
    assert ecr.source.manifest(DEV, "v1") == image("app").root


def test_a_tag_excluded_from_immutability_moves(ecr: Ecr) -> None:
    for name in ("app", "other"):
        ecr.push(image(name), "latest")
    assert ecr.source.manifest(DEV, "latest") == image("other").root


def test_a_manifest_with_missing_blobs_is_a_transient_error(ecr: Ecr) -> None:
    built = index(image("app"))
    with pytest.raises(TransientError, match="rocketseat/widget-server"):
        ecr.target.put_manifest(DEV, built.root)
    with pytest.raises(TransientError):
        ecr.target.put_manifest(DEV, image("app").root, "v1")
    assert list(ecr.source.images(DEV)) == []


def test_a_repository_is_created_as_requested_and_once(ecr: Ecr) -> None:
    wanted = RepositorySettings(
        OTHER, immutable=True, mutable_tags=("latest", "nightly-*"), encryption="AES256", scan_on_push=True
    )
    ecr.target.create(wanted, pull=["333333333333"])
    ecr.target.create(replace(wanted, immutable=False))
    assert ecr.view.settings(OTHER) == wanted


@pytest.mark.parametrize("immutable", [False, True])
def test_a_repository_without_exclusions(ecr: Ecr, immutable: bool) -> None:
    ecr.create(OTHER, immutable=immutable, mutable_tags=())
    found = ecr.view.settings(OTHER)
    assert found is not None
    assert (found.immutable, found.mutable_tags) == (immutable, ())


def test_the_repositories_of_a_registry_are_listed_and_only_its_own(ecr: Ecr) -> None:
    ecr.create(OTHER)
    ecr.create(PROD)
    assert {s.repository for s in ecr.view.repositories(DEV.registry)} == {DEV, OTHER}
    assert [s.repository for s in ecr.view.repositories(PROD.registry)] == [PROD]


def test_a_scan_can_be_started_and_starting_it_again_is_no_error(ecr: Ecr) -> None:
    digest = ecr.push(image("app"))
    assert ecr.view.scan(DEV, digest).status == "none"
    for _ in range(2):
        ecr.view.start_scan(DEV, digest)
    assert ecr.view.scan(DEV, digest).status == "in_progress"


def test_an_index_cannot_be_scanned(ecr: Ecr) -> None:
    digest = ecr.push(multi_arch())
    with pytest.raises(Unsupported):
        ecr.view.start_scan(DEV, digest)


def test_the_scan_of_a_missing_image_is_not_found(ecr: Ecr) -> None:
    with pytest.raises(NotFound):
        ecr.view.scan(DEV, digest_of("nothing"))


def test_a_manifest_over_the_registrys_limit_is_refused(ecr: Ecr) -> None:
    built = image("app")
    ecr.push(built)
    big = Manifest(built.raw[:-1] + b' ,"annotations": {"x": "' + b"x" * 4_200_000 + b'"}}', built.media_type)
    with pytest.raises(TallymanError) as caught:
        ecr.target.put_manifest(DEV, big, "v1")
    assert not caught.value.retryable


def test_many_threads_can_read_and_write_concurrently(ecr: Ecr) -> None:
    layers = [big_layer(300_000, seed) for seed in range(16)]
    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(lambda x: ecr.target.upload(DEV, x.digest, len(x.raw), [x.raw]), layers):
            pass
        assert list(pool.map(lambda x: read(ecr.source, x.digest), layers)) == [x.raw for x in layers]
        for _ in pool.map(lambda n: ecr.push(image(*layers, f"app {n}"), f"v{n}"), range(8)):
            pass
    assert {tag for d in ecr.source.images(DEV) for tag in d.tags} == {f"v{n}" for n in range(8)}
