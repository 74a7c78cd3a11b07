"""The context of a build: the folder as committed, its submodules included, as a tar."""

import io
import tarfile
from pathlib import Path

from tallyman.errors import BadInput
from tallyman_cli.build.checkout import Checkout
from tallyman_cli.build.git import Git

_SUBMODULE = b"160000"


def archive(checkout: Checkout) -> bytes:
    """The folder as committed, for `docker build -`: every time is the commit's. What .gitignore names, and whatever
    else was not committed, is not in it. Submodules are, at the commits that are recorded.

    BadInput where a submodule is not there: with what to do. Cost: the archive is held in memory.
    """
    raw = Git(checkout.folder)("archive", "--format=tar", checkout.commit)  # of this folder alone
    found = submodules(checkout.folder, checkout.commit)
    if not found:
        return raw
    buffer = io.BytesIO(raw)
    with tarfile.open(fileobj=buffer, mode="a", format=tarfile.PAX_FORMAT) as whole:
        for path, commit in found:
            _add(whole, checkout.folder, path, commit, int(checkout.at.timestamp()))
    return buffer.getvalue()


def submodules(folder: Path, commit: str) -> list[tuple[str, str]]:
    """The path below the folder, and the commit, of each submodule. Cost: one listing of the folder's files."""
    found = []
    for entry in Git(folder)("ls-tree", "-r", "-z", commit, "--", ".").split(b"\0"):
        described, _, path = entry.partition(b"\t")
        mode, _, rest = described.partition(b" ")
        if mode == _SUBMODULE:
            found.append((path.decode(errors="surrogateescape"), rest.split(b" ")[1].decode()))
    return found


def _add(whole: tarfile.TarFile, folder: Path, path: str, commit: str, at: int) -> None:
    """Adds a submodule, and those within it."""
    inside, how = folder / path, f"git -C {folder} submodule update --init --recursive"
    git = Git(inside)
    # Without a checkout of its own Git answers for the repository around it.
    if not inside.is_dir() or git.text("rev-parse", "--show-prefix"):
        raise BadInput(f"the submodule {path} is not checked out, and would be missing in the image: {how}")
    try:
        raw = git("archive", "--format=tar", commit)
    except BadInput as error:
        raise BadInput(f"the submodule {path} has no commit {commit} here: {how} ({error})") from None
    with tarfile.open(fileobj=io.BytesIO(raw)) as part:
        for entry in part:
            entry.name, entry.mtime = f"{path}/{entry.name}", at
            entry.pax_headers = {}  # it is written anew, with this name
            whole.addfile(entry, part.extractfile(entry) if entry.isreg() else None)
    for deeper, recorded in submodules(inside, commit):
        _add(whole, folder, f"{path}/{deeper}", recorded, at)
