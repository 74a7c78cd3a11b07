"""Read a whole file that a person named, with a bound: not a device, not a pipe that nobody writes to."""

import errno
import os
import stat
import time
from pathlib import Path

MIB = 1024 * 1024
MOST = 16 * MIB
"""Bytes of a file, unless its reader expects larger ones."""
PATIENCE = 5.0
"""Seconds that a named pipe gets until somebody writes to it."""


def read(path: str | Path, most: int = MOST) -> bytes:
    """The content of a file, or of a pipe or a terminal until it ends.

    Raises OSError, with `filename` and a `strerror` for people: also for a directory, a device, a pipe that nobody
    writes to, and for more than `most` bytes. Reads at most one byte more than `most`.
    """
    name = os.fspath(path)
    try:  # O_NONBLOCK: otherwise a named pipe blocks until somebody opens it to write
        descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        if name == "-":
            raise OSError(errno.ENOENT, "there is no such file; standard input is /dev/stdin", name) from error
        raise
    except ValueError as error:  # a null character
        raise OSError(errno.EINVAL, "no name of a file", name) from error
    with open(descriptor, "rb") as file:  # noqa: PTH123 - it is open
        kind = os.fstat(descriptor)
        if stat.S_ISDIR(kind.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
        if stat.S_ISBLK(kind.st_mode) or (stat.S_ISCHR(kind.st_mode) and not _ends(descriptor, kind)):
            raise OSError(errno.EINVAL, "a device, not a file", name)
        start = _first(descriptor, name) if stat.S_ISFIFO(kind.st_mode) else b""
        os.set_blocking(descriptor, True)
        found = start + file.read(most + 1 - len(start))
    if len(found) > most:
        raise OSError(errno.EFBIG, f"larger than {most // MIB} MiB", name)
    return found


def text(path: str | Path, most: int = MOST) -> str:
    """The content of a file of UTF-8 text, with or without a byte order mark. Raises OSError, as `read`."""
    try:
        return read(path, most).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise OSError(errno.EILSEQ, f"not UTF-8 text (byte {error.start})", os.fspath(path)) from error


def _ends(descriptor: int, kind: os.stat_result) -> bool:
    """Whether a character device ends: a terminal, where a person ends the text, and /dev/null."""
    return os.isatty(descriptor) or kind.st_rdev == Path(os.devnull).stat().st_rdev


def _first(descriptor: int, name: str) -> bytes:
    """The first bytes of a pipe; empty as soon as somebody has opened it to write, and writes later."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            found = os.read(descriptor, 1)
        except BlockingIOError:  # it has a writer
            return b""
        if found:
            return found
        if time.monotonic() > end:  # no byte and no writer
            raise OSError(errno.EPIPE, f"nothing was written to this pipe within {PATIENCE:.0f} s", name)
        time.sleep(0.05)
