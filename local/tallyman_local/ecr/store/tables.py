"""The store: any number of registries in one folder. It only stores; ECR's rules are in `rules/`."""

import io
import json
import secrets
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tallyman.domain.names import Digest, EcrRegistry, Repository
from tallyman_local.ecr import errors
from tallyman_local.ecr.manifests import ParsedManifest
from tallyman_local.ecr.store.blobs import Blobs, Upload
from tallyman_local.ecr.store.database import Database
from tallyman_local.ecr.store.rows import IMAGE, ImageRow, RepositoryRow, read_image, read_repository


class Store:
    """The store; thread-safe. An answered push is on disk. What a killed process left incomplete is removed at the next
    start."""

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.db = Database(root / "ecr.sqlite3")
        self.blobs = Blobs(root)
        self._uploads: dict[tuple[int, str], Upload] = {}
        self._uploads_lock = threading.Lock()
        for registry, digest in self.blobs.all():  # renamed by a process that died before it wrote the row
            if not self._has_owner(registry, digest):
                self.blobs.remove(registry, digest)

    def secret(self, name: str) -> bytes:
        """A random key that stays the same for this data directory."""
        with self.db.transaction():
            self.db.run("INSERT OR IGNORE INTO secrets VALUES (?, ?)", name, secrets.token_bytes(32))
            row = self.db.row("SELECT value FROM secrets WHERE name = ?", name)
            assert row is not None
            return bytes(row["value"])

    # -- repositories

    def find(self, repository: Repository) -> RepositoryRow | None:
        """The repository's row; None: it does not exist."""
        row = self.db.row(
            "SELECT * FROM repositories WHERE account = ? AND region = ? AND name = ?",
            repository.registry.account,
            repository.registry.region,
            repository.name,
        )
        return read_repository(row) if row else None

    def get(self, repository: Repository) -> RepositoryRow:
        """The repository's row. Raises RepositoryNotFoundException."""
        if (row := self.find(repository)) is None:
            raise errors.repository_not_found(repository)
        return row

    def by_id(self, repository_id: int) -> RepositoryRow | None:
        """The row with this id; None: the repository does not exist any more."""
        row = self.db.row("SELECT * FROM repositories WHERE id = ?", repository_id)
        return read_repository(row) if row else None

    def repositories(self, registry: EcrRegistry) -> list[RepositoryRow]:
        """All repositories of a registry, sorted by name."""
        sql = "SELECT * FROM repositories WHERE account = ? AND region = ? ORDER BY name"
        return [read_repository(row) for row in self.db.rows(sql, registry.account, registry.region)]

    def create(self, repository: Repository, created: float, **settings: Any) -> RepositoryRow:
        """Insert a repository. `settings`: values of columns. Raises RepositoryAlreadyExistsException."""
        with self.db.transaction():
            if self.find(repository):
                raise errors.repository_exists(repository)
            names = ["account", "region", "name", "created", *settings]
            values = [repository.registry.account, repository.registry.region, repository.name, created]
            sql = f"INSERT INTO repositories ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
            self.db.run(sql, *values, *settings.values())
            return self.get(repository)

    def change(self, repository_id: int, **settings: Any) -> None:
        """Set columns of a repository."""
        for column, value in settings.items():
            self.db.run(f"UPDATE repositories SET {column} = ? WHERE id = ?", value, repository_id)

    def delete(self, repository: RepositoryRow) -> None:
        """Remove a repository with its images, and the blobs that no other repository of the registry has."""
        with self.db.transaction():
            rows = self.db.rows("SELECT digest FROM layers WHERE repository = ?", repository.id)
            self.db.run("DELETE FROM repositories WHERE id = ?", repository.id)
            for digest in (row["digest"] for row in rows):
                if not self._has_owner(repository.name.registry, digest):
                    self.blobs.remove(repository.name.registry, Digest(digest))

    # -- layers and uploads

    def _has_owner(self, registry: EcrRegistry, digest: str) -> bool:
        sql = (
            "SELECT 1 FROM layers JOIN repositories r ON r.id = layers.repository"
            " WHERE digest = ? AND r.account = ? AND r.region = ? LIMIT 1"
        )
        return self.db.row(sql, digest, registry.account, registry.region) is not None

    def layer_size(self, repository_id: int, digest: str) -> int | None:
        """The bytes of a layer or configuration of the repository; None: it has none with this digest."""
        row = self.db.row("SELECT size FROM layers WHERE repository = ? AND digest = ?", repository_id, digest)
        return None if row is None else int(row["size"])

    def add_layer(self, repository_id: int, digest: str, size: int) -> None:
        """Make a blob of the registry a layer of the repository."""
        self.db.run("INSERT OR IGNORE INTO layers VALUES (?, ?, ?)", repository_id, digest, size)

    def copy_layer(self, source: RepositoryRow, digest: Digest, target: RepositoryRow) -> None:
        """Copy a layer to a repository of any registry. Raises LayersNotFoundException where the source lost it."""
        try:
            copied = self.blobs.copy(source.name.registry, digest)
        except FileNotFoundError as error:
            raise errors.layers_not_found([digest], source.name) from error
        self._own(target, copied, errors.repository_not_found(target.name))

    def add_blob(self, repository: RepositoryRow, raw: bytes) -> Digest:
        """Store small content as a layer of the repository."""
        upload = self.blobs.start(str(uuid.uuid4()))
        upload.append(io.BytesIO(raw).read, len(raw))
        return self._own(repository, upload, errors.repository_not_found(repository.name))

    def _own(self, repository: RepositoryRow, upload: Upload, recreated: errors.EcrError) -> Digest:
        """Make the upload's bytes a layer of the repository: first the file, then its row. Raises `recreated` where
        the repository was deleted and created again since."""
        self.blobs.sync(upload)
        with self.db.transaction():  # no repository that has this blob may be deleted at the same time
            if self.get(repository.name).id != repository.id:
                self.blobs.discard(upload)
                raise recreated
            digest = self.blobs.keep(upload, repository.name.registry)
            self.add_layer(repository.id, digest, upload.size)
        return digest

    def start_upload(self, repository: RepositoryRow, upload_id: str) -> None:
        """Open an upload; it exists until it is completed or dropped, or the process ends."""
        with self._uploads_lock:
            self._uploads[repository.id, upload_id] = self.blobs.start(upload_id)

    @contextmanager
    def upload(self, repository: RepositoryRow, upload_id: str) -> Iterator[Upload]:
        """An upload in progress, for one thread at a time. Raises UploadNotFoundException."""
        with self._uploads_lock:
            upload = self._uploads.get((repository.id, upload_id))
        if upload is None:
            raise errors.upload_not_found(repository.name, upload_id)
        with upload.lock:
            if (repository.id, upload_id) not in self._uploads:  # completed by another thread since
                raise errors.upload_not_found(repository.name, upload_id)
            yield upload

    def drop_upload(self, repository: RepositoryRow, upload_id: str) -> None:
        """Remove an upload and its bytes."""
        with self._uploads_lock:
            upload = self._uploads.pop((repository.id, upload_id), None)
        if upload:
            self.blobs.discard(upload)

    def keep_upload(self, repository: RepositoryRow, upload_id: str, upload: Upload) -> None:
        """Make the upload a layer of the repository. Raises UploadNotFoundException where that was created again."""
        self._own(repository, upload, errors.upload_not_found(repository.name, upload_id))
        self.drop_upload(repository, upload_id)

    # -- images and tags

    def image(self, repository_id: int, digest: str) -> ImageRow | None:
        """The image with this digest; None: there is none."""
        row = self.db.row(f"SELECT {IMAGE} FROM images WHERE repository = ? AND digest = ?", repository_id, digest)
        return read_image(row) if row else None

    def count_images(self, repository_id: int) -> int:
        """How many images a repository holds."""
        row = self.db.row("SELECT count(*) AS n FROM images WHERE repository = ?", repository_id)
        return int(row["n"]) if row else 0

    def tagged_images(
        self, repository_id: int, first: int = 0, limit: int = -1, status: str = "ANY", tag_status: str = "ANY"
    ) -> list[tuple[ImageRow, list[str]]]:
        """At most `limit` images from row `first` on, in the order of their first push, each with its sorted tags.

        `status`: ACTIVE, ARCHIVED, … or ANY. `tag_status`: TAGGED, UNTAGGED or ANY. Reads only what it returns.
        """
        has_tag = "EXISTS (SELECT 1 FROM tags t WHERE t.repository = images.repository AND t.digest = images.digest)"
        wanted = {"TAGGED": f" AND {has_tag}", "UNTAGGED": f" AND NOT {has_tag}"}.get(tag_status, "")
        where = f"repository = ? AND id >= ? AND ? IN ('ANY', status){wanted} ORDER BY id LIMIT ?"
        values = (repository_id, first, status, limit)
        tags: dict[str, list[str]] = {}
        sql = (
            f"SELECT tag, digest FROM tags WHERE repository = ? AND digest IN (SELECT digest FROM images WHERE {where})"
        )
        with self.db.lock:
            for row in self.db.rows(f"{sql} ORDER BY tag", repository_id, *values):
                tags.setdefault(row["digest"], []).append(row["tag"])
            images = [read_image(row) for row in self.db.rows(f"SELECT {IMAGE} FROM images WHERE {where}", *values)]
        return [(image, tags.get(image.digest, [])) for image in images]

    def raw(self, repository_id: int, digest: str) -> bytes | None:
        """A manifest's bytes, exactly as pushed; None: there is no such image."""
        row = self.db.row("SELECT raw FROM images WHERE repository = ? AND digest = ?", repository_id, digest)
        return bytes(row["raw"]) if row else None

    def put(self, repository_id: int, manifest: ParsedManifest, size: int, pushed: float) -> None:
        """Insert an image and the edges to its children."""
        with self.db.transaction():
            self.db.run(
                "INSERT INTO images (repository, digest, media_type, artifact_type, subject, scannable, size, pushed,"
                " raw, annotations) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                repository_id,
                manifest.digest,
                manifest.media_type,
                manifest.artifact_type,
                manifest.subject,
                manifest.scannable,
                size,
                pushed,
                manifest.raw,
                json.dumps(manifest.annotations),
            )
            for child in manifest.children:
                self.db.run("INSERT OR IGNORE INTO children VALUES (?, ?, ?)", repository_id, manifest.digest, child)

    def remove(self, repository_id: int, digest: str) -> None:
        """Remove an image with its tags, edges and scan. Its layers stay, as they do in ECR for a while."""
        with self.db.transaction():
            edges = (("images", "digest"), ("tags", "digest"), ("scans", "digest"), ("children", "parent"))
            for table, column in edges:
                self.db.run(f"DELETE FROM {table} WHERE repository = ? AND {column} = ?", repository_id, digest)

    def parents(self, repository_id: int, digest: str) -> list[str]:
        """The indexes that this image is a child of."""
        sql = "SELECT parent FROM children WHERE repository = ? AND child = ? ORDER BY parent"
        return [row["parent"] for row in self.db.rows(sql, repository_id, digest)]

    def children(self, repository_id: int, digest: str) -> list[str]:
        """The children of this index."""
        sql = "SELECT child FROM children WHERE repository = ? AND parent = ?"
        return [row["child"] for row in self.db.rows(sql, repository_id, digest)]

    def referrers(self, repository_id: int, subject: str) -> list[ImageRow]:
        """The images whose subject is this digest."""
        sql = f"SELECT {IMAGE} FROM images WHERE repository = ? AND subject = ? ORDER BY digest"
        return [read_image(row) for row in self.db.rows(sql, repository_id, subject)]

    def tagged(self, repository_id: int, tag: str) -> Digest | None:
        """The digest of a tag; None: there is no such tag."""
        row = self.db.row("SELECT digest FROM tags WHERE repository = ? AND tag = ?", repository_id, tag)
        return Digest(row["digest"]) if row else None

    def tags_of(self, repository_id: int, digest: str) -> list[str]:
        """The tags of an image."""
        sql = "SELECT tag FROM tags WHERE repository = ? AND digest = ? ORDER BY tag"
        return [row["tag"] for row in self.db.rows(sql, repository_id, digest)]

    def tag_rows(self, repository_id: int, after: int, limit: int) -> list[tuple[int, str]]:
        """(row, tag) in the order in which the tags were created; clients can't rely on that order."""
        sql = "SELECT id, tag FROM tags WHERE repository = ? AND id > ? ORDER BY id LIMIT ?"
        return [(row["id"], row["tag"]) for row in self.db.rows(sql, repository_id, after, limit)]

    def tag(self, repository_id: int, tag: str, digest: str) -> None:
        """Point a tag at an image."""
        sql = (
            "INSERT INTO tags (repository, tag, digest) VALUES (?, ?, ?)"
            " ON CONFLICT (repository, tag) DO UPDATE SET digest = excluded.digest"
        )
        self.db.run(sql, repository_id, tag, digest)

    def untag(self, repository_id: int, tag: str) -> None:
        """Remove a tag; the image stays."""
        self.db.run("DELETE FROM tags WHERE repository = ? AND tag = ?", repository_id, tag)

    def set_status(self, repository_id: int, digest: str, status: str, at: float) -> None:
        """Set an image to ARCHIVED or ACTIVE, with the time."""
        column = "archived" if status == "ARCHIVED" else "activated"
        sql = f"UPDATE images SET status = ?, {column} = ? WHERE repository = ? AND digest = ?"
        self.db.run(sql, status, at, repository_id, digest)

    def pulled(self, repository_id: int, digest: str, at: float) -> None:
        """Record a pull of an image."""
        self.db.run("UPDATE images SET pulled = ? WHERE repository = ? AND digest = ?", at, repository_id, digest)
