"""ECR's rules for images, which the JSON API and `/v2/` share: put, find and delete them."""

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any, Protocol

from tallyman.domain.names import Digest, Repository
from tallyman.domain.times import format_time, second_of
from tallyman_local.ecr import errors, manifests
from tallyman_local.ecr.errors import EcrError
from tallyman_local.ecr.identity import Identity
from tallyman_local.ecr.manifests import ParsedManifest
from tallyman_local.ecr.rules.events import Events
from tallyman_local.ecr.rules.quotas import IMAGES, Quotas
from tallyman_local.ecr.rules.scanner import Scanner
from tallyman_local.ecr.store.rows import ImageRow, RepositoryRow
from tallyman_local.ecr.store.settings import Settings
from tallyman_local.ecr.store.tables import Store

TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
DIGEST = re.compile(r"[a-zA-Z0-9-_+.]+:[a-fA-F0-9]+")
TAGS_PER_IMAGE = 1000
_DAY = 24 * 3600.0


_LOG = logging.getLogger("tallyman.local.ecr")
Removed = list[tuple[Digest, str | None]]


class Watcher(Protocol):
    """Acts on pushes and removals: replication, managed signing."""

    def planned(self, row: RepositoryRow, digest: str) -> None:
        """Called in the transaction of a push that changes the store."""

    def pushed(self, row: RepositoryRow, image: ImageRow, tag: str | None) -> None:
        """Called after that transaction, before the push is answered."""

    def removed(self, row: RepositoryRow, image: ImageRow, tags: list[str], gone: bool) -> None:
        """Called after tags were removed; `gone`: the image was removed too."""


@dataclass(frozen=True)
class Put:
    """The result of a push. `changed`: whether it changed the store."""

    image: ImageRow
    changed: bool


@dataclass(frozen=True)
class Failure:
    """One image id that could not be served; an item of `failures[]`."""

    digest: str | None
    tag: str | None
    code: str
    reason: str

    def shape(self) -> dict[str, Any]:
        """The model's ImageFailure."""
        found = {"imageDigest": self.digest, "imageTag": self.tag}
        return {"imageId": found, "failureCode": self.code, "failureReason": self.reason}


def immutable(repository: RepositoryRow, tag: str) -> bool:
    """Whether an existing tag may not move: the repository's setting, inverted for tags that match a filter."""
    excluded = any(fnmatchcase(tag, f["filter"]) for f in repository.filters)
    return repository.mutability.startswith("IMMUTABLE") != (excluded and repository.mutability.endswith("_EXCLUSION"))


class Images:
    """The rules over the store. Events are emitted after the change is durable and before the call returns."""

    def __init__(
        self,
        store: Store,
        events: Events,
        scanner: Scanner,
        settings: Settings,
        quotas: Quotas,
        clock: Callable[[], datetime],
    ) -> None:
        self._store, self._events, self._scanner, self._clock = store, events, scanner, clock
        self._settings, self._quotas = settings, quotas
        self.watchers: list[Watcher] = []

    def put(  # noqa: C901 - one transaction, with its checks in ECR's order
        self,
        repository: Repository,
        raw: bytes,
        media_type: str | None,
        tag: str | None,
        digest: str | None,
        *,
        over_http: bool = False,
    ) -> Put:
        """Store a manifest, point the tag at it and report the push. A repeated push raises
        ImageAlreadyExistsException over the API; over `/v2/` it is a success, except for an immutable tag
        (containers-roadmap #2380)."""
        self._store.get(repository)
        manifest = manifests.parse(raw, media_type)
        if tag is not None and not TAG.fullmatch(tag):
            raise errors.invalid("imageTag", f"must satisfy regular expression '{TAG.pattern}'")
        if digest is not None and digest != manifest.digest:
            raise errors.digest_mismatch(repository, digest)
        with self._store.db.transaction():
            row = self._store.get(repository)  # again: it may have been deleted since
            existing = self._store.image(row.id, manifest.digest)
            current = self._store.tagged(row.id, tag) if tag else None
            unchanged = existing is not None and (tag is None or current == manifest.digest)
            if unchanged and not over_http:
                raise errors.image_exists(repository, manifest.digest, tag)
            if tag and current and immutable(row, tag):
                raise errors.tag_immutable(repository, tag)
            if existing is None:
                text = f"The repository with name '{repository.name}'"
                self._quotas.count(IMAGES, lambda: self._store.count_images(row.id), text)
                self._store.put(row.id, manifest, self._size(row, manifest), self._clock().timestamp())
            if tag and current != manifest.digest:
                if len(self._store.tags_of(row.id, manifest.digest)) >= TAGS_PER_IMAGE:
                    raise EcrError("LimitExceededException", f"The image has {TAGS_PER_IMAGE} tags, which is the limit")
                self._store.tag(row.id, tag, manifest.digest)
            if existing and existing.status == "ARCHIVED":  # pushed again: restored (ECR's user guide)
                self._store.set_status(row.id, manifest.digest, "ACTIVE", self._clock().timestamp())
            image = self._store.image(row.id, manifest.digest)
            if not unchanged:
                self._report(lambda watcher: watcher.planned(row, manifest.digest))
        assert image is not None
        if not unchanged:
            self._events.image("PUSH", repository, image, tag)
        if existing is None:
            self.scan_on_push(row, image)
        if not unchanged:
            self._report(lambda watcher: watcher.pushed(row, image, tag))
        return Put(image, not unchanged)

    def _report(self, report: Callable[[Watcher], None]) -> None:
        """Call every watcher. An exception of one is logged; it fails no push and does not stop the others."""
        for watcher in self.watchers:
            try:
                report(watcher)
            except Exception:
                _LOG.exception("%s failed", type(watcher).__name__)

    def scan_on_push(self, row: RepositoryRow, image: ImageRow) -> None:
        """Start the scan of a new image, where the repository or the registry's scanning configuration says so."""
        try:
            if image.scannable and self._settings.scan_frequency(row)[0] == "SCAN_ON_PUSH":
                self._scanner.begin(row, image)
        except EcrError:
            pass  # deleted since: the push has happened, and there is nothing to scan
        except Exception:
            _LOG.exception("the scan of %s did not begin", image.digest)

    def _size(self, row: RepositoryRow, manifest: ParsedManifest) -> int:
        """Compressed bytes of configuration and layers; for an index those of its largest child (imageDetail in ECR's
        model)."""
        sizes = {digest: self._store.layer_size(row.id, digest) for digest in manifest.blobs}
        if missing := [digest for digest, size in sizes.items() if size is None]:
            raise errors.missing_for_push("Layers", [str(d) for d in missing], row.name)
        children = {digest: self._store.image(row.id, digest) for digest in manifest.children}
        if missing := [digest for digest, child in children.items() if child is None]:
            raise errors.missing_for_push("Images", [str(d) for d in missing], row.name)
        if manifest.is_index:
            return max((child.size for child in children.values() if child), default=0)
        return sum(sizes[digest] or 0 for digest in manifest.blobs)

    def resolve(self, repository: RepositoryRow, digest: str | None, tag: str | None) -> ImageRow | Failure:
        """The image of an id: by digest, by tag, or by both where they agree."""
        if digest is None and tag is None:
            reason = "Invalid request parameters: both tag and digest cannot be null"
            return Failure(digest, tag, "MissingDigestAndTag", reason)
        if digest is not None and not DIGEST.fullmatch(digest):
            reason = f"Invalid request parameters: image digest should satisfy the regex '{DIGEST.pattern}'"
            return Failure(digest, tag, "InvalidImageDigest", reason)
        if tag is not None and not TAG.fullmatch(tag):
            reason = f"Invalid request parameters: image tag should satisfy the regex '{TAG.pattern}'"
            return Failure(digest, tag, "InvalidImageTag", reason)
        found = self._store.tagged(repository.id, tag) if tag else Digest(digest or "")
        if tag and digest and found and found != digest:
            reason = "Requested image tag does not match the requested image digest"
            return Failure(digest, tag, "ImageTagDoesNotMatchDigest", reason)
        image = self._store.image(repository.id, found) if found else None
        return image or Failure(digest, tag, "ImageNotFound", "Requested image not found")

    def find(self, repository: RepositoryRow, digest: str | None, tag: str | None) -> ImageRow:
        """As `resolve`. Raises ImageNotFoundException, or InvalidParameterException for an invalid id."""
        found = self.resolve(repository, digest, tag)
        if isinstance(found, ImageRow):
            return found
        if found.code == "ImageNotFound":
            raise errors.image_not_found(repository.name, digest, tag)
        raise EcrError("InvalidParameterException", found.reason)

    def readable(self, repository: RepositoryRow, digest: str | None, tag: str | None) -> ImageRow:
        """As `find`. Raises ImageNotFoundException for an archived image too: it can't be pulled (ECR's user guide)."""
        image = self.find(repository, digest, tag)
        if image.status == "ARCHIVED":
            raise errors.image_not_found(repository.name, digest, tag)
        return image

    def raw(self, repository: RepositoryRow, image: ImageRow) -> bytes:
        """The manifest's bytes, exactly as pushed."""
        raw = self._store.raw(repository.id, image.digest)
        if raw is None:
            raise errors.image_not_found(repository.name, image.digest, None)
        return raw

    def pull(self, repository: RepositoryRow, image: ImageRow, identity: Identity) -> bytes:
        """The manifest's bytes; the pull is recorded, at most once a day, unless the principal is excluded."""
        now = self._clock().timestamp()
        due = image.pulled is None or now - image.pulled >= _DAY
        if due and not self._settings.excluded(repository.name.registry, identity.principal_arn):
            self._store.pulled(repository.id, image.digest, now)
        return self.raw(repository, image)

    def delete(self, repository: Repository, digest: str | None, tag: str | None) -> Removed | Failure:
        """By tag: removes the tag, and with its last tag the image. By digest: removes the image and all its tags.

        Returns what was removed as (digest, tag). An image that an index names is not removed: the Failure
        ImageReferencedByManifestList.
        """
        with self._store.db.transaction():
            row = self._store.get(repository)
            image = self.resolve(row, digest, tag)
            if isinstance(image, Failure):
                return image
            tags = self._store.tags_of(row.id, image.digest)
            removed: list[str] = [tag] if tag else tags
            gone = tag is None or tags == [tag]
            if gone and (parents := self._store.parents(row.id, image.digest)):
                reason = f"Requested image referenced by manifest list: [{', '.join(parents)}]"
                return Failure(digest, tag, "ImageReferencedByManifestList", reason)
            for name in removed:
                self._store.untag(row.id, name)
            if gone:
                self._store.remove(row.id, image.digest)
        for name in removed:
            self._events.image("DELETE", repository, image, name)
        if gone:
            self._events.image("DELETE", repository, image, None)
        self._report(lambda watcher: watcher.removed(row, image, removed, gone))
        return [(image.digest, name) for name in removed] or [(image.digest, None)]

    def archive(self, repository: RepositoryRow, image: ImageRow, target: str) -> ImageRow:
        """Move an image to the storage class ARCHIVE or back to STANDARD; here both take no time."""
        status, now = ("ARCHIVED" if target == "ARCHIVE" else "ACTIVE"), self._clock()
        if image.status != status:
            self._store.set_status(repository.id, image.digest, status, now.timestamp())
            more = {"target-storage-class": target}
            if status == "ACTIVE":
                more["last-activated-at"] = format_time(second_of(now))
            self._events.image("UPDATE_STORAGE_CLASS", repository.name, image, None, **more)
        return self._store.image(repository.id, image.digest) or image

    def referrers(self, repository: RepositoryRow, subject: str, types: list[str], status: str) -> list[dict[str, Any]]:
        """Descriptors, with `status`, of the images that point at the subject; `types`: only of these artifact
        types."""
        return [
            {
                "mediaType": image.media_type,
                "digest": str(image.digest),
                "size": image.manifest_size,
                "artifactType": image.artifact_type,
                "annotations": image.annotations or None,
                "status": image.status,
            }
            for image in self._store.referrers(repository.id, subject)
            if (not types or image.artifact_type in types) and status in ("ANY", image.status)
        ]
