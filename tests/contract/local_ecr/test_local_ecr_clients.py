"""Third-party clients against the local registry: what they push can be pulled again, byte by byte."""

import base64
import gzip
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.images.builders import Built, layer, multi_arch
from support.servers.ecr import DEV, NAME, PROD, Served, serve

Docker = Callable[..., tuple[int, str]]
needs_skopeo = pytest.mark.skipif(not shutil.which("skopeo"), reason="skopeo is not on the PATH")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serve(tmp_path / "ecr") as running:
        yield running


def write_layout(folder: Path, built: Built, tag: str) -> None:
    """Write an OCI image layout."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    for digest, raw in [*built.blobs.items(), *((d, m.raw) for d, m in built.manifests.items())]:
        (blobs / digest.hex).write_bytes(raw)
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    entry = {**built.descriptor(), "annotations": {"org.opencontainers.image.ref.name": tag}}
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))


def skopeo(served: Served, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run skopeo with a token of the local cloud."""
    login = base64.b64decode(served.token().partition(" ")[2]).decode()
    options = []
    for side in ("src", "dest"):
        options += [f"--{side}-tls-verify=false", f"--{side}-creds={login}"]
    command = ["skopeo", arguments[0], *options, *arguments[1:]]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def address(served: Served, registry: object = DEV, tag: str = "v1") -> str:
    return f"docker://localhost:{served.ports[registry]}/{NAME}:{tag}"  # type: ignore[index]


@pytest.mark.skopeo
@needs_skopeo
@pytest.mark.parametrize("docker", [False, True], ids=["oci", "docker"])
def test_skopeo_copies_a_multi_arch_image_in_across_and_out(served: Served, tmp_path: Path, docker: bool) -> None:
    both = multi_arch(attested=not docker, docker=docker)
    served.create()
    served.create(PROD, imageTagMutability="IMMUTABLE")
    write_layout(tmp_path / "in", both, "v1")
    if docker:  # an OCI layout can't hold a Docker manifest list: push this one ourselves
        served.push(both, "v1")
    else:
        done = skopeo(served, "copy", "--all", f"oci:{tmp_path / 'in'}:v1", address(served))
        assert done.returncode == 0, done.stderr
    done = skopeo(served, "copy", "--all", address(served), address(served, PROD))
    assert done.returncode == 0, done.stderr
    for registry in (DEV, PROD):
        assert served.send("GET", f"/v2/{NAME}/manifests/v1", registry=registry).data == both.raw
        for digest, raw in both.blobs.items():
            path = served.ecr.store.blobs.path(registry, digest)
            assert path.read_bytes() == raw
    out = tmp_path / "out"
    done = skopeo(served, "copy", "--all", address(served, PROD), f"dir:{out}")
    assert done.returncode == 0, done.stderr
    assert (out / "manifest.json").read_bytes() == both.raw
    for digest, raw in both.blobs.items():
        assert (out / digest.hex).read_bytes() == raw


@pytest.mark.skopeo
@needs_skopeo
def test_skopeo_reports_an_immutable_tag(served: Served, tmp_path: Path) -> None:
    served.create(imageTagMutability="IMMUTABLE")
    for number in (1, 2):
        write_layout(tmp_path / str(number), multi_arch(f"app {number}"), "v1")
    assert skopeo(served, "copy", "--all", f"oci:{tmp_path / '1'}:v1", address(served)).returncode == 0
    refused = skopeo(served, "copy", "--all", f"oci:{tmp_path / '2'}:v1", address(served))
    assert refused.returncode != 0
    assert "cannot be overwritten because the tag is immutable." in refused.stderr


@pytest.fixture
def docker(served: Served, tmp_path: Path) -> Docker:
    """A client that is logged in to the first registry, with its own configuration."""
    if not shutil.which("docker") or subprocess.run(["docker", "version"], capture_output=True, timeout=60).returncode:
        pytest.skip("no Docker engine answers")
    environment = {**os.environ, "DOCKER_CONFIG": str(tmp_path / "docker")}

    def run(*arguments: str, given: bytes = b"") -> tuple[int, str]:
        done = subprocess.run(["docker", *arguments], input=given, capture_output=True, env=environment, timeout=120)
        return done.returncode, (done.stdout + done.stderr).decode()

    password = base64.b64decode(served.token().partition(" ")[2]).partition(b":")[2]
    host = f"localhost:{served.ports[DEV]}"
    status, said = run("login", "--username", "AWS", "--password-stdin", host, given=password)
    assert status == 0, said
    return run


@pytest.mark.docker
def test_docker_pushes_mounts_pulls_and_reports_an_immutable_tag(served: Served, docker: Docker) -> None:
    served.create(imageTagMutability="IMMUTABLE")
    served.create(name="team/other")
    served.api("PutAccountSetting", name="BLOB_MOUNTING", value="ENABLED")
    host = f"localhost:{served.ports[DEV]}"
    first, second = f"{host}/{NAME}:v1", f"{host}/team/other:v1"
    try:
        assert docker("import", "-", first, given=gzip.decompress(layer("hello").raw))[0] == 0
        status, said = docker("push", first)
        assert status == 0, said
        status, said = docker("push", first)
        assert status == 1
        assert "cannot be overwritten because the tag is immutable." in said
        docker("tag", first, second)
        status, said = docker("push", second)
        assert status == 0, said
        assert f"Mounted from {NAME}" in said
        docker("rmi", first, second)
        status, said = docker("pull", second)
        assert status == 0, said
    finally:
        docker("rmi", first, second)
    result = [(e["detail"]["repository-name"], e["detail"]["image-tag"]) for e in served.events]
    assert result == [(NAME, "v1"), ("team/other", "v1")]
