"""What a verification says: checks, what is noted for them, and the configurations and platforms that they compare."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from tallyman.domain.images.documents import bad, kind, load_object, optional_text, texts
from tallyman.domain.images.manifest import Platform
from tallyman.domain.names import Digest
from tallyman.values import value

Verdict = Literal["passed", "failed", "unknown"]

CONFIG_TYPES = frozenset({"application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"})
"""Configurations that say what an image runs on. Those of other artifacts (charts, signatures) are only bytes."""

MAX_CONFIG_BYTES = 8 * 1024 * 1024
"""The largest configuration that is read. Real ones have some kilobytes."""

_REASONS = 5  # that one check spells out; it counts the rest


@value
class Check:
    """One thing looked at. `reason` is one line for people, in a passed check too: what was looked at."""

    name: str
    verdict: Verdict
    reason: str

    def as_json(self) -> dict[str, str]:
        """The form of `show --json` and of the fact."""
        return {"name": self.name, "verdict": self.verdict, "reason": self.reason}


@value
class Verification:
    """All checks. `verdict`: failed if any failed, else unknown if any is unknown (worth a retry), else passed."""

    checks: tuple[Check, ...]

    @property
    def verdict(self) -> Verdict:
        """Unknown without any check: nothing was looked at."""
        found = {check.verdict for check in self.checks}
        return "failed" if "failed" in found else "unknown" if "unknown" in found or not found else "passed"

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it did not pass, `check: reason` each."""
        return tuple(f"{c.name}: {c.reason}" for c in self.checks if c.verdict == self.verdict != "passed")


def check(name: str, failed: Sequence[str], unknown: Sequence[str], passed: str) -> Check:
    """The check whose reasons are the failures, or else the unknowns, or else `passed`."""
    if failed:
        return Check(name, "failed", _listed(failed))
    if unknown:
        return Check(name, "unknown", _listed(unknown))
    return Check(name, "passed", passed)


@dataclass
class Finding:
    """What speaks against a check's passing, and what to say if nothing does."""

    failed: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    passed: str = ""


class Notes:
    """What is found while an image is looked at, by the name of the check; the checks in the order in which they were
    begun."""

    def __init__(self) -> None:
        self._findings: dict[str, Finding] = {}

    def of(self, name: str) -> Finding:
        """That of the check, which is begun if need be."""
        return self._findings.setdefault(name, Finding())

    @property
    def doubtful(self) -> bool:
        """Whether something could not be read for now."""
        return any(finding.unknown for finding in self._findings.values())

    def checks(self) -> list[Check]:
        """A check of each finding."""
        return [check(name, n.failed, n.unknown, n.passed) for name, n in self._findings.items()]


@value
class ImageConfig:
    """What an image's configuration says of itself; `platform` None where it names neither system nor architecture."""

    platform: Platform | None
    labels: Mapping[str, str] = field(default_factory=dict)
    created: str | None = None

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """From the raw bytes; BadManifest that says what is wrong."""
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

    def as_json(self) -> dict[str, Any]:
        """The form of `show --json` and of the facts."""
        return {
            "os": self.os,
            "architecture": self.architecture,
            "variant": self.variant,
            "digest": str(self.digest),
            "size": self.size,
        }


def same_platform(one: Platform, other: Platform) -> bool:
    """Whether both mean the same machine. A variant that only one of them names is no difference: builders write
    linux/arm64 beside a configuration of linux/arm64/v8."""
    return (one.os, one.architecture) == (other.os, other.architecture) and (
        one.variant == other.variant or not one.variant or not other.variant
    )


def missing_platforms(wanted: Iterable[str], found: Sequence[Platform]) -> list[str]:
    """Those of the wanted (`linux/amd64`, `linux/arm/v7`) that no image is for."""
    return [w for w in wanted if not any(_serves(p, w) for p in found)]


def _serves(platform: Platform, wanted: str) -> bool:
    system, _, rest = wanted.partition("/")
    architecture, _, variant = rest.partition("/")
    return same_platform(platform, Platform(system, architecture, variant or None))


def _listed(reasons: Sequence[str]) -> str:
    distinct = list(dict.fromkeys(reasons))
    more = f"; and {len(distinct) - _REASONS} more" if len(distinct) > _REASONS else ""
    return "; ".join(distinct[:_REASONS]) + more


def many(count: int, what: str) -> str:
    """The number with its noun: `1 layer`, `3 layers`."""
    return f"{count} {what}{'' if count == 1 else 's'}"
