"""Real images in memory and their push by the OCI distribution protocol, with the standard library only."""

import gzip
import hashlib
import io
import json
import tarfile
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from typing import Any

OCI = "application/vnd.oci.image"
SIGNATURE = "application/vnd.cncf.notary.signature"


@dataclass
class Image:
    """A manifest and the blobs that it references."""

    raw: bytes
    media_type: str
    blobs: dict[str, bytes] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        return digest_of(self.raw)

    @property
    def descriptor(self) -> dict[str, Any]:
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.raw)}


def digest_of(raw: bytes) -> str:
    return "sha256:" + hashlib.sha256(raw).hexdigest()


def image(text: str, architecture: str = "amd64") -> Image:
    """An image with one layer that holds one file."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        entry = tarfile.TarInfo("smoke.txt")
        entry.size = len(text.encode())
        tar.addfile(entry, io.BytesIO(text.encode()))
    layer = gzip.compress(packed.getvalue(), mtime=0)
    rootfs = {"type": "layers", "diff_ids": [digest_of(packed.getvalue())]}
    settings = {"Entrypoint": ["/smoke.txt"]}
    config = {"architecture": architecture, "os": "linux", "config": settings, "rootfs": rootfs}
    return _manifest(json.dumps(config).encode(), f"{OCI}.config.v1+json", layer, f"{OCI}.layer.v1.tar+gzip")


def signature(subject: Image) -> Image:
    """An artifact with this subject, shaped as Notation writes it. It is not signed, so a gate with keys refuses it."""
    envelope = json.dumps({"payload": "", "signature": "", "of": subject.digest}).encode()
    more = {"artifactType": SIGNATURE, "subject": subject.descriptor}
    return _manifest(b"{}", SIGNATURE, envelope, "application/jose+json", more)


def _manifest(config: bytes, config_type: str, layer: bytes, layer_type: str, more: Mapping[str, Any] = {}) -> Image:
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{OCI}.manifest.v1+json",
        "config": {"mediaType": config_type, "digest": digest_of(config), "size": len(config)},
        "layers": [{"mediaType": layer_type, "digest": digest_of(layer), "size": len(layer)}],
        **more,
    }
    raw = json.dumps(manifest).encode()
    return Image(raw, f"{OCI}.manifest.v1+json", {digest_of(b): b for b in (config, layer)})


def index(*children: tuple[Image, str]) -> Image:
    """An index of platform images."""
    entries = [{**each.descriptor, "platform": {"os": "linux", "architecture": arch}} for each, arch in children]
    media_type = f"{OCI}.index.v1+json"
    return Image(json.dumps({"schemaVersion": 2, "mediaType": media_type, "manifests": entries}).encode(), media_type)


def send(
    method: str, url: str, body: bytes | None = None, token: str = "", content_type: str = ""
) -> tuple[int, Message]:
    """Send a request to the registry and return (status, headers); HTTP errors are answers too."""
    request = urllib.request.Request(url, body, method=method)
    if token:
        request.add_header("Authorization", f"Basic {token}")
    if content_type:
        request.add_header("Content-Type", content_type)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.headers


def push(base: str, token: str, pushed: Image, tag: str = "", *children: Image) -> int:
    """Push every blob, then the children by digest, then the image by its tag; return the status of the last request.
    `base`: address of the repository in the registry's API. Raises RuntimeError if a blob or child is refused."""
    for each in (*children, pushed):
        for digest, raw in each.blobs.items():
            status, headers = send("POST", f"{base}/blobs/uploads/", b"", token)
            location = headers["Location"] or ""
            if status != 202 or not location:
                raise RuntimeError(f"upload of {digest}: {status}")
            url = location if location.startswith("http") else base.partition("/v2/")[0] + location
            url += ("&" if "?" in url else "?") + f"digest={digest}"
            status, _ = send("PUT", url, raw, token, "application/octet-stream")
            if status != 201:
                raise RuntimeError(f"upload of {digest}: {status}")
        reference = tag if each is pushed and tag else each.digest
        status, _ = send("PUT", f"{base}/manifests/{reference}", each.raw, token, each.media_type)
        if each is not pushed and status not in (200, 201):
            raise RuntimeError(f"push of {reference}: {status}")
    return status
