"""From `git commit` to both regions of prod: the real buildspec.yml, a real Docker engine, the local cloud."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.docker.builds import NAME, build, git, variables
from support.stacks.deployed import Deployed, deployed
from support.stacks.templates import ROOT
from tallyman.domain.history.facts import Kind

pytestmark = [pytest.mark.docker, pytest.mark.heavy]
NO_CACHE = """#!/bin/sh
case "$1 $2" in
  "buildx build") shift 2; set -- buildx build --no-cache "$@" ;;
  build*) [ "$1" = buildx ] || { shift; set -- build --no-cache "$@"; } ;;
esac
exec DOCKER "$@"
"""


@pytest.fixture(scope="module")
def engine() -> None:
    found = shutil.which("docker")
    if not found or subprocess.run(["docker", "version"], capture_output=True, check=False).returncode:
        pytest.skip("no Docker engine answers")
    subprocess.run([ROOT / "tests/tools/widget-base.sh"], check=True, stdin=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def system(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    with deployed(tmp_path_factory.mktemp("cloud"), scanner="clean") as running:
        yield running


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "widget-server"
    shutil.copytree(ROOT / "examples/widget-server", folder)
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "A widget server")
    return folder


def test_a_commit_is_built_pushed_and_promoted_to_both_regions(
    system: Deployed, checkout: Path, tmp_path: Path
) -> None:
    git(checkout, "tag", "v1.4.0")
    outcome = build(system, checkout, tmp_path / "work", CODEBUILD_BUILD_ID="build:1", CODEBUILD_INITIATOR="ana")
    assert outcome.succeeded, outcome.log
    assert outcome.artifacts == ["image.json"]
    result = json.loads((tmp_path / "work/image.json").read_text())
    commit = git(checkout, "rev-parse", "HEAD")
    short = git(checkout, "rev-parse", "--short=7", "HEAD")
    assert (result["state"], result["commit"]) == ("pushed", commit)
    assert result["tags"] == [f"v1.4.0-{short}", "v1.4.0", "latest"]
    assert outcome.exported == {"IMAGE_DIGEST": result["digest"]}
    system.settle()
    assert system.digests_in(NAME, f"v1.4.0-{short}") == [result["digest"]] * 2
    assert system.digests_in(NAME, "v1.4.0") == [result["digest"]] * 2
    dev = system.place(NAME)
    assert len(system.stack.source.referrers(dev, result["digest"])) == 2
    manifest = system.stack.source.manifest(dev, result["digest"])
    assert manifest is not None
    assert manifest.annotations["org.opencontainers.image.revision"] == commit
    assert system.facts(result["digest"], Kind.PROMOTED)
    (pushed, *_) = system.facts(result["digest"], Kind.PUSHED)
    assert pushed.detail["built"]["revision"] == commit
    assert pushed.detail["built"]["authors"] == "Ana <ana@example.com>"
    builds = [f.detail["build"] for f in system.facts(result["digest"], Kind.REFERRED) if "build" in f.detail]
    assert {(each["id"], each["person"]) for each in builds} == {("build:1", "ana")}

    again = build(system, checkout, tmp_path / "again")
    assert again.succeeded, again.log
    assert "already built from this commit" in again.log
    assert json.loads((tmp_path / "again/image.json").read_text())["digest"] == result["digest"]

    (checkout / "server.py").write_text((checkout / "server.py").read_text() + "# a change\n")
    git(checkout, "commit", "-q", "-am", "A change")
    git(checkout, "tag", "-f", "v1.4.0")
    moved = build(system, checkout, tmp_path / "moved")
    assert moved.phases["build"] is False
    assert "post_build" not in moved.phases
    assert "v1.4.1" in moved.log
    assert system.digests_in(NAME, "v1.4.0") == [result["digest"]] * 2


def test_uncommitted_changes_stop_a_build_before_it_starts(system: Deployed, checkout: Path, tmp_path: Path) -> None:
    (checkout / "server.py").write_text("print('mine')\n")
    outcome = build(system, checkout, tmp_path / "work")
    assert outcome.phases == {"install": True, "pre_build": False}
    assert "not what was committed (server.py)" in outcome.log


def test_a_refused_log_in_ends_the_build(system: Deployed, checkout: Path, tmp_path: Path) -> None:
    outcome = build(
        system, checkout, tmp_path / "work", AWS_ACCESS_KEY_ID="nobody", AWS_ENDPOINT_URL="http://127.0.0.1:9"
    )
    assert outcome.phases == {"install": True, "pre_build": False}


def test_platforms_are_pushed_without_tags_and_joined(system: Deployed, checkout: Path, tmp_path: Path) -> None:
    (checkout / "Dockerfile").write_text("FROM scratch\nCOPY server.py /srv/server.py\n")
    git(checkout, "commit", "-q", "-am", "Of nothing else")
    system.client("ecr").create_repository(repositoryName=f"{NAME}-parts")
    early = build(system, checkout, tmp_path / "early", BUILD_STEP="join")
    assert early.phases["build"] is False
    assert "did the build for amd64 finish?" in early.log
    for architecture in ("amd64", "arm64"):
        command = ["tallyman", "build", "--push", ".", "--repository", NAME, "--parts", f"{NAME}-parts", "--json"]
        found = subprocess.run(
            [*command, "--platform", f"linux/{architecture}"],
            cwd=checkout, env=variables(system, tmp_path / "early"), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert found.returncode == 0, found.stderr
        part = json.loads(found.stdout)
        assert (part["state"], part["tags"]) == ("part", [])
    joined = build(system, checkout, tmp_path / "joined", BUILD_STEP="join")
    assert joined.succeeded, joined.log
    result = json.loads((tmp_path / "joined/image.json").read_text())
    index = system.stack.source.manifest(system.place(NAME), result["tags"][0])
    assert index is not None
    assert [str(child.platform) for child in index.children] == ["linux/amd64", "linux/arm64"]


@pytest.mark.parametrize("buildx", [True, False], ids=["buildx", "plain"])
def test_the_same_commit_gives_the_same_digest_with_and_without_an_older_cache(
    buildx: bool, engine: None, checkout: Path, tmp_path: Path, system: Deployed
) -> None:
    env = variables(system, tmp_path)
    if not buildx:
        (tmp_path / "docker/cli-plugins/docker-buildx").unlink(missing_ok=True)
    found = subprocess.run(["docker", "buildx", "version"], env=env, capture_output=True, check=False)
    if (found.returncode == 0) != buildx:
        pytest.skip("no docker buildx here" if buildx else "docker buildx is there whatever the configuration")
    (checkout / "VERSION").write_text("1.0.0\n")
    (checkout / "Dockerfile").write_text((checkout / "Dockerfile").read_text() + "COPY VERSION /srv/\n")
    git(checkout, "add", ".")
    git(checkout, "commit", "-q", "-m", "Older, by hours", GIT_COMMITTER_DATE="2026-01-01T00:00:00Z")
    digests = [_digest(checkout, env)]
    (checkout / "VERSION").write_text("1.0.1\n")
    git(checkout, "commit", "-q", "-am", "Newer")
    digests.append(_digest(checkout, env))  # the first steps are those of the older commit
    docker = tmp_path / "bin/docker"
    docker.write_text(NO_CACHE.replace("DOCKER", shutil.which("docker") or ""))
    docker.chmod(0o755)
    digests.append(_digest(checkout, env))
    assert digests[0] != digests[1] == digests[2]


def _digest(checkout: Path, env: dict[str, str]) -> str:
    command = ["tallyman", "build", ".", "--repository", NAME, "--json"]
    found = subprocess.run(command, cwd=checkout, env=env, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    digest: str = json.loads(found.stdout)["digest"]
    return digest


def test_a_repository_with_mutable_tags_is_refused(system: Deployed, checkout: Path, tmp_path: Path) -> None:
    name = "rocketseat/mutable"
    system.client("ecr").create_repository(repositoryName=name)
    outcome = build(system, checkout, tmp_path / "work", IMAGE_REPOSITORY=name)
    assert outcome.phases["build"] is False
    assert "immutable: wanted yes, found no" in outcome.log
    assert system.client("ecr").describe_images(repositoryName=name)["imageDetails"] == []
