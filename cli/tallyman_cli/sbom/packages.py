"""Values: a package, and the packages of an image."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote


@dataclass(frozen=True, slots=True, order=True)
class Package:
    """A package. `kind`: the type of its package URL (deb, rpm, apk, pypi, npm, golang); `namespace`: a distribution,
    the scope of npm, the path of a Go module; `version` empty: unknown; `qualifiers`: architecture, epoch."""

    kind: str
    namespace: str
    name: str
    version: str
    qualifiers: tuple[tuple[str, str], ...] = ()

    @property
    def purl(self) -> str:
        """The package URL: https://github.com/package-url/purl-spec."""
        name = self.name.lower().replace("_", "-") if self.kind == "pypi" else self.name
        path = [part for part in (*self.namespace.split("/"), name) if part]
        text = "/".join(_quoted(part) for part in path)
        text = f"pkg:{self.kind}/{text.lower() if self.kind == 'golang' else text}"
        text += f"@{_quoted(self.version)}" if self.version else ""
        words = [f"{key}={_quoted(value)}" for key, value in sorted(self.qualifiers) if value]
        return text + (f"?{'&'.join(words)}" if words else "")


@dataclass(frozen=True, slots=True)
class Contents:
    """The packages of an image, in order. `gaps`: what it holds and was not read, each in a few words."""

    packages: tuple[Package, ...] = ()
    gaps: tuple[str, ...] = ()


def distribution(os_release: Mapping[str, str]) -> str:
    """The namespace of a distribution's packages: the ID of its os-release."""
    return os_release.get("ID", "").lower()


def _quoted(text: str) -> str:
    return quote(text, safe="").replace("%3A", ":")
