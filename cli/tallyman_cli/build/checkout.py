"""The commit that is built: what Git says of a folder, and nothing that changes when the same commit is built again."""

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from tallyman.domain.images.versions import Version, VersionKind, parse_version
from tallyman.errors import BadInput

SHORT = 7
"""Digits of the commit in a tag, unless Git needs more to name it."""


@dataclass(frozen=True, slots=True)
class Checkout:
    """`folder` at `commit`. `version`: the newest version tag at or before it, or what the file VERSION says;
    `released`: the version tag of this very commit, if it has one. `source`: where the code comes from, no
    credentials in it. `author`: of the commit."""

    folder: Path
    commit: str
    short: str
    at: datetime
    version: Version
    released: Version | None
    branch: str | None
    source: str | None
    author: str


def read(folder: Path) -> Checkout:
    """What Git says. BadInput: no such folder, no Git, no commit yet, or what is there is not what was committed.

    What lies about and was never committed is no reason: it is not built.
    """
    if not folder.is_dir():
        raise BadInput(f"{folder} is no folder")
    if _git(folder, "rev-parse", "--is-inside-work-tree") != "true":
        raise BadInput(f"{folder} is in no Git checkout: an image is built from a commit (git init, git commit)")
    found = _git(folder, "log", "-1", "--format=%H%n%ct%n%an <%ae>", "HEAD")
    if not found:
        raise BadInput(f"{folder} has no commit yet: an image is built from a commit")
    commit, seconds, author = found.split("\n")
    if changed := _git(folder, "status", "--porcelain", "--untracked-files=no", "--", "."):
        names = ", ".join(line.strip().partition(" ")[2].strip() for line in changed.splitlines()[:5])
        raise BadInput(f"{folder} is not what was committed ({names}): commit it, or nobody can say what was built")
    return Checkout(
        folder=folder.resolve(),
        commit=commit,
        short=_asked(folder, "rev-parse", f"--short={SHORT}", "HEAD"),
        at=datetime.fromtimestamp(int(seconds), UTC),
        version=_version(folder),
        released=_newest(_git(folder, "tag", "--points-at", "HEAD")),
        branch=branch(folder),
        source=_without_credentials(_git(folder, "config", "--get", "remote.origin.url")),
        author=author,
    )


def archive(checkout: Checkout) -> bytes:
    """The folder as committed, as a tar for `docker build -`: all times are the commit's. What .gitignore names, and
    whatever else lies about, is not in it."""
    done = _run(checkout.folder, "archive", "--format=tar", checkout.commit)  # of this folder alone
    if done.returncode:
        raise BadInput(f"git archive: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def branch(folder: Path) -> str | None:
    """The branch: what CI says, for it builds a commit without one, else what Git says."""
    for variable in ("CODEBUILD_WEBHOOK_HEAD_REF", "GITHUB_REF", "CI_COMMIT_BRANCH"):
        if ref := os.environ.get(variable):
            return ref.removeprefix("refs/heads/") if not ref.startswith(("refs/tags/", "refs/pull/")) else None
    return _git(folder, "symbolic-ref", "--short", "-q", "HEAD") or None


def _version(folder: Path) -> Version:
    file = folder / "VERSION"
    if file.is_file():
        text = file.read_text("utf-8").strip()
        version = parse_version(text)
        if version is None or version.kind is not VersionKind.SEMVER:
            raise BadInput(f"{file} holds '{text}': expected a semantic version such as 1.4.0")
        return version
    found = _newest(_git(folder, "tag", "--merged", "HEAD")) or parse_version("v0.1.0")
    assert found is not None  # v0.1.0 is one
    return found


def _newest(tags: str | None) -> Version | None:
    versions = [v for tag in (tags or "").splitlines() if (v := parse_version(tag))]
    return max((v for v in versions if v.kind is VersionKind.SEMVER), default=None, key=lambda v: v.precedence)


def _without_credentials(url: str | None) -> str | None:
    if not url or "://" not in url:
        return url or None
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _asked(folder: Path, *words: str) -> str:
    answer = _git(folder, *words)
    if not answer:
        raise BadInput(f"git {' '.join(words)} in {folder} answers nothing")
    return answer


def _git(folder: Path, *words: str) -> str | None:
    done = _run(folder, *words)
    return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else None


def _run(folder: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    command: Sequence[str] = ("git", "-C", str(folder), *words)
    try:
        return subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, check=False)
    except FileNotFoundError:
        raise BadInput("there is no git here: an image is built from a commit") from None
