"""Reads the modules that Go 1.18 and later write into a program."""

from collections.abc import Iterator
from mmap import mmap

from tallyman_cli.sbom.databases import Unreadable
from tallyman_cli.sbom.packages import Package

_MAGIC = b"\xff Go buildinf:"
_ALIGNED = 16
_HEAD = 32
_INLINE = 2
_SENTINEL = 16
_LONGEST = 16 * 1024 * 1024


def modules(file: mmap, start: int, size: int) -> Iterator[Package]:
    """The modules of the Go program in this part of a file; none if it is another program. Raises Unreadable if Go
    before 1.18 built it, or without modules."""
    at = file.find(_MAGIC, start, start + size)
    while at >= 0 and (at - start) % _ALIGNED:  # a program that reads such programs holds the magic elsewhere too
        at = file.find(_MAGIC, at + 1, start + size)
    if at < 0 or at + _HEAD > start + size:
        return
    if not file[at + 15] & _INLINE:
        raise Unreadable("a Go program was built before Go 1.18")
    version, at = _string(file, at + _HEAD, start + size)
    described, _ = _string(file, at, start + size)
    lines = described[_SENTINEL:-_SENTINEL].decode(errors="replace").splitlines()
    if not any(line.startswith("mod\t") for line in lines):
        raise Unreadable("a Go program that was built without modules")
    if number := version.decode(errors="replace").split()[:1]:
        yield Package("golang", "", "stdlib", number[0].removeprefix("go"))
    last: list[str] = []
    for line in lines:
        kind, *words = line.split("\t")
        if kind in ("mod", "dep"):
            yield from _module(last)
            last = words
        elif kind == "=>":
            last = words
    yield from _module(last)


def _module(words: list[str]) -> Iterator[Package]:
    if words and words[0]:
        namespace, _, name = words[0].rpartition("/")
        version = words[1] if len(words) > 1 else ""
        yield Package("golang", namespace, name, "" if version == "(devel)" else version)


def _string(file: mmap, at: int, end: int) -> tuple[bytes, int]:
    """Read a string and its end. Its length is before it, in groups of seven bits, the lowest first."""
    length = shift = 0
    while at < end:
        byte = file[at]
        at += 1
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    if length > min(_LONGEST, end - at):
        raise Unreadable("the build information of a Go program can't be read")
    return file[at : at + length], at + length
