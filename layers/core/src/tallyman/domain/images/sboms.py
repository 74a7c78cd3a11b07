"""What an SBOM names: SPDX, CycloneDX or Syft's own, as JSON, bare, in an in-toto statement, signed or not."""

import binascii
from collections.abc import Mapping
from typing import Any

from tallyman.domain.images.documents import loads
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
"""How the artifact types and predicate types of SBOMs begin."""

MAX_BYTES = 256 * 1024
"""Larger documents are not read: one without a package is small."""

_NO_PACKAGES = ("operating-system", "container", "file", "platform")
"""CycloneDX's types and SPDX's purposes, in small letters, of what is no package: what packages are inside of."""


def documents(referrer: Manifest) -> list[Descriptor]:
    """The SBOMs that a referrer holds."""
    whole = (referrer.artifact_type or "").startswith(BEGINNINGS)
    return [
        layer
        for layer in referrer.layers
        if whole or layer.media_type.startswith(BEGINNINGS) or predicate_of(layer.annotations).startswith(BEGINNINGS)
    ]


def packages_in(raw: bytes) -> int | None:
    """How many packages a document names; None: it is not one that is known here."""
    try:
        return package_count(loads(raw))
    except ValueError:
        return None


def package_count(document: Any) -> int | None:
    """How many packages an SBOM names, what it describes (the image itself) left out. None: it is not an SBOM that is
    known here, so nothing can be said."""
    if not isinstance(document, Mapping):
        return None
    if isinstance(document.get("dsseEnvelope"), Mapping):  # a Sigstore bundle
        return package_count(document["dsseEnvelope"])
    if isinstance(document.get("payload"), str) and "payloadType" in document:
        try:
            return packages_in(binascii.a2b_base64(document["payload"]))
        except ValueError:
            return None
    if "predicateType" in document or "predicate" in document:
        return package_count(document.get("predicate"))
    if "spdxVersion" in document:
        return _of_spdx(document)
    if document.get("bomFormat") == "CycloneDX":
        return _of_cyclonedx(document)
    if "artifacts" in document and "descriptor" in document:
        return len(_list(document, "artifacts"))
    return None


def _of_cyclonedx(document: Mapping[str, Any]) -> int:
    """Components may lie within components."""
    waiting, count = _list(document, "components"), 0
    while waiting:
        component = waiting.pop()
        count += str(component.get("type")).lower() not in _NO_PACKAGES
        waiting += _list(component, "components")
    return count


def _of_spdx(document: Mapping[str, Any]) -> int:
    relations = _list(document, "relationships")
    described = {str(r.get("relatedSpdxElement")) for r in relations if r.get("relationshipType") == "DESCRIBES"}
    described |= {str(r.get("spdxElementId")) for r in relations if r.get("relationshipType") == "DESCRIBED_BY"}
    listed = document.get("documentDescribes")
    described |= {str(each) for each in listed} if isinstance(listed, list) else set()
    packages = [
        str(package.get("SPDXID"))
        for package in _list(document, "packages")
        if str(package.get("primaryPackagePurpose")).lower() not in _NO_PACKAGES
    ]
    inside = [identifier for identifier in packages if identifier not in described]
    # One that is described is the image; a document that describes several lists the packages themselves.
    return len(inside) or (len(packages) if len(packages) > 1 else 0)


def _list(document: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    found = document.get(key)
    return [each for each in found if isinstance(each, Mapping)] if isinstance(found, list) else []
