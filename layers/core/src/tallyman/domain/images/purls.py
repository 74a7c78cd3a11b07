"""Package URLs (purl), and whether one names a package that a scanner found."""

import re
from collections.abc import Mapping

from tallyman.values import value

LONGEST = 500
"""The largest number of characters of a purl; a longer one is not read."""

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
"""The types of purls for each value of Inspector's `packageManager`."""
_JOINED = {"npm": "/", "golang": "/", "composer": "/", "maven": ":"}
"""What joins namespace and name to the package's name, by type; for other types, the namespace is not part of it."""


@value
class Purl:
    """A parsed purl. `name`: as scanners name the package, with the namespace where it is part of the name. `version`:
    for packages of a distribution `<epoch>:<version>-<release>`, without the epoch where it is 0."""

    type: str
    name: str
    version: str | None
    qualifiers: Mapping[str, str]

    @classmethod
    def parse(cls, text: str) -> "Purl | None":
        """Parse a purl; None: the text is not one."""
        if not text.startswith("pkg:") or len(text) > LONGEST:
            return None
        path, _, query = text.removeprefix("pkg:").partition("#")[0].partition("?")
        # the version follows the last @ of the last segment; scopes of npm also begin with @
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
        """The digest `sha256:<hex>` of the image that a purl of type `oci` names; None: it names none."""
        version = self.version or ""
        return version if self.type == "oci" and version.startswith("sha256:") else None

    def names(self, package: "Package") -> bool:
        """Whether the purl certainly names this package."""
        return (
            self.type in _TYPES.get(package.manager or "", ())
            and self._has_name(package.name)
            and (self.version is None or self.version == package.version)
        )

    def may_name(self, package: "Package") -> bool:
        """Whether the purl may name this package: an unknown manager or version excludes nothing."""
        return (
            (package.manager not in _TYPES or self.type in _TYPES[package.manager or ""])
            and self._has_name(package.name)
            and (None in (self.version, package.version) or self.version == package.version)
        )

    def _has_name(self, name: str) -> bool:
        return _folded(self.type, self.name) == _folded(self.type, name)


@value
class Package:
    """A package that a scanner found: its name, its version (with epoch and release, see `Purl`), and its manager in
    Inspector's words (`OS`, `NPM`, …). None: the scanner does not say."""

    name: str
    version: str | None = None
    manager: str | None = None


def _folded(kind: str, name: str) -> str:
    """The form of a name in which packages of this type are compared."""
    if kind == "pypi":
        return name.lower().replace("_", "-").replace(".", "-")
    return name.lower() if kind in ("nuget", "composer") else name


def _decoded(text: str) -> str:
    """The text without percent encoding."""
    raw = re.sub(rb"%([0-9A-Fa-f]{2})", lambda found: bytes.fromhex(found[1].decode()), text.encode(errors="replace"))
    return raw.decode(errors="replace")
