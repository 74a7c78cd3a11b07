"""SBOMs: SPDX, CycloneDX or Syft's own format, as JSON; bare or in an in-toto statement, signed or not."""

import binascii
from collections.abc import Mapping
from typing import Any

from tallyman.domain.images.documents import Json, loads, objects
from tallyman.domain.images.manifest import Descriptor, Manifest
from tallyman.domain.images.provenance import predicate_of

SPDX = "application/spdx+json"
CYCLONEDX = "application/vnd.cyclonedx+json"

BEGINNINGS = (
    "application/spdx",
    "text/spdx",
    "application/vnd.cyclonedx",
    "application/vnd.syft",
    "https://spdx.dev/",
    "https://cyclonedx.org/",
)
"""Prefixes of the artifact types and predicate types of SBOMs."""

MAX_BYTES = 256 * 1024
"""Larger documents are not read: an SBOM without packages is small."""

_NO_PACKAGES = ("operating-system", "container", "file", "platform")
"""CycloneDX's types and SPDX's purposes, in lower case, of components that contain packages and are none."""


def documents(referrer: Manifest) -> list[Descriptor]:
    """The descriptors of the SBOMs in a referrer. Sigstore's bundles are named by the referrer's own annotations."""
    whole = any(
        name.startswith(BEGINNINGS) for name in (referrer.artifact_type or "", predicate_of(referrer.annotations))
    )
    return [
        layer
        for layer in referrer.layers
        if whole or layer.media_type.startswith(BEGINNINGS) or predicate_of(layer.annotations).startswith(BEGINNINGS)
    ]


def packages_in(raw: bytes) -> int | None:
    """The number of packages in an SBOM; None: the bytes are not JSON, or not a known format."""
    try:
        return package_count(loads(raw))
    except ValueError:
        return None


def package_count(document: Any) -> int | None:
    """The number of packages in an SBOM, without the image that it describes; None: not a known format."""
    sbom = unwrapped(document)
    if "spdxVersion" in sbom:
        return _of_spdx(sbom)
    if sbom.get("bomFormat") == "CycloneDX":
        return _of_cyclonedx(sbom)
    if "artifacts" in sbom and "descriptor" in sbom:
        return len(objects(sbom, "artifacts"))
    return None


def unwrapped(document: Any) -> Json:
    """The SBOM inside a Sigstore bundle, a DSSE envelope and an in-toto statement, each of which may be missing. Empty
    where it is not an object, or a payload is not JSON in base64."""
    while isinstance(document, Mapping):
        if isinstance(document.get("dsseEnvelope"), Mapping):
            document = document["dsseEnvelope"]
        elif isinstance(document.get("payload"), str) and "payloadType" in document:
            try:
                document = loads(binascii.a2b_base64(document["payload"]))
            except ValueError:
                return {}
        elif "predicateType" in document or "predicate" in document:
            document = document.get("predicate")
        else:
            return document
    return {}


def _of_cyclonedx(document: Json) -> int:
    """The number of packages; components may contain components."""
    waiting, count = objects(document, "components"), 0
    while waiting:
        component = waiting.pop()
        count += str(component.get("type")).lower() not in _NO_PACKAGES
        waiting += objects(component, "components")
    return count


def _of_spdx(document: Json) -> int:
    relations = objects(document, "relationships")
    described = {str(r.get("relatedSpdxElement")) for r in relations if r.get("relationshipType") == "DESCRIBES"}
    described |= {str(r.get("spdxElementId")) for r in relations if r.get("relationshipType") == "DESCRIBED_BY"}
    listed = document.get("documentDescribes")
    described |= {str(each) for each in listed} if isinstance(listed, list) else set()
    packages = [
        str(package.get("SPDXID"))
        for package in objects(document, "packages")
        if str(package.get("primaryPackagePurpose")).lower() not in _NO_PACKAGES
    ]
    inside = [identifier for identifier in packages if identifier not in described]
    # One described package is the image itself; where several are described, they are the packages.
    return len(inside) or (len(packages) if len(packages) > 1 else 0)
