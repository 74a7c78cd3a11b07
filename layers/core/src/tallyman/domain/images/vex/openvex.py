"""VEX in OpenVEX 0.2.0 (its SPEC.md and ATTESTING.md), and in 0.0, where names are plain strings."""

from collections.abc import Iterator, Mapping

from tallyman.domain.images.documents import Json, part
from tallyman.domain.images.purls import Purl
from tallyman.domain.images.vex.statements import MOST_NAMES, About, VexStatement, statement, text, time

_JUSTIFIED = frozenset(
    {
        "component_not_present",
        "vulnerable_code_not_present",
        "vulnerable_code_not_in_execute_path",
        "vulnerable_code_cannot_be_controlled_by_adversary",
        "inline_mitigations_already_exist",
    }
)


def openvex(document: Json, listed: list[Json], image: str) -> Iterator[VexStatement]:
    """The statements of a document about the image, the subject of the attestation; `listed`: its `statements`."""
    for said in listed:
        vulnerability = said.get("vulnerability")
        found: Json = vulnerability if isinstance(vulnerability, Mapping) else {"name": vulnerability}
        ids = [found.get("name"), *_strings(found, "aliases")]
        at = time(said.get("last_updated"), said.get("timestamp"), document.get("timestamp"))
        status = str(said.get("status"))
        justification = text(said.get("justification"))
        reason: object = said.get("impact_statement")
        if justification in _JUSTIFIED:
            reason = f"{justification}: {reason}" if text(reason) else justification
        if status == "fixed":
            reason = said.get("status_notes") or reason
        products = said.get("products")
        if products in (None, []):  # then the attestation's subjects are the products: ATTESTING.md
            products = [image]
        for product in products if isinstance(products, list) and len(products) <= MOST_NAMES else [None]:
            about = _product(product, said.get("subcomponents"), image)
            if about is None:
                continue
            made = statement(ids, status, text(reason), at, about)
            if made is not None:
                yield made


def _product(product: object, shared: object, image: str) -> About | None:
    """The packages of the image that an entry of `products` is about, and the architecture; None: another product.

    `shared`: the subcomponents that a statement of OpenVEX 0.0 has for all products.
    """
    item: Json = product if isinstance(product, Mapping) else {"@id": product}
    named = _names(item)
    digests = {digest for digest, _ in named}
    if digests - {None, image}:
        return None if image not in digests else (None, None)
    if image not in digests or None in digests:
        return None, None
    arches = {arch for _, arch in named if arch}
    if len(arches) > 1:
        return None, None
    inside = item.get("subcomponents", shared)
    arch = next(iter(arches), None)
    if inside in (None, []):
        return [], arch
    if not isinstance(inside, list) or len(inside) > MOST_NAMES:
        return None, None
    parts = [_purl(each) for each in inside]
    return ([part for part in parts if part], arch) if all(parts) else (None, None)


def _names(item: Json) -> list[tuple[str | None, str | None]]:
    """Digest and architecture in each name of a product; a name that has no digest counts as (None, None)."""
    found: list[tuple[str | None, str | None]] = []
    identifiers, hashes = part(item, "identifiers"), part(item, "hashes")
    for name in (item.get("@id"), identifiers.get("purl")):
        if not isinstance(name, str):
            found += [(None, None)] if name is not None else []
        elif purl := Purl.parse(name):
            found.append((purl.digest, purl.qualifiers.get("arch")))
        elif name.startswith("sha256:"):
            found.append((name, None))
        elif name is item.get("@id") and not (identifiers or hashes):
            found.append((None, None))  # the IRI is its only name
    found += [(f"sha256:{hashes[key]}".lower(), None) for key in ("sha-256", "sha256") if key in hashes]
    return found or [(None, None)]


def _purl(component: object) -> str | None:
    """The purl of a subcomponent; None: it has none, or several."""
    item: Json = component if isinstance(component, Mapping) else {"@id": component}
    names = (item.get("@id"), part(item, "identifiers").get("purl"))
    purls = {name for name in names if isinstance(name, str) and Purl.parse(name)}
    return purls.pop() if len(purls) == 1 else None


def _strings(item: Json, key: str) -> list[object]:
    found = item.get(key)
    return found[:MOST_NAMES] if isinstance(found, list) else []
