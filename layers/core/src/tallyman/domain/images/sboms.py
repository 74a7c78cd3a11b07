"""What an SBOM names: SPDX, CycloneDX or Syft's own, as JSON, bare or in an in-toto statement."""

from collections.abc import Mapping
from typing import Any

SPDX = "application/spdx+json"
CYCLONEDX = "application/vnd.cyclonedx+json"

_NO_COMPONENTS = ("operating-system", "file")


def package_count(document: Any) -> int | None:
    """How many packages an SBOM names, what it describes (the image itself) left out. None: it is no SBOM that is
    known here, so nothing can be said."""
    if not isinstance(document, Mapping):
        return None
    if "predicateType" in document or "predicate" in document:
        return package_count(document.get("predicate"))
    if "spdxVersion" in document:
        return _of_spdx(document)
    if document.get("bomFormat") == "CycloneDX":
        return len([c for c in _list(document, "components") if c.get("type") not in _NO_COMPONENTS])
    if "artifacts" in document and "descriptor" in document:
        return len(_list(document, "artifacts"))
    return None


def _of_spdx(document: Mapping[str, Any]) -> int:
    relations = _list(document, "relationships")
    described = {str(r.get("relatedSpdxElement")) for r in relations if r.get("relationshipType") == "DESCRIBES"}
    listed = document.get("documentDescribes")
    described |= {str(each) for each in listed} if isinstance(listed, list) else set()
    packages = [str(package.get("SPDXID")) for package in _list(document, "packages")]
    inside = [identifier for identifier in packages if identifier not in described]
    # One that is described is the image; a document that describes several lists the packages themselves.
    return len(inside) or (len(packages) if len(packages) > 1 else 0)


def _list(document: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    found = document.get(key)
    return [each for each in found if isinstance(each, Mapping)] if isinstance(found, list) else []
