"""The data to copy: OCI layouts of random bytes, made once in a run."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

MB = 1_000_000
OCI = "application/vnd.oci.image."


def blob(layout: Path, raw: bytes) -> dict[str, Any]:
    """Write a blob into a layout. Return digest and size of its descriptor."""
    name = hashlib.sha256(raw).hexdigest()
    folder = layout / "blobs" / "sha256"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(raw)
    return {"digest": f"sha256:{name}", "size": len(raw)}


def layers(layout: Path, *sizes: int) -> list[dict[str, Any]]:
    """Layers of these sizes in bytes, which can't be compressed."""
    return [{"mediaType": f"{OCI}layer.v1.tar+gzip", **blob(layout, os.urandom(size))} for size in sizes]


def image(layout: Path, parts: list[dict[str, Any]], number: int = 0, architecture: str = "amd64") -> dict[str, Any]:
    """An image with these layers; its descriptor."""
    config = {
        "architecture": architecture,
        "os": "linux",
        "config": {"Labels": {"number": str(number)}},
        "rootfs": {"type": "layers", "diff_ids": [part["digest"] for part in parts]},
    }
    made = {"mediaType": f"{OCI}config.v1+json", **blob(layout, json.dumps(config).encode())}
    kind = f"{OCI}manifest.v1+json"
    document = {"schemaVersion": 2, "mediaType": kind, "config": made, "layers": parts}
    return {"mediaType": kind, **blob(layout, json.dumps(document).encode())}


def index(layout: Path, images: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """An index of images by architecture; its descriptor."""
    children = [{**made, "platform": {"os": "linux", "architecture": arch}} for arch, made in images.items()]
    kind = f"{OCI}index.v1+json"
    document = {"schemaVersion": 2, "mediaType": kind, "manifests": children}
    return {"mediaType": kind, **blob(layout, json.dumps(document).encode())}


def tags(layout: Path, named: dict[str, dict[str, Any]]) -> None:
    """Write the layout's index.json: descriptors by tag."""
    (layout / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    key = "org.opencontainers.image.ref.name"
    entries = [{**entry, "annotations": {key: tag}} for tag, entry in named.items()]
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": entries}))


def make(root: Path) -> None:
    """Make the layouts `big`, `index`, `middle`, `small` and `many` in the folder `root`."""
    big = root / "big"
    tags(big, {"v1": image(big, layers(big, *[150 * MB] * 10))})
    of_three = root / "index"
    each = {a: image(of_three, layers(of_three, *[5 * MB] * 8), 0, a) for a in ("amd64", "arm64", "s390x")}
    tags(of_three, {"v1": index(of_three, each)})
    middle = root / "middle"
    tags(middle, {"v1": image(middle, layers(middle, *[60 * MB] * 5))})
    small = root / "small"
    shared = layers(small, *[1 * MB] * 5)
    tags(small, {f"v{n}": image(small, shared + layers(small, 20_000), n) for n in range(40)})
    many = root / "many"
    base = layers(many, 100_000)
    tags(many, {f"v{n}": image(many, base, n) for n in range(1000)})
