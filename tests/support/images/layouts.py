"""OCI layouts: folders of images, as other tools write them."""

import json
from pathlib import Path
from typing import Any

from support.images.builders import Built

REF_NAME = "org.opencontainers.image.ref.name"


def layout(folder: Path, *named: tuple[Built, object]) -> str:
    """A layout with these images under these names; None: without a name."""
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)
    entries: list[dict[str, Any]] = []
    for built, name in named:
        for digest, raw in (*built.blobs.items(), *((d, m.raw) for d, m in built.manifests.items())):
            (blobs / digest.hex).write_bytes(raw)
        found: dict[str, Any] = {"mediaType": built.root.media_type, "digest": str(built.digest), "size": 1}
        entries.append({**found, **({"annotations": {REF_NAME: name}} if name is not None else {})})
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": entries}))
    return f"oci:{folder}"
