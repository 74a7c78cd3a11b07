"""Repositories and images as the store returns them."""

import json
import sqlite3
from dataclasses import dataclass

from tallyman.domain.names import Digest, EcrRegistry, Repository


@dataclass(frozen=True)
class RepositoryRow:
    """A stored repository; times are seconds since the epoch."""

    id: int
    name: Repository
    created: float
    mutability: str
    filters: tuple[dict[str, str], ...]
    scan_on_push: bool
    encryption: dict[str, str]
    tags: dict[str, str]
    policy: str | None
    lifecycle: str | None


@dataclass(frozen=True)
class ImageRow:
    """A stored image, without the bytes of its manifest. `size`: compressed bytes of its configuration and layers.
    `manifest_size`: bytes of its manifest. Times are seconds since the epoch."""

    id: int
    digest: Digest
    media_type: str
    artifact_type: str | None
    subject: str | None
    scannable: bool
    size: int
    manifest_size: int
    pushed: float
    pulled: float | None
    status: str
    archived: float | None
    activated: float | None
    annotations: dict[str, str]


#: The columns of `ImageRow`.
IMAGE = (
    "id, digest, media_type, artifact_type, subject, scannable, size, length(raw) AS manifest_size, pushed, pulled,"
    " status, archived, activated, annotations"
)


def read_repository(row: sqlite3.Row) -> RepositoryRow:
    """A row of `repositories`."""
    return RepositoryRow(
        row["id"],
        Repository(EcrRegistry(row["account"], row["region"]), row["name"]),
        row["created"],
        row["mutability"],
        tuple(json.loads(row["filters"])),
        bool(row["scan_on_push"]),
        json.loads(row["encryption"]),
        json.loads(row["tags"]),
        row["policy"],
        row["lifecycle"],
    )


def read_image(row: sqlite3.Row) -> ImageRow:
    """A row of `images` with the columns `IMAGE`."""
    fields = dict(row)
    fields |= {
        "digest": Digest(row["digest"]),
        "scannable": bool(row["scannable"]),
        "annotations": json.loads(row["annotations"]),
    }
    return ImageRow(**fields)
