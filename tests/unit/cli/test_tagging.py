"""A build's tags and descriptions: from real commits, by the policy's rules."""

import subprocess
from pathlib import Path

import pytest

from support.fakes.policies import parsed
from tallyman.domain.images.manifest import Manifest
from tallyman.domain.policy import RepositoryRule
from tallyman.errors import BadInput
from tallyman_cli.build import checkout, context
from tallyman_cli.build.dockerfile import Base, bases
from tallyman_cli.build.invocation import Invocation
from tallyman_cli.build.statements import annotations, provenance
from tallyman_cli.build.tagging import next_free, suggest

CI = ("CODEBUILD_WEBHOOK_HEAD_REF", "GITHUB_REF", "CI_COMMIT_BRANCH")


@pytest.fixture(autouse=True)
def no_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in CI:
        monkeypatch.delenv(name, raising=False)


def git(folder: Path, *words: str) -> str:
    settings = ["-c", "user.name=Ana", "-c", "user.email=ana@example.com", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", "-C", folder, *settings, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q", "-b", "main")
    (tmp_path / "app.py").write_text("print(1)\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "one")
    return tmp_path


def rule(*allow: str, mutable: tuple[str, ...] = ()) -> RepositoryRule:
    policy = {
        "repositories": [{"match": "*", "create": {"mutable_tags": list(mutable)}, "tags": {"allow": list(allow)}}]
    }
    return parsed(policy).repository("app")


def commit(folder: Path) -> str:
    return git(folder, "rev-parse", "--short=7", "HEAD")


def test_each_build_is_named_by_version_and_commit(folder: Path) -> None:
    assert suggest(checkout.read(folder)).tags == (f"v0.1.0-{commit(folder)}",)
    git(folder, "tag", "v1.2.0")
    git(folder, "tag", "v1.10.0")
    (folder / "app.py").write_text("print(2)\n")
    git(folder, "commit", "-qam", "two")
    assert suggest(checkout.read(folder)).tags == (f"v1.10.0-{commit(folder)}",)


def test_a_git_tag_also_gives_the_plain_version(folder: Path) -> None:
    git(folder, "tag", "v1.4.0")
    git(folder, "tag", "not-a-version")
    assert suggest(checkout.read(folder)).tags == (f"v1.4.0-{commit(folder)}", "v1.4.0")


def test_a_version_file_gives_the_version(folder: Path) -> None:
    (folder / "VERSION").write_text("2.0.0-rc.1\n")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "version")
    assert suggest(checkout.read(folder)).tags == (f"v2.0.0-{commit(folder)}",)
    (folder / "VERSION").write_text("two")
    git(folder, "commit", "-qam", "bad")
    with pytest.raises(BadInput, match="expected a semantic version"):
        checkout.read(folder)


def test_moving_tags_are_never_the_only_ones_and_only_if_the_policy_allows_them(folder: Path) -> None:
    found = checkout.read(folder)
    exact = f"v0.1.0-{commit(folder)}"
    assert suggest(found, rule("semver", "semver-commit", "latest", mutable=("latest",))).tags == (exact, "latest")
    assert suggest(found, rule("semver-commit", "latest")).tags == (exact,)
    with pytest.raises(BadInput, match="no tag for this build"):
        suggest(found, rule("latest", mutable=("latest",)))


def test_a_branch_is_recognizable_by_its_tag(folder: Path) -> None:
    rules = rule("semver-commit", "main-*", "feature-*", "latest", mutable=("latest",))
    exact = f"v0.1.0-{commit(folder)}"
    assert suggest(checkout.read(folder), rules).tags == (exact, f"main-{commit(folder)}", "latest")
    git(folder, "checkout", "-qb", "feature/login")
    assert suggest(checkout.read(folder), rules).tags == (exact, f"feature-login-{commit(folder)}")


@pytest.mark.parametrize(
    ("variable", "value"), [(CI[0], "refs/heads/main"), (CI[1], "refs/heads/main"), (CI[2], "main")]
)
def test_ci_gives_the_branch_if_git_has_none(
    folder: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    git(folder, "checkout", "-q", "--detach")
    assert checkout.read(folder).branch is None
    monkeypatch.setenv(variable, value)
    assert checkout.read(folder).branch == "main"


def test_a_changed_tree_missing_git_and_a_missing_commit_are_bad_input(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (folder / "app.py").write_text("print(3)\n")
    with pytest.raises(BadInput, match=r"not what was committed \(app.py\)"):
        checkout.read(folder)
    empty = tmp_path_factory.mktemp("empty")
    with pytest.raises(BadInput, match="no Git checkout"):
        checkout.read(empty)
    git(empty, "init", "-q")
    with pytest.raises(BadInput, match="no commit yet"):
        checkout.read(empty)
    with pytest.raises(BadInput, match="not a folder"):
        checkout.read(empty / "nowhere")


def test_the_source_has_no_credentials(folder: Path) -> None:
    git(folder, "remote", "add", "origin", "https://ana:hunter2@example.com/shop/widgets.git")
    assert checkout.read(folder).source == "https://example.com/shop/widgets.git"


def test_the_archive_is_the_commit_with_its_time(folder: Path) -> None:
    import io
    import tarfile

    (folder / "lies-about").write_text("not committed")
    found = checkout.read(folder)
    with tarfile.open(fileobj=io.BytesIO(context.archive(found))) as archive:
        entries = {e.name: e.mtime for e in archive if e.isreg()}
    assert entries == {"app.py": int(found.at.timestamp())}


def test_the_next_version_is_the_next_patch() -> None:
    assert next_free("v1.4.9") == "v1.4.10"


PINNED = "sha256:" + "1" * 64
DOCKERFILE = f"""\
ARG BASE=python:3.13@{PINNED}
FROM --platform=$BUILDPLATFORM golang:1 AS build
FROM build
FROM ${{BASE}} AS last
FROM scratch
COPY --from=build /app /app
"""


def test_the_base_images_of_a_dockerfile_and_whether_they_are_pinned() -> None:
    assert bases(DOCKERFILE) == (Base("golang:1", None), Base("python:3.13", PINNED))


def test_the_labels_of_a_build_are_the_same_for_the_same_commit(folder: Path) -> None:
    found = checkout.read(folder)
    image = Manifest(b"{}", "application/vnd.oci.image.manifest.v1+json")
    result = annotations(found, "v1.4.0")
    assert result["org.opencontainers.image.revision"] == found.commit
    assert result["org.opencontainers.image.authors"] == "Ana <ana@example.com>"
    statement = provenance("app", image, found, bases(DOCKERFILE), Invocation())
    assert statement["subject"] == [{"name": "app", "digest": {"sha256": image.digest.hex}}]
    assert statement == provenance("app", image, checkout.read(folder), bases(DOCKERFILE), Invocation())
