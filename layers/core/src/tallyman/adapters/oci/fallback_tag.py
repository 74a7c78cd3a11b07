"""Referrers where a registry has no API for them: an index at the tag `sha256-<hex>` (OCI distribution 1.1)."""

import json
from typing import Any

from tallyman.domain.images.manifest import OCI_INDEX, Descriptor, Manifest
from tallyman.domain.names import Digest
from tallyman.errors import BadManifest


def tag_of(subject: Digest) -> str:
    """The tag at which the referrers of a subject are listed."""
    return f"sha256-{subject.hex}"


def descriptors(raw: bytes) -> list[Descriptor]:
    """What an index of referrers lists; nothing where it is damaged: a bad list must not stop the image."""
    try:
        return list(Manifest.parse(raw, OCI_INDEX).children)
    except BadManifest:
        return []


def listed(manifest: Manifest) -> dict[str, Any]:
    """A referrer as such an index has it."""
    entry: dict[str, Any] = {
        "mediaType": manifest.media_type,
        "digest": str(manifest.digest),
        "size": len(manifest.raw),
    }
    if manifest.artifact_type:
        entry["artifactType"] = manifest.artifact_type
    if manifest.annotations:
        entry["annotations"] = dict(manifest.annotations)
    return entry


def merged(now: bytes | None, entry: dict[str, Any]) -> bytes:
    """The index with one more entry."""
    document: dict[str, Any] = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
    if now:
        document = json.loads(now)
    document["manifests"] = [*document["manifests"], entry]
    return json.dumps(document, separators=(",", ":")).encode()
