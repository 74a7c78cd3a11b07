"""Package URLs (purl): what a statement names, and whether that is a package that a scanner found."""

import re
from collections.abc import Mapping

from tallyman.values import value

LONGEST = 500
"""Characters of a purl that is read."""

_TYPES: Mapping[str, frozenset[str]] = {
    "OS": frozenset({"deb", "rpm", "apk", "alpm"}),
    "NPM": frozenset({"npm"}),
    "YARN": frozenset({"npm"}),
    "NODEPKG": frozenset({"npm"}),
    "PIP": frozenset({"pypi"}),
    "PIPENV": frozenset({"pypi"}),
    "POETRY": frozenset({"pypi"}),
    "PYTHONPKG": frozenset({"pypi"}),
    "GOBINARY": frozenset({"golang"}),
    "GOMOD": frozenset({"golang"}),
    "JAR": frozenset({"maven"}),
    "POM": frozenset({"maven"}),
    "BUNDLER": frozenset({"gem"}),
    "GEMSPEC": frozenset({"gem"}),
    "CARGO": frozenset({"cargo"}),
    "COMPOSER": frozenset({"composer"}),
    "NUGET": frozenset({"nuget"}),
    "DOTNET_CORE": frozenset({"nuget"}),
}
"""Types of purls by Inspector's `packageManager`."""
_JOINED = {"npm": "/", "golang": "/", "composer": "/", "maven": ":"}
"""How the namespace belongs to the name of a package; of other types it does not."""


@value
class Purl:
    """`name`: as scanners name the package, with the namespace where it is part of the name. `version` of a package of
    a distribution: `<epoch>:` where it is not 0, version, `-<release>`."""

    type: str
    name: str
    version: str | None
    qualifiers: Mapping[str, str]

    @classmethod
    def parse(cls, text: str) -> "Purl | None":
        """None where it is no purl."""
        if not text.startswith("pkg:") or len(text) > LONGEST:
            return None
        path, _, query = text.removeprefix("pkg:").partition("#")[0].partition("?")
        # the version follows the last @ of the last segment: scopes of npm begin with one
        head, _, last = path.strip("/").rpartition("/")
        name, at, version = last.rpartition("@") if "@" in last[1:] else (last, "", "")
        kind, *namespace = head.split("/")
        if not kind or not name:
            return None
        kind, name = kind.lower(), _decoded(name)
        joint = _JOINED.get(kind)
        if joint is not None and namespace:
            name = _decoded("/".join(namespace)) + joint + name
        pairs = (pair.partition("=") for pair in query.split("&") if pair)
        qualifiers = {key.lower(): _decoded(found) for key, _, found in pairs}
        epoch = qualifiers.get("epoch", "0")
        whole = _decoded(version) if at else None
        if whole is not None and epoch not in ("", "0"):
            whole = f"{epoch}:{whole}"
        return cls(kind, name, whole, qualifiers)

    @property
    def digest(self) -> str | None:
        """The `sha256:<hex>` of an image; None: it names none."""
        version = self.version or ""
        return version if self.type == "oci" and version.startswith("sha256:") else None

    def names(self, package: "Package") -> bool:
        """Whether it is certain that this is the package."""
        return (
            self.type in _TYPES.get(package.manager or "", ())
            and self._has_name(package.name)
            and (self.version is None or self.version == package.version)
        )

    def may_name(self, package: "Package") -> bool:
        """Whether it is possible that this is the package: what is not known of it excludes nothing."""
        return (
            (package.manager not in _TYPES or self.type in _TYPES[package.manager or ""])
            and self._has_name(package.name)
            and (None in (self.version, package.version) or self.version == package.version)
        )

    def _has_name(self, name: str) -> bool:
        return _folded(self.type, self.name) == _folded(self.type, name)


@value
class Package:
    """A package that a scanner found: its name, its version (with epoch and release, see `Purl`), and Inspector's name
    of what manages it (`OS`, `NPM`, …). None: the scanner does not say."""

    name: str
    version: str | None = None
    manager: str | None = None


def _folded(kind: str, name: str) -> str:
    """A name as packages of this type are compared."""
    if kind == "pypi":
        return name.lower().replace("_", "-").replace(".", "-")
    return name.lower() if kind in ("nuget", "composer") else name


def _decoded(text: str) -> str:
    """Without percent encoding."""
    raw = re.sub(rb"%([0-9A-Fa-f]{2})", lambda found: bytes.fromhex(found[1].decode()), text.encode(errors="replace"))
    return raw.decode(errors="replace")
