"""Reads the commit to build from a folder, and nothing that differs when the same commit is built again."""

import codecs
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from tallyman.domain.images.versions import Version, VersionKind, parse_version
from tallyman.errors import BadInput
from tallyman_cli.build.git import Git

SHORT = 7
"""Digits of the commit in a tag, unless Git needs more to name it."""

FIRST_VERSION = "v0.1.0"
"""The version of a commit without a file VERSION and without any earlier version tag."""


@dataclass(frozen=True, slots=True)
class Checkout:
    """`folder` at `commit`. `version`: in the file VERSION, else the newest version tag at or before the commit;
    `released`: the version tag of the commit itself, if it has one; `source`: the URL of the repository without
    credentials; `author`: of the commit; `doubts`: why a complete clone may give another version."""

    folder: Path
    commit: str
    short: str
    at: datetime
    version: Version
    released: Version | None
    branch: str | None
    source: str | None
    author: str
    doubts: tuple[str, ...] = ()

    def file(self, name: str) -> bytes | None:
        """A file of the folder as committed; None where there is none of that name."""
        return Git(self.folder).file(self.commit, name)


def read(folder: Path) -> Checkout:
    """Describe the commit that is checked out in a folder.

    Raises BadInput if there is no such folder, no Git or no commit yet, or if tracked files differ from the commit.
    Files that were never committed may differ: they are not built.
    """
    if not folder.is_dir():
        raise BadInput(f"{folder} is not a folder")
    folder, git = folder.resolve(), Git(folder.resolve())
    _inside(git)
    commit = git.found("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    if not commit:
        raise BadInput(f"{folder} has no commit yet: an image is built from a commit")
    _as_committed(git)
    at, author = _commit(git("cat-file", "commit", commit))
    released = _newest(git.lines("for-each-ref", "--format=%(refname)", f"--points-at={commit}", "refs/tags"))
    version, doubts = _version(git, commit)
    return Checkout(
        folder=folder,
        commit=commit,
        short=git.text("rev-parse", f"--short={SHORT}", commit),
        at=at,
        version=version,
        released=released,
        branch=branch(folder),
        source=_without_credentials(git.found("config", "--get", "remote.origin.url")),
        author=author,
        doubts=() if released else doubts,
    )


def _inside(git: Git) -> None:
    try:
        inside = git.text("rev-parse", "--is-inside-work-tree")
    except BadInput as error:
        what = "is in no Git checkout" if "not a git repository" in str(error) else "can't be read as a Git checkout"
        raise BadInput(
            f"{git.folder} {what}: an image is built from a commit (git init, git commit). {error}"
        ) from None
    if inside != "true":
        raise BadInput(f"{git.folder} is Git's own folder or a bare repository, not a checkout: check it out")


def _as_committed(git: Git) -> None:
    """BadInput where tracked files differ from the commit, those of submodules included."""
    options = ("--porcelain=v1", "-z", "--untracked-files=no", "--ignore-submodules=untracked", "--no-renames")
    changed = git("status", *options, "--", ".").decode(errors="replace").split("\0")
    if names := [entry[3:] for entry in changed if entry]:
        shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        raise BadInput(
            f"{git.folder} is not what was committed ({shown}): commit it, so that the commit says what was built"
        )


def _commit(raw: bytes) -> tuple[datetime, str]:
    """The committer's time and the author, of a commit object."""
    head = raw.partition(b"\n\n")[0].split(b"\n")
    fields = dict(line.split(b" ", 1) for line in reversed(head) if b" " in line and not line.startswith(b" "))
    encoding = fields.get(b"encoding", b"utf-8").decode("ascii", "replace")
    try:
        codecs.lookup(encoding)
    except LookupError:
        encoding = "utf-8"
    author = re.sub(r" -?\d+ [+-]\d+$", "", fields[b"author"].decode(encoding, "replace"))
    seconds = int(fields[b"committer"].rsplit(b" ", 2)[1])
    return datetime.fromtimestamp(seconds, UTC), author


def branch(folder: Path) -> str | None:
    """The branch: that of CI, which checks out a commit without a branch, else Git's."""
    for variable in ("CODEBUILD_WEBHOOK_HEAD_REF", "GITHUB_REF", "CI_COMMIT_BRANCH"):
        if ref := os.environ.get(variable):
            return ref.removeprefix("refs/heads/") if not ref.startswith(("refs/tags/", "refs/pull/")) else None
    # In full: a tag of the same name makes Git answer `heads/main` for the short form.
    return (Git(folder).found("symbolic-ref", "--quiet", "HEAD") or "").removeprefix("refs/heads/") or None


def _version(git: Git, commit: str) -> tuple[Version, tuple[str, ...]]:
    """The version, and why a complete clone may give another one."""
    raw = git.file(commit, "VERSION")
    if raw is not None:
        text = decode(raw, f"{git.folder / 'VERSION'}").strip()
        version = parse_version(text)
        if version is None or version.kind is not VersionKind.SEMVER:
            raise BadInput(f"{git.folder / 'VERSION'} holds '{text}': expected a semantic version such as 1.4.0")
        return version, ()
    found = _newest(git.lines("for-each-ref", "--format=%(refname)", f"--merged={commit}", "refs/tags"))
    version = found or parse_version(FIRST_VERSION)
    assert version is not None  # the first version is one
    return version, tuple(_doubts(git, found))


def _doubts(git: Git, found: Version | None) -> list[str]:
    doubts = []
    if git.text("rev-parse", "--is-shallow-repository") == "true":
        doubts.append("this clone is shallow, version tags may be missing: git fetch --unshallow --tags")
    if found is None:
        tags = git.lines("for-each-ref", "--count=1", "refs/tags")
        remote = git.found("config", "--get", "remote.origin.url")
        here = "before this commit" if tags else "in this clone"
        todo = "git fetch --tags, where the repository has some" if remote and not tags else "git tag v1.0.0"
        doubts.append(f"no version tag {here} and no file VERSION, {FIRST_VERSION} is assumed: {todo}")
    return doubts


def decode(raw: bytes, name: str) -> str:
    """The text of a file in UTF-8, UTF-16 or UTF-32, with or without a byte order mark. BadInput: it is in none."""
    marks = (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF32_LE, "utf-32"),
        (codecs.BOM_UTF32_BE, "utf-32"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    )
    encoding = next((named for mark, named in marks if raw.startswith(mark)), None)
    if encoding is None and b"\0" in raw:  # UTF-16 without a mark: every other byte of plain ASCII is zero
        encoding = "utf-16-be" if raw[:1] == b"\0" else "utf-16-le"
    try:
        text = raw.decode(encoding or "utf-8")
    except UnicodeDecodeError as error:
        expected = (encoding or "utf-8").upper()
        raise BadInput(f"{name} is not text in {expected} ({error.reason}): save it as UTF-8") from None
    if "\0" in text:
        raise BadInput(f"{name} is not text: it holds NUL characters")
    return text


def _newest(references: list[str]) -> Version | None:
    names = (reference.removeprefix("refs/tags/") for reference in references)
    versions = [version for name in names if (version := parse_version(name))]
    return max((v for v in versions if v.kind is VersionKind.SEMVER), default=None, key=lambda v: v.precedence)


def _without_credentials(url: str | None) -> str | None:
    if not url or "://" not in url:
        return url or None
    try:
        parts = urlsplit(url)
    except ValueError:  # such as `https://[`
        return None
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
