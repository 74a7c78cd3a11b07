"""Manifests and indexes: raw bytes are the truth, the parsed form is a view."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from tallyman.domain.names import Digest


@dataclass(frozen=True, slots=True)
class Platform:
    """Where an image runs, as OCI writes it; `unknown/unknown` marks an attestation."""

    os: str
    architecture: str
    variant: str | None = None

    def __str__(self) -> str:
        return "/".join(p for p in (self.os, self.architecture, self.variant) if p)


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A pointer to content: `size` in bytes."""

    media_type: str
    digest: Digest
    size: int
    platform: Platform | None = None
    artifact_type: str | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    urls: tuple[str, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """A manifest or index exactly as received."""

    raw: bytes
    media_type: str

    @cached_property
    def digest(self) -> Digest:
        """The SHA-256 of the raw bytes."""
        return Digest.of(self.raw)
