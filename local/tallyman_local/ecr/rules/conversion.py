"""Convert manifests to a format that the client accepts ("image-manifest-formats" of ECR's user guide).

OCI images become Docker's schema 2 and back, where the client pulls by tag and accepts only the other format. Not
converted are indexes, artifacts, images with layers that the other format lacks, and any manifest for a client that
accepts neither format (ECR makes schema 1 then; no source documents its signed text).
"""

import json
from collections.abc import Iterable

from tallyman.domain.images.manifest import DOCKER_LAYER, OCI_LAYER, Manifest
from tallyman_local.ecr.manifests import IMAGE_CONFIGS, IMAGES
from tallyman_local.ecr.store.rows import ImageRow

_OCI, _DOCKER = IMAGES
_PAIRS = [
    IMAGES,
    IMAGE_CONFIGS,
    (OCI_LAYER, DOCKER_LAYER),
    ("application/vnd.oci.image.layer.v1.tar", "application/vnd.docker.image.rootfs.diff.tar"),
    (
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    ),
]
_NAMES = {_DOCKER: dict(_PAIRS), _OCI: {docker: oci for oci, docker in _PAIRS}}
#: The keys of a descriptor that both formats have.
_DESCRIPTOR = ("mediaType", "size", "digest", "urls")


def acceptable(listed: Iterable[str]) -> frozenset[str]:
    """The media types in `Accept` headers or `acceptedMediaTypes`, without parameters, in lower case."""
    return frozenset(one.partition(";")[0].strip().lower() for text in listed for one in text.split(","))


def for_client(raw: bytes, image: ImageRow, accepted: frozenset[str]) -> Manifest:
    """The manifest for a client that accepts these media types: converted where it accepts only the other format."""
    wanted = {_OCI: _DOCKER, _DOCKER: _OCI}.get(image.media_type)
    if wanted in accepted and image.media_type not in accepted and not accepted & {"*/*", "application/*"}:
        converted = _converted(raw, wanted)
        if converted is not None:
            return Manifest(converted, wanted)
    return Manifest(raw, image.media_type)


def _converted(raw: bytes, wanted: str) -> bytes | None:
    """The manifest in the other format; None where that format lacks a media type of it."""
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
