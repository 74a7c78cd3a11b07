"""Build the demo's small program as container images, without a Docker engine.

`widget-server` is a shell script that answers with its version, in a layer above a base layer of its own. The same
arguments give the same digests: times are fixed, entries are sorted, and gzip stores no name.
"""

import gzip
import io
import json
import struct
import tarfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tallyman.domain.images.manifest import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, Manifest
from tallyman.domain.names import Digest

_ARCHITECTURES = ("amd64", "arm64")
_CREATED = "2026-11-16T01:54:34Z"

_PROGRAM = """#!/bin/sh
# widget-server {version}: one HTTP answer a connection, for inetd, socat or nc -e
printf 'HTTP/1.0 200 OK\\r\\nContent-Type: application/json\\r\\n\\r\\n'
printf '{{"service": "widget-server", "version": "{version}", "architecture": "{architecture}"}}\\n'
"""


@dataclass(frozen=True)
class Sample:
    """An index with its images: `manifests` bottom-up, the index last; `blobs` by digest."""

    manifests: tuple[Manifest, ...]
    blobs: Mapping[Digest, bytes]

    @property
    def root(self) -> Manifest:
        """The index."""
        return self.manifests[-1]

    @property
    def children(self) -> tuple[Manifest, ...]:
        """The platform images."""
        return self.manifests[:-1]


def stored(raw: bytes) -> bytes:
    """A gzip file of the bytes (at most 65,535), not compressed: it does not depend on the version of zlib."""
    block = struct.pack("<BHH", 1, len(raw), len(raw) ^ 0xFFFF) + raw
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + block + struct.pack("<II", zlib.crc32(raw), len(raw))


def _gzip(raw: bytes) -> bytes:
    return gzip.compress(raw, mtime=0)


def widget_server(
    version: str,
    note: str = "",
    compress: Callable[[bytes], bytes] = _gzip,
) -> Sample:
    """The program of this version for two architectures of Linux; another `note` makes other content."""
    blobs: dict[Digest, bytes] = {}
    manifests = []
    for architecture in _ARCHITECTURES:
        program = _PROGRAM.format(version=version, architecture=architecture) + (f"# {note}\n" if note else "")
        base = _tar(
            {"etc/os-release": 'NAME="widget base"\nID=widget\n', "etc/passwd": "widget:x:1000:1000::/:/bin/sh\n"}
        )
        app = _tar({"usr/local/bin/widget-server": program})
        layers = [compress(base), compress(app)]
        config = _json(
            {
                "created": _CREATED,
                "architecture": architecture,
                "os": "linux",
                "config": {
                    "User": "1000",
                    "Entrypoint": ["/usr/local/bin/widget-server"],
                    "Labels": {"org.opencontainers.image.version": version},
                },
                "rootfs": {"type": "layers", "diff_ids": [Digest.of(base), Digest.of(app)]},
                "history": [
                    {"created": _CREATED, "created_by": "base"},
                    {"created": _CREATED, "created_by": "COPY widget-server"},
                ],
            }
        )
        blobs |= {Digest.of(raw): raw for raw in (config, *layers)}
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": _descriptor(config, OCI_CONFIG),
            "layers": [_descriptor(raw, OCI_LAYER) for raw in layers],
        }
        manifests.append(Manifest(_json(document), OCI_MANIFEST))
    children = [
        {**_descriptor(m.raw, OCI_MANIFEST), "platform": {"os": "linux", "architecture": a}}
        for m, a in zip(manifests, _ARCHITECTURES, strict=True)
    ]
    index = Manifest(_json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children}), OCI_INDEX)
    return Sample((*manifests, index), blobs)


def _descriptor(raw: bytes, media_type: str) -> dict[str, object]:
    return {"mediaType": media_type, "digest": Digest.of(raw), "size": len(raw)}


def _json(document: Mapping[str, object]) -> bytes:
    return json.dumps(document, indent=2).encode()


def _tar(files: Mapping[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, text in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.mtime = len(text.encode()), 0o755 if "/bin/" in name else 0o644, 0
            archive.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()
