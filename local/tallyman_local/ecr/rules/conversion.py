"""Manifests as a client that pulls by tag understands them ("image-manifest-formats" of ECR's user guide).

OCI images become Docker's schema 2 and back where the client names only the other one. By digest nothing is converted.
Left as stored: indexes, artifacts, layers without a counterpart in the other format, and everything for a client that
names neither format (ECR makes schema 1 for such a client; no source has its signed text).
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from tallyman.domain.names import Digest
from tallyman_local.ecr.manifests import IMAGES
from tallyman_local.ecr.store.rows import ImageRow

_OCI, _DOCKER = IMAGES
_PAIRS = [
    (_OCI, _DOCKER),
    ("application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"),
    ("application/vnd.oci.image.layer.v1.tar+gzip", "application/vnd.docker.image.rootfs.diff.tar.gzip"),
    ("application/vnd.oci.image.layer.v1.tar", "application/vnd.docker.image.rootfs.diff.tar"),
    (
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    ),
]
_NAMES = {_DOCKER: dict(_PAIRS), _OCI: {docker: oci for oci, docker in _PAIRS}}
#: What a descriptor of an image holds in both formats.
_DESCRIPTOR = ("mediaType", "size", "digest", "urls")


@dataclass(frozen=True)
class AnsweredManifest:
    """A manifest as it is answered: bytes, their digest, their media type."""

    raw: bytes
    digest: Digest
    media_type: str


def acceptable(listed: Iterable[str]) -> frozenset[str]:
    """The media types of `Accept` headers, or of `acceptedMediaTypes`, without their parameters."""
    return frozenset(one.partition(";")[0].strip().lower() for text in listed for one in text.split(","))


def for_client(raw: bytes, image: ImageRow, accepted: frozenset[str]) -> AnsweredManifest:
    """The manifest for a client that accepts these media types: as stored, unless it accepts only the other format."""
    wanted = {_OCI: _DOCKER, _DOCKER: _OCI}.get(image.media_type)
    if wanted in accepted and image.media_type not in accepted and not accepted & {"*/*", "application/*"}:
        converted = _converted(raw, wanted)
        if converted is not None:
            return AnsweredManifest(converted, Digest.of(converted), wanted)
    return AnsweredManifest(raw, image.digest, image.media_type)


def _converted(raw: bytes, wanted: str) -> bytes | None:
    """The manifest in the other format, or None where it has no counterpart there."""
    manifest, names = json.loads(raw), _NAMES[wanted]
    described = [manifest["config"], *manifest["layers"]]
    if any(str(one.get("mediaType")) not in names for one in described):
        return None
    config, *layers = [
        {key: names[one[key]] if key == "mediaType" else one[key] for key in _DESCRIPTOR if key in one}
        for one in described
    ]
    made = {"schemaVersion": 2, "mediaType": wanted, "config": config, "layers": layers}
    return json.dumps(made, indent=3).encode()
