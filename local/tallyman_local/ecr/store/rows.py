"""Repositories and images as the store hands them out."""

import json
import sqlite3
from dataclasses import dataclass

from tallyman.domain.names import Digest, EcrRegistry, Repository


@dataclass(frozen=True)
class RepositoryRow:
    """A repository as stored; times are seconds since the epoch (UTC)."""

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
    """An image as stored. `size` is the compressed size in bytes; Its bytes are loaded only where asked for."""

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


#: The columns of `ImageRow`: everything but the bytes.
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
    """A row of `images`, of the columns `IMAGE`."""
    fields = dict(row)
    fields |= {
        "digest": Digest(row["digest"]),
        "scannable": bool(row["scannable"]),
        "annotations": json.loads(row["annotations"]),
    }
    return ImageRow(**fields)
