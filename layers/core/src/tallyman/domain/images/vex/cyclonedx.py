"""VEX in CycloneDX 1.4 to 1.6: `vulnerabilities`, each with an `analysis`."""

from collections.abc import Iterator, Mapping

from tallyman.domain.images.documents import Json, part
from tallyman.domain.images.purls import Purl
from tallyman.domain.images.vex.statements import MOST_NAMES, About, VexStatement, items, statement, text, time

_JUSTIFIED = frozenset(
    {
        "code_not_present",
        "code_not_reachable",
        "requires_configuration",
        "requires_dependency",
        "requires_environment",
        "protected_by_compiler",
        "protected_at_runtime",
        "protected_at_perimeter",
        "protected_by_mitigating_control",
    }
)
_OF_CYCLONEDX = {
    "not_affected": "not_affected",
    "false_positive": "not_affected",
    "resolved": "fixed",
    "resolved_with_pedigree": "fixed",
    "in_triage": "under_investigation",
}
"""OpenVEX's status for each state of CycloneDX; for any other state: `affected`."""


def cyclonedx(document: Json, listed: list[Json], image: str) -> Iterator[VexStatement]:
    """The statements of a document about the image; `listed`: its `vulnerabilities`."""
    metadata = part(document, "metadata")
    top = part(metadata, "component")
    components = {str(each.get("bom-ref")): each for each in items(document, "components")}
    for said in listed:
        analysis = part(said, "analysis")
        if "state" not in analysis:
            continue  # the document lists the vulnerability without an analysis
        state = str(analysis.get("state"))
        status = _OF_CYCLONEDX.get(state, "affected")
        justification, detail = text(analysis.get("justification")), text(analysis.get("detail"))
        words = [each for each in (justification if justification in _JUSTIFIED else None, detail) if each]
        at = time(analysis.get("lastUpdated"), analysis.get("firstIssued"), metadata.get("timestamp"))
        ids = [said.get("id"), *(each.get("id") for each in items(said, "references"))]
        affects = items(said, "affects")
        for affected in affects if 0 < len(affects) <= MOST_NAMES else [{}]:
            about = _affected(affected, top, components, image)
            if about is None:
                continue
            made = statement(ids, status, ": ".join(words) or None, at, about)
            if made is not None:
                yield made


def _affected(affected: Json, top: Json, components: Mapping[str, Json], image: str) -> About | None:
    """What an entry of `affects` is about: the image itself (`metadata.component`), or a component of it. None: it is
    about another image."""
    ref = affected.get("ref")
    if not isinstance(ref, str) or affected.get("versions"):
        return None, None
    component = top if ref == top.get("bom-ref") else components.get(ref, {"purl": ref})
    itself = _image_of(top)
    if component is top:
        return ([], itself[1]) if itself[0] == image else (None, None) if itself[0] is None else None
    purl = Purl.parse(str(component.get("purl")))
    if purl is not None and purl.type == "oci":
        if purl.digest == image:
            return [], purl.qualifiers.get("arch")
        return None if purl.digest else (None, None)
    if purl is None or itself[0] is None:
        return None, None
    return ([str(component["purl"])], itself[1]) if itself[0] == image else None


def _image_of(component: Json) -> tuple[str | None, str | None]:
    """Digest and architecture of the image that a component describes; None: not stated, or for the digest several."""
    purl, version = Purl.parse(str(component.get("purl"))), component.get("version")
    named = [purl.digest if purl else None, version if str(version).startswith("sha256:") else None]
    named += [f"sha256:{each.get('content')}" for each in items(component, "hashes") if each.get("alg") == "SHA-256"]
    found = {str(each).lower() for each in named if each}
    return (next(iter(found)) if len(found) == 1 else None), (purl.qualifiers.get("arch") if purl else None)


def author_of(document: Json) -> object:
    """The name of the first author, else of the supplier, else of the manufacturer; None: none is named."""
    metadata = part(document, "metadata")
    people = [*items(metadata, "authors"), part(metadata, "supplier"), part(metadata, "manufacturer")]
    return next((each.get("name") for each in people if each.get("name")), None)
