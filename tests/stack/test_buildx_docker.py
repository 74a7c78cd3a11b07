"""`tallyman build` with a separate BuildKit: cache in a repository, platforms in one index, base from a registry.

Create one with, for example, `docker buildx create --driver docker-container --driver-opt network=host --bootstrap`.
"""

import io
import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.docker.builds import NAME, buildx_plugin, git, log_in, separate_builder, variables
from support.stacks.deployed import Deployed, deployed
from support.stacks.templates import ROOT
from tallyman.domain.names import Digest

pytestmark = [pytest.mark.docker, pytest.mark.heavy]
RANDOM = "import os; open('/srv/random', 'wb').write(os.urandom(16))"


@pytest.fixture(scope="module")
def builder() -> str:
    if not buildx_plugin():
        pytest.skip("no docker buildx here")
    name = separate_builder()
    if not name:
        pytest.skip("docker buildx has no running builder with a separate BuildKit")
    return name


@pytest.fixture(scope="module")
def system(builder: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    with deployed(tmp_path_factory.mktemp("cloud"), scanner="clean") as running:
        yield running


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "app.txt").write_text("one\n")
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY app.txt /srv/app.txt\n")
    git(folder, "init", "-q", "-b", "main")
    commit(folder)
    return folder


def commit(folder: Path) -> None:
    git(folder, "add", ".")
    git(folder, "commit", "-q", "--allow-empty", "-m", "A change")


def build(system: Deployed, builder: str, folder: Path, work: Path, *options: str) -> tuple[dict[str, Any], str]:
    work.mkdir(exist_ok=True)
    home = Path(os.environ.get("DOCKER_CONFIG", Path.home() / ".docker"))
    env = variables(system, work, BUILDX_BUILDER=builder)
    env["BUILDX_CONFIG"] = os.environ.get("BUILDX_CONFIG", str(home / "buildx"))
    log_in(env)
    command = ["tallyman", "build", "--push", ".", "--repository", NAME, "--json", *options]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"docker buildx, builder {builder}" in done.stderr
    return json.loads(done.stdout), done.stderr


def prune(builder: str) -> None:
    subprocess.run(["docker", "buildx", "prune", "-af", "--builder", builder], capture_output=True, check=True)


def inside(system: Deployed, digest: str, name: str) -> bytes:
    """The content of a file in an image."""
    place = system.place(NAME)
    manifest = system.stack.source.manifest(place, digest)
    assert manifest is not None
    for layer in manifest.layers:
        with system.stack.source.open_blob(place, layer.digest) as stream:
            raw = io.BytesIO(b"".join(stream))
        with tarfile.open(fileobj=raw) as archive:
            if name in archive.getnames() and (found := archive.extractfile(name)):
                return found.read()
    raise AssertionError(f"no {name} in {digest}")


def pushed_base(system: Deployed, work: Path) -> str:
    """widget-base in the local registry, by digest."""
    subprocess.run([ROOT / "tests/tools/widget-base.sh"], check=True, stdin=subprocess.DEVNULL)
    work.mkdir(exist_ok=True)
    env = variables(system, work)
    log_in(env)
    client = system.client("ecr")
    client.create_repository(repositoryName="rocketseat/base")
    image = f"{env['IMAGE_REGISTRY']}/rocketseat/base"
    for command in (["docker", "tag", "widget-base:local", f"{image}:1"], ["docker", "push", f"{image}:1"]):
        subprocess.run(command, env=env, check=True, capture_output=True)
    (detail,) = client.describe_images(repositoryName="rocketseat/base")["imageDetails"]
    return f"{image}@{detail['imageDigest']}"


def test_the_cache_is_stored_in_its_repository_and_changes_no_digest(
    system: Deployed, builder: str, checkout: Path, tmp_path: Path
) -> None:
    base = pushed_base(system, tmp_path / "base")
    lines = [f"FROM {base}", "COPY app.txt /srv/app.txt", f'RUN ["python3", "-c", "{RANDOM}"]', "COPY VERSION /srv/"]
    (checkout / "Dockerfile").write_text("\n".join(lines) + "\n")
    (checkout / "VERSION").write_text("1.0.0\n")
    commit(checkout)
    system.client("ecr").create_repository(repositoryName=f"{NAME}-parts")
    kept = ("--cache", f"{NAME}-parts")
    first, words = build(system, builder, checkout, tmp_path / "first", *kept)
    assert f"pinned to {base.partition('@')[2]}" in words
    (cache,) = system.client("ecr").describe_images(repositoryName=f"{NAME}-parts")["imageDetails"]
    assert cache["imageTags"] == ["cache-rocketseat-widget-server-linux-amd64"]
    prune(builder)
    (checkout / "VERSION").write_text("1.0.1\n")
    commit(checkout)
    second, _ = build(system, builder, checkout, tmp_path / "second", *kept)
    assert second["digest"] != first["digest"]
    random = inside(system, first["digest"], "srv/random")
    assert inside(system, second["digest"], "srv/random") == random  # it was not run again: the cache had it
    manifests = [system.stack.source.manifest(system.place(NAME), each["digest"]) for each in (first, second)]
    of_base = system.stack.source.manifest(system.place("rocketseat/base"), base.partition("@")[2])
    assert of_base is not None
    for manifest in manifests:
        assert manifest is not None
        shared = manifest.layers[: len(of_base.layers)]
        assert [each.digest for each in shared] == [each.digest for each in of_base.layers]
    # even without a cache the same commit gives the same digest, if its steps are reproducible
    (checkout / "Dockerfile").write_text("\n".join([*lines[:2], lines[3]]) + "\n")
    commit(checkout)
    build(system, builder, checkout, tmp_path / "third", *kept)
    (checkout / "VERSION").write_text("1.0.2\n")
    commit(checkout)
    fourth, _ = build(system, builder, checkout, tmp_path / "fourth", *kept)
    digests = system.client("ecr").describe_images(repositoryName=NAME, imageIds=[{"imageDigest": fourth["digest"]}])
    for tag in digests["imageDetails"][0]["imageTags"]:
        system.client("ecr").batch_delete_image(repositoryName=NAME, imageIds=[{"imageTag": tag}])
    prune(builder)
    anew, _ = build(system, builder, checkout, tmp_path / "anew")
    assert (anew["state"], anew["digest"]) == ("pushed", fourth["digest"])


def test_an_inaccessible_cache_fails_no_build(system: Deployed, builder: str, checkout: Path, tmp_path: Path) -> None:
    result, words = build(system, builder, checkout, tmp_path / "work", "--cache", "rocketseat/nowhere")
    assert result["state"] == "pushed"
    assert "the cache " in words


def test_platforms_are_built_into_one_index_pushed_last_with_statements_beside_it(
    system: Deployed, builder: str, checkout: Path, tmp_path: Path
) -> None:
    result, _ = build(system, builder, checkout, tmp_path / "work", "--platform", "linux/amd64,linux/arm64")
    place = system.place(NAME)
    index = system.stack.source.manifest(place, result["tags"][0])
    assert index is not None
    assert index.digest == result["digest"]
    assert [str(child.platform) for child in index.children] == ["linux/amd64", "linux/arm64"]
    for child in index.children:
        assert len(system.stack.source.referrers(place, child.digest)) == 2
    assert len(system.stack.source.referrers(place, Digest(result["digest"]))) == 1
