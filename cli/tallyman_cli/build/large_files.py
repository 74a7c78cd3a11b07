"""Replaces the pointers of Git LFS in a build's context by the content that they name."""

import hashlib
import io
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

from tallyman.errors import BadInput
from tallyman_cli.build.git import Git

_POINTER = re.compile(rb"version https://git-lfs\.github\.com/spec/v1\n(?:.*\n)*?oid sha256:([0-9a-f]{64})\nsize \d+\n")
_LONGEST = 1024
"""Bytes of a pointer at most, by its specification."""


def with_large_files(folder: Path, raw: bytes) -> bytes:
    """The tar of a folder with the content of each Git LFS file instead of its pointer, even if LFS is not installed.
    Raises BadInput if a content is not on this machine."""
    with tarfile.open(fileobj=io.BytesIO(raw)) as whole:
        oids = {entry.name: found[1].decode() for entry, found in _pointers(whole)}
        if not (wanted := _kept_by_lfs(folder, oids)):
            return raw
        made = io.BytesIO()
        with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT, pax_headers=whole.pax_headers) as out:
            for entry in whole:
                content = whole.extractfile(entry) if entry.isreg() else None
                if entry.name in wanted:
                    there = _content(folder, entry.name, oids[entry.name])
                    entry.size, content = there.stat().st_size, there.open("rb")
                out.addfile(entry, content)
                if content is not None:
                    content.close()
    return made.getvalue()


def _pointers(whole: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, re.Match[bytes]]]:
    for entry in whole:
        file = whole.extractfile(entry) if entry.isreg() and entry.size < _LONGEST else None
        if file is not None and (found := _POINTER.fullmatch(file.read())):
            yield entry, found


def _kept_by_lfs(folder: Path, names: dict[str, str]) -> set[str]:
    """The files that are LFS's by their attributes: a document about LFS may look like a pointer."""
    given = b"".join(name.encode(errors="surrogateescape") + b"\0" for name in names)
    attributes = Git(folder)("check-attr", "-z", "--stdin", "filter", given=given).split(b"\0") if names else []
    values = zip(attributes[::3], attributes[2::3], strict=False)
    return {name.decode(errors="surrogateescape") for name, value in values if value == b"lfs"}


def _content(folder: Path, name: str, oid: str) -> Path:
    """The file with the content: in the store of LFS, or in the checkout. Raises BadInput."""
    git = Git(folder)
    store = Path(git.text("rev-parse", "--git-common-dir"), git.found("config", "--get", "lfs.storage") or "lfs")
    for path in (folder / store / "objects" / oid[:2] / oid[2:4] / oid, folder / name):
        if path.is_file():
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() == oid:
                    return path
    raise BadInput(f"{name} is kept by Git LFS, and its content is not here: git -C {folder} lfs pull")
