"""The temporary folder of a cloud, and the lock of a data folder."""

import fcntl
import os
import re
import shutil
import tempfile
from pathlib import Path

_NAME = re.compile(r"tallyman-local-(\d+)-\w+")


def make() -> Path:
    """Make a temporary folder. Remove those that killed processes of this user left."""
    for folder in Path(tempfile.gettempdir()).glob("tallyman-local-*"):
        named = _NAME.fullmatch(folder.name)
        if named and not _alive(int(named[1])) and _is_ours(folder):
            shutil.rmtree(folder, ignore_errors=True)  # another process may remove it at the same time
    return Path(tempfile.mkdtemp(prefix=f"tallyman-local-{os.getpid()}-"))


class InUse(RuntimeError):
    """Another local cloud uses this folder."""


def lock(folder: Path) -> int:
    """Lock a folder, which is made where it is missing. The lock ends with the returned descriptor or with the process.

    Raises InUse, OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise InUse(f"{folder}: another local cloud uses this folder") from error
    return descriptor


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _is_ours(folder: Path) -> bool:
    try:
        return folder.lstat().st_uid == os.getuid() and not folder.is_symlink()
    except FileNotFoundError:
        return False
