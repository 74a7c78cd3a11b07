"""Parse a pushed manifest as ECR does: kind, media types, layers, children and subject."""

import json
from dataclasses import dataclass, field
from typing import Any

from tallyman.domain.images.manifest import (
    DOCKER_CONFIG,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    MAX_MANIFEST_BYTES,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
)
from tallyman.domain.names import Digest
from tallyman_local.ecr.errors import EcrError, invalid, unsupported_manifest

INDEXES = (OCI_INDEX, DOCKER_LIST)
IMAGES = (OCI_MANIFEST, DOCKER_MANIFEST)
#: Media types of configurations of container images; an image with another one is an artifact (a chart, an SBOM).
IMAGE_CONFIGS = (OCI_CONFIG, DOCKER_CONFIG)
_FOREIGN = ("application/vnd.docker.image.rootfs.foreign.", "application/vnd.oci.image.layer.nondistributable.")


@dataclass(frozen=True)
class ParsedManifest:
    """A parsed manifest; `raw` is stored and served."""

    raw: bytes
    digest: Digest
    media_type: str
    blobs: tuple[Digest, ...] = ()
    children: tuple[Digest, ...] = ()
    artifact_type: str | None = None
    subject: Digest | None = None
    annotations: dict[str, str] = field(default_factory=dict)
    attestation: bool = False

    @property
    def is_index(self) -> bool:
        """Whether it is an index or a manifest list."""
        return self.media_type in INDEXES

    @property
    def scannable(self) -> bool:
        """Whether basic scanning accepts it: images only, no indexes, artifacts or attestations."""
        return not self.is_index and self.artifact_type in IMAGE_CONFIGS and not self.attestation


def _bad(reason: str) -> EcrError:
    return invalid("ImageManifest", reason)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)


def _text(value: object, what: str) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not _is_text(value):
        raise _bad(f"{what} must be a string")
    return value


def _digests(descriptors: object, what: str) -> tuple[list[dict[str, Any]], list[Digest]]:
    if not isinstance(descriptors, list) or not all(isinstance(d, dict) for d in descriptors):
        raise _bad(f"{what} must be a list of descriptors")
    try:
        return descriptors, [Digest.parse(d["digest"]) for d in descriptors]
    except (KeyError, ValueError, TypeError) as error:
        raise _bad(f"{what} has a descriptor without a valid digest") from error


def parse(raw: bytes, media_type: str | None) -> ParsedManifest:  # noqa: C901 - one check after another, in ECR's order
    """Parse a pushed manifest. Its kind is its own `mediaType`, or else the `media_type` of the request.

    Raises InvalidParameterException, also for schema 1, for unknown kinds and where there is no media type.
    """
    if len(raw) > MAX_MANIFEST_BYTES:
        raise _bad(f"must have length less than or equal to {MAX_MANIFEST_BYTES}")
    try:
        body = json.loads(raw.decode())  # UTF-8 only: json.loads would accept UTF-16 too
    except (ValueError, RecursionError) as error:
        raise _bad("Invalid JSON syntax") from error
    if not isinstance(body, dict):
        raise _bad("Invalid JSON syntax")
    given = (media_type or "").split(";")[0].strip() or None
    written = body.get("mediaType")
    if given and written and given != written and given not in ("application/json", "application/octet-stream"):
        raise _bad(f"Manifest media type '{written}' does not match '{given}'")
    kind = written or given
    if kind is None:
        raise invalid("imageManifestMediaType", "must not be null where the manifest has no mediaType")
    if kind not in INDEXES + IMAGES:
        raise unsupported_manifest(kind)
    if body.get("schemaVersion") != 2:
        raise _bad("schemaVersion must be 2")
    subject = None
    if body.get("subject") is not None:
        subject = _digests([body["subject"]], "subject")[1][0]
    digest, annotations = Digest.of(raw), body.get("annotations") or {}
    if not isinstance(annotations, dict) or not all(_is_text(value) for value in [*annotations, *annotations.values()]):
        raise _bad("annotations must map strings to strings")
    if kind in INDEXES:
        _, children = _digests(body.get("manifests"), "manifests")
        listed = _text(body.get("artifactType"), "artifactType")
        return ParsedManifest(raw, digest, kind, (), tuple(children), listed, subject, annotations)
    configs, config = _digests([body.get("config")], "config")
    layers, layer_digests = _digests(body.get("layers"), "layers")
    needed = [
        d for layer, d in zip(layers, layer_digests, strict=True)
        if not str(layer.get("mediaType", "")).startswith(_FOREIGN)
    ]  # fmt: skip
    artifact = _text(body.get("artifactType") or configs[0].get("mediaType"), "artifactType")
    attestation = bool(layers) and all("in-toto" in str(layer.get("mediaType", "")) for layer in layers)
    return ParsedManifest(raw, digest, kind, (*config, *needed), (), artifact, subject, annotations, attestation)
