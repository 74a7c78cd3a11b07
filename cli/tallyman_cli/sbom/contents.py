"""Finds the packages of an image: reads its layers one by one, and puts later ones over earlier ones."""

import mmap
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from tallyman_cli.sbom import databases, go_binaries
from tallyman_cli.sbom.databases import Unreadable
from tallyman_cli.sbom.packages import Contents, Package, distribution

Reader = Callable[[bytes], Iterable[Package]]

_READERS: tuple[tuple[re.Pattern[str], Reader], ...] = tuple(
    (re.compile(pattern), reader)
    for pattern, reader in (
        (r"var/lib/dpkg/status(\.d/[^/]+)?", databases.dpkg),
        (r"(usr/)?lib/apk/db/installed", databases.apk),
        (r"(var/lib|usr/lib/sysimage|usr/share)/rpm/(rpmdb\.sqlite|Packages|Packages\.db)", databases.rpm),
        (r".*\.dist-info/METADATA|.*\.egg-info(/PKG-INFO)?", databases.python),
        (r"(.*/)?node_modules/(@[^/]+/)?[^/@.][^/]*/package\.json", databases.npm),
    )
)
_OS_RELEASE = ("etc/os-release", "usr/lib/os-release")
_NOT_READ = {
    re.compile(r".*\.(jar|war|ear)"): "Java archives",
    re.compile(r".*/specifications/[^/]+\.gemspec"): "Ruby gems",
    re.compile(r".*/composer/installed\.json"): "PHP packages",
    re.compile(r".*\.deps\.json"): ".NET packages",
    re.compile(r".*/rpm/rpmdb\.sqlite-wal"): "a log of the RPM database",
}
_OF_DISTRIBUTIONS = ("deb", "rpm", "apk")
_LARGEST = 256 * 1024 * 1024
_ELF = b"\x7fELF"
LOOKED_FOR = "packages of Debian, Alpine and RPM, of Python and npm, and the modules of Go programs"
"""The kinds of packages, in words. Code that was compiled in otherwise (C, C++, Rust) leaves no trace."""


@dataclass(slots=True)
class Layer:
    """What one layer holds: by path, its packages, what could not be read (`gaps`), and the fields of os-release; the
    paths that it removes, or whose content it removes (`emptied`); and its files."""

    packages: dict[str, tuple[Package, ...]] = field(default_factory=dict)
    gaps: dict[str, str] = field(default_factory=dict)
    releases: dict[str, dict[str, str]] = field(default_factory=dict)
    removed: set[str] = field(default_factory=set)
    emptied: set[str] = field(default_factory=set)
    files: set[str] = field(default_factory=set)


UNKNOWN = Layer(gaps={"": "a layer compressed with zstd"})
"""A layer that can't be read."""


def look_into(plain: Path) -> Layer:
    """Read the packages of a layer, a tar without compression. Cost: one pass, and memory for the largest database."""
    layer = Layer()
    with tarfile.open(plain) as archive, _mapped(plain) as mapped:
        for entry in archive:
            path = entry.name.removeprefix("./").strip("/")
            folder, _, name = path.rpartition("/")
            if name == ".wh..wh..opq":
                layer.emptied.add(folder)
            elif name.startswith(".wh."):
                layer.removed.add(f"{folder}/{name[4:]}".lstrip("/"))
            elif entry.isreg():
                _file(layer, path, mapped, entry)
            elif not entry.isdir():
                layer.files.add(path)
    return layer


def combine(layers: Iterable[Layer]) -> Contents:
    """The packages of an image of these layers, the last one on top."""
    packages: dict[str, tuple[Package, ...]] = {}
    gaps: dict[str, str] = {}
    releases: dict[str, dict[str, str]] = {}
    for number, layer in enumerate(layers):
        for known in (packages, gaps, releases):
            for path in [path for path in known if path and _hides(layer, path)]:
                del known[path]
        packages |= layer.packages
        gaps |= {path or f"//{number}": text for path, text in layer.gaps.items()}
        releases |= layer.releases
    release = next((releases[path] for path in _OS_RELEASE if path in releases), {})
    found = {_placed(package, release) for each in packages.values() for package in each}
    return Contents(tuple(sorted(found)), tuple(sorted(set(gaps.values()))))


def _hides(layer: Layer, path: str) -> bool:
    parts = path.split("/")
    above = ["/".join(parts[:count]) for count in range(len(parts))]
    paths = {path, *above}
    return bool(layer.files & paths or layer.removed & paths or layer.emptied & set(above))


def _placed(package: Package, release: dict[str, str]) -> Package:
    """The package with the distribution's namespace, if it is a package of one."""
    if package.kind not in _OF_DISTRIBUTIONS:
        return package
    name, version = distribution(release), release.get("VERSION_ID", "")
    more = (("distro", f"{name}-{version}"),) if name and version else ()
    qualifiers = tuple(q for q in (*package.qualifiers, *more) if q[1])
    namespace = name or {"apk": "alpine", "deb": "debian"}.get(package.kind, "")
    return replace(package, namespace=namespace, qualifiers=qualifiers)


def _file(layer: Layer, path: str, mapped: mmap.mmap, entry: tarfile.TarInfo) -> None:
    layer.files.add(path)
    if path in _OS_RELEASE:
        layer.releases[path] = databases.os_release(mapped[entry.offset_data : entry.offset_data + entry.size])
        return
    try:
        found = tuple(_packages(path, mapped, entry))
    except Unreadable as error:
        layer.gaps[path] = str(error)
        return
    if found:
        layer.packages[path] = found


def _packages(path: str, mapped: mmap.mmap, entry: tarfile.TarInfo) -> Iterable[Package]:
    """The packages that a file names. Raises Unreadable if it names packages in a form that is not read."""
    start, size = entry.offset_data, entry.size
    if reader := next((reader for pattern, reader in _READERS if pattern.fullmatch(path)), None):
        if size > _LARGEST:
            raise Unreadable(f"{path}, which is larger than {_LARGEST} bytes")
        return reader(mapped[start : start + size])
    if size and (what := next((what for pattern, what in _NOT_READ.items() if pattern.fullmatch(path)), None)):
        raise Unreadable(what)
    if entry.mode & 0o111 and mapped[start : start + 4] == _ELF:
        return go_binaries.modules(mapped, start, size)
    return ()


@contextmanager
def _mapped(file: Path) -> Iterator[mmap.mmap]:
    """A file's bytes without reading them all."""
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as found:
        yield found
