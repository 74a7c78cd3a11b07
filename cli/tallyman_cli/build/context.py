"""The context of a build: the committed folder with its submodules, as a tar."""

import io
import os
import shutil
import tarfile
import tempfile
from pathlib import Path

from tallyman.errors import BadInput
from tallyman_cli.build.checkout import Checkout
from tallyman_cli.build.git import Git
from tallyman_cli.build.large_files import with_large_files

_SUBMODULE = b"160000"


def archive(checkout: Checkout) -> bytes:
    """The committed folder for `docker build -`, with the commit's time on every file. It holds nothing that was not
    committed, and submodules at the recorded commits.

    Raises BadInput, with what to do, if a submodule or the content of a Git LFS file is missing. Held in memory.
    """
    raw = _content(checkout.folder, checkout.commit)
    found = submodules(checkout.folder, checkout.commit)
    if not found:
        return raw
    buffer = io.BytesIO(raw)
    with tarfile.open(fileobj=buffer, mode="a", format=tarfile.PAX_FORMAT) as whole:
        for path, commit in found:
            _add(whole, checkout.folder, path, commit, int(checkout.at.timestamp()))
    return buffer.getvalue()


def submodules(folder: Path, commit: str) -> list[tuple[str, str]]:
    """The path below the folder and the commit of each submodule. Cost: a listing of the folder's files."""
    found = []
    for entry in Git(folder)("ls-tree", "-r", "-z", commit, "--", ".").split(b"\0"):
        described, _, path = entry.partition(b"\t")
        mode, _, rest = described.partition(b" ")
        if mode == _SUBMODULE:
            found.append((path.decode(errors="surrogateescape"), rest.split(b" ")[1].decode()))
    return found


def _add(whole: tarfile.TarFile, folder: Path, path: str, commit: str, at: int) -> None:
    """Add a submodule with its own submodules."""
    inside, how = folder / path, f"git -C {folder} submodule update --init --recursive"
    # In a submodule that is not checked out Git answers for the repository around it.
    if not inside.is_dir() or Git(inside).text("rev-parse", "--show-prefix"):
        raise BadInput(f"the submodule {path} is not checked out, and would be missing in the image: {how}")
    try:
        Git(inside)("cat-file", "-e", f"{commit}^{{commit}}")
    except BadInput as error:
        raise BadInput(f"the submodule {path} has no commit {commit} here: {how} ({error})") from None
    raw = _content(inside, commit)
    with tarfile.open(fileobj=io.BytesIO(raw)) as part:
        for entry in part:
            entry.name, entry.mtime = f"{path}/{entry.name}", at
            entry.pax_headers = {}  # it is written anew, with this name
            whole.addfile(entry, part.extractfile(entry) if entry.isreg() else None)
    for deeper, recorded in submodules(inside, commit):
        _add(whole, folder, f"{path}/{deeper}", recorded, at)


def _content(folder: Path, commit: str) -> bytes:
    """The folder at the commit without submodules, as a tar. Made from a temporary Git directory that shares the
    repository's objects, so that the commit's `.gitattributes` apply, and no setting, filter or `info/attributes` of a
    person does."""
    git = Git(folder)
    if git.found("config", "--get", "extensions.partialClone"):
        git("archive", "--format=tar", commit)  # fetches what is missing, which the directory below can't
    with tempfile.TemporaryDirectory(prefix="tallyman-git-") as made:
        own = Path(made)
        for name in ("objects/info", "refs"):
            (own / name).mkdir(parents=True)
        (own / "HEAD").write_text(f"{commit}\n")
        (own / "config").write_text(_CONFIG.format(kind=git.text("rev-parse", "--show-object-format")))
        (own / "objects/info/alternates").write_text(f"{_git_path(git, 'objects')}\n")
        # Tags, for `export-subst`. The checkout's doubts say whether some are missing.
        (own / "packed-refs").write_bytes(git("for-each-ref", "--format=%(objectname) %(refname)", "refs/tags"))
        if (shallow := _git_path(git, "shallow")).exists():
            shutil.copy(shallow, own / "shallow")
        apart = {"GIT_DIR": made, "GIT_WORK_TREE": git.text("rev-parse", "--show-toplevel"), "HOME": made}
        apart |= {"XDG_CONFIG_HOME": made, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_COUNT": "0"}
        apart |= {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_PARAMETERS": "", "GIT_ATTR_NOSYSTEM": "1"}
        raw = Git(folder, apart)("archive", "--format=tar", commit)  # of this folder alone
    return with_large_files(folder, raw)


_CONFIG = """\
[core]
    repositoryFormatVersion = 1
    bare = false
    autocrlf = false
    eol = lf
[extensions]
    objectFormat = {kind}
[tar]
    umask = 0002
"""


def _git_path(git: Git, name: str) -> Path:
    return (git.folder / git.text("rev-parse", "--git-path", name)).resolve()
