"""Results of a verification: checks and the notes for them; and the configurations and platforms that they compare."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Self

from tallyman.domain.images.documents import bad, kind, load_object, optional_text, texts
from tallyman.domain.images.manifest import DOCKER_CONFIG, OCI_CONFIG, Platform
from tallyman.domain.names import Digest
from tallyman.values import value

Verdict = Literal["passed", "failed", "unknown"]

CONFIG_TYPES = frozenset({OCI_CONFIG, DOCKER_CONFIG})
"""Media types of configurations that name a platform. Those of other artifacts (charts, signatures) are not read."""

MAX_CONFIG_BYTES = 8 * 1024 * 1024
"""The largest configuration that is read. Usual ones have some kilobytes."""

_REASONS = 5  # the number of reasons that one check lists; it counts the rest


@value
class Check:
    """One check. `reason` is one line for people; in a passed check, it says what was checked."""

    name: str
    verdict: Verdict
    reason: str


@value
class Verification:
    """All checks of one image."""

    checks: tuple[Check, ...]

    @property
    def verdict(self) -> Verdict:
        """Failed if any check failed, else unknown if any is unknown (a retry may help) or there is none, else
        passed."""
        found = {check.verdict for check in self.checks}
        return "failed" if "failed" in found else "unknown" if "unknown" in found or not found else "passed"


def check(name: str, failed: Sequence[str], unknown: Sequence[str], passed: str) -> Check:
    """The check `name`: failed if there are failures, else unknown if there are unknowns, else passed."""
    if failed:
        return Check(name, "failed", _listed(failed))
    if unknown:
        return Check(name, "unknown", _listed(unknown))
    return Check(name, "passed", passed)


@dataclass
class Finding:
    """The notes for one check: reasons why it fails, reasons why it is unknown, and its reason if it passes."""

    failed: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    passed: str = ""


class Notes:
    """The findings about an image while it is read, by the name of the check, in the order in which checks were
    begun."""

    def __init__(self) -> None:
        self._findings: dict[str, Finding] = {}

    def of(self, name: str) -> Finding:
        """The finding of the check `name`; begins the check if it is new."""
        return self._findings.setdefault(name, Finding())

    @property
    def doubtful(self) -> bool:
        """Whether any check is unknown: something could not be read for now."""
        return any(finding.unknown for finding in self._findings.values())

    def checks(self) -> list[Check]:
        """The check of each finding."""
        return [check(name, n.failed, n.unknown, n.passed) for name, n in self._findings.items()]


@value
class ImageConfig:
    """An image's configuration. `platform` None: it names neither system nor architecture; `created`: as written."""

    platform: Platform | None
    labels: Mapping[str, str] = field(default_factory=dict)
    created: str | None = None

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Parse the raw bytes. Raises BadManifest that says what is wrong."""
        document = load_object(raw, "configuration")
        system = optional_text(document, "os")
        architecture = optional_text(document, "architecture")
        variant = optional_text(document, "variant") or None
        inner = document.get("config")
        if inner is not None and not isinstance(inner, dict):
            bad("config", f"expected an object, found {kind(inner)}")
        return cls(
            platform=Platform(system, architecture, variant) if system or architecture else None,
            labels=texts((inner or {}).get("Labels"), "config.Labels"),
            created=optional_text(document, "created") or None,
        )


@value
class PlatformImage:
    """One platform of an image: `size` is compressed bytes of its configuration and layers."""

    os: str
    architecture: str
    variant: str | None
    digest: Digest
    size: int | None

    @property
    def platform(self) -> Platform:
        return Platform(self.os, self.architecture, self.variant)


def same_platform(one: Platform, other: Platform) -> bool:
    """Whether both are the same platform. A variant that only one of them has is ignored: builders write linux/arm64
    for an image whose configuration says linux/arm64/v8."""
    return (one.os, one.architecture) == (other.os, other.architecture) and (
        one.variant == other.variant or not one.variant or not other.variant
    )


def missing_platforms(wanted: Iterable[str], found: Sequence[Platform]) -> list[str]:
    """The `wanted` platforms (`linux/amd64`, `linux/arm/v7`) that are not among those `found`."""
    return [w for w in wanted if not any(_serves(p, w) for p in found)]


def _serves(platform: Platform, wanted: str) -> bool:
    system, _, rest = wanted.partition("/")
    architecture, _, variant = rest.partition("/")
    return same_platform(platform, Platform(system, architecture, variant or None))


def _listed(reasons: Sequence[str]) -> str:
    distinct = list(dict.fromkeys(reasons))
    more = f"; and {len(distinct) - _REASONS} more" if len(distinct) > _REASONS else ""
    return "; ".join(distinct[:_REASONS]) + more
