"""Images of every kind over HTTP, in any combination: the copy is identical byte by byte, and no other host is
contacted."""

import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from support.images.builders import Built, attestation, foreign_layer, image, index, layer, referrer, sbom, signature
from support.servers.oci import OciServer, Trouble, oci_server
from tallyman.adapters.http.client import HttpClient
from tallyman.adapters.oci.auth import OciAuth
from tallyman.adapters.oci.client import RegistryClient
from tallyman.adapters.oci.registry import OciRegistry
from tallyman.domain.locations import repository_at
from tallyman.services.copying.stage import CopyOptions, Staged, read_graph, stage

NAME = "team/app"
ZSTD = replace(layer("zstd"), media_type="application/vnd.oci.image.layer.v1.tar+zstd")


@pytest.fixture
def servers() -> Iterator[list[OciServer]]:
    """A source, two targets, and a server that only a manifest names."""
    with ExitStack() as stack:
        yield [stack.enter_context(oci_server()) for _ in range(4)]


def copied(servers: list[OciServer], built: Built) -> list[Staged]:
    wire = HttpClient()
    way = OciRegistry(RegistryClient(wire, OciAuth(wire, lambda place: None, power="pull,push"), attempts=1))
    origin, *places = (repository_at(server.host, NAME) for server in servers[:3])
    try:
        done = stage(way, origin, way, places, read_graph(way, origin, built.digest), CopyOptions(lambda: math.inf))
    finally:
        wire.close()
    found = [outcome for outcome in done.values() if isinstance(outcome, Staged)]
    assert len(found) == len(places), done
    return found


def test_all_kinds_of_images_are_copied_byte_by_byte_with_their_types(servers: list[OciServer]) -> None:
    source, *targets, stranger = servers
    url = f"http://{stranger.host}/v2/{NAME}/blobs/sha256:{'0' * 64}"
    absent, held = foreign_layer("absent", url), foreign_layer("held", url)
    old = image("docker", docker=True, architecture="386")
    windows = image(absent, held, "own", os="windows")
    nested = index(index(old, image(ZSTD, architecture="s390x")), docker=True)
    artifact = image("model", artifact_type="application/vnd.example.model", architecture="arm64")
    child = image("attested", architecture="ppc64le")
    built = index(nested, windows, artifact, child, attestation(child))
    about = [signature(built), sbom(child), signature(sbom(child))]
    for made in (built, *about):
        source.push(NAME, made)
    source.repo(NAME).blobs[str(held.digest)] = held.raw
    source.repo(NAME).blobs.pop(str(absent.digest), None)
    stranger.repo(NAME).blobs[str(absent.digest)] = absent.raw
    copied(servers, built)
    for target in targets:
        repo = target.repo(NAME)
        assert repo.manifests == source.repo(NAME).manifests
        assert repo.blobs == source.repo(NAME).blobs
        assert absent.digest not in repo.blobs
    assert stranger.requests == []


@pytest.mark.parametrize("status", [400, 403, 404, 405, 415])
def test_a_referrer_refused_by_one_target_is_reported_for_that_target_only(
    servers: list[OciServer], status: int
) -> None:
    source, first, second, _ = servers
    built = image("a")
    strange = referrer(built, "application/vnd.example.strange+json")
    for made in (built, strange, signature(built)):
        source.push(NAME, made)
    first.on("PUT", f"/manifests/{strange.digest}", Trouble(status=status), times=99)
    refused, whole = copied(servers, built)
    assert list(refused.refused_referrers) == [strange.digest]
    assert whole.refused_referrers == {}
    assert first.count("PUT", f"/manifests/{strange.digest}") == 1
    assert str(signature(built).digest) in first.repo(NAME).manifests
    assert second.repo(NAME).manifests == source.repo(NAME).manifests
