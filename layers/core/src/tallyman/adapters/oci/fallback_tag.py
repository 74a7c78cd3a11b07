"""Lists of referrers for registries without the referrers API: an index at the tag `sha256-<hex>` (OCI distribution
1.1)."""

import json
from typing import Any

from tallyman.domain.images.documents import load_object, loads, show
from tallyman.domain.images.manifest import OCI_INDEX, Descriptor, Manifest
from tallyman.errors import BadManifest, Refused
from tallyman.ports.copying import Listing


def descriptors(raw: bytes, what: str) -> Listing:
    """The entries of a list of referrers, named `what`. Invalid entries are left out and reported in `odd`: they don't
    stop the image. Raises BadManifest where it is not a list at all."""
    document = load_object(raw, what)
    entries = document.get("manifests")
    if entries is None:
        entries = []
    if not isinstance(entries, list):
        raise BadManifest(f"{what}: manifests: expected a list of descriptors")
    found = Listing()
    for number, entry in enumerate(entries):
        try:
            found.append(Descriptor.parse(entry, "entry"))
        except BadManifest as error:
            name = entry.get("digest") if isinstance(entry, dict) else None
            called = name if isinstance(name, str) and name.isprintable() and len(name) < 200 else show(name)
            found.odd[called if called not in found.odd and name else f"{what}[{number}]"] = str(error)
    return found


def listed(manifest: Manifest) -> dict[str, Any]:
    """The entry for a referrer in such an index."""
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
    """The index with one more entry; invalid entries are kept. Raises Refused where the index can't be read at all,
    so that nothing in it is lost."""
    document: Any = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
    if now:
        try:
            document = loads(now)
            document["manifests"] = [*(document.get("manifests") or ())]
        except (ValueError, TypeError, AttributeError) as error:
            raise Refused(f"the list of referrers can't be read, and so is not overwritten: {error}") from None
    document["manifests"].append(entry)
    return json.dumps(document, separators=(",", ":")).encode()
