"""ECR's managed signing without a signer: an image of a matching repository is IN_PROGRESS until `complete`.

The local cloud has no AWS Signer: the referrer that `complete` pushes has the shape and media types of a signature, and
says that it is not one.
"""

import json
from collections.abc import Callable
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any, Literal

from tallyman.domain.images.manifest import OCI_EMPTY, OCI_MANIFEST
from tallyman.domain.names import Digest, EcrRegistry, Repository
from tallyman_local.ecr import errors
from tallyman_local.ecr.rules.images import Images
from tallyman_local.ecr.store.rows import ImageRow, RepositoryRow
from tallyman_local.ecr.store.settings import Settings
from tallyman_local.ecr.store.tables import Store

ARTIFACT = "application/vnd.cncf.notary.signature"
_ENVELOPE = "application/jose+json"


class Signing:
    """Keeps a status for each pushed image and signing profile; a `Watcher` of the images."""

    def __init__(self, store: Store, settings: Settings, images: Images, clock: Callable[[], datetime]) -> None:
        self._store, self._settings, self._images, self._clock = store, settings, images, clock

    def profiles(self, name: Repository) -> list[str]:
        """The signing profiles whose rules match the repository; a rule without filters matches all."""
        found = self._settings.get(name.registry, "signing")
        rules = found.value["rules"] if found else []
        return [
            rule["signingProfileArn"]
            for rule in rules
            if any(fnmatchcase(name.name, f["filter"]) for f in rule.get("repositoryFilters") or [{"filter": "*"}])
        ]

    def planned(self, row: RepositoryRow, digest: str) -> None:
        """Mark an image without a subject as to be signed by every profile."""
        image = self._store.image(row.id, digest)
        if image is None or image.subject:
            return
        for profile in self.profiles(row.name):
            sql = "INSERT OR IGNORE INTO signings VALUES (?, ?, ?, 'IN_PROGRESS', NULL, NULL)"
            self._store.db.run(sql, row.id, digest, profile)

    def pushed(self, row: RepositoryRow, image: ImageRow, tag: str | None) -> None:
        """Do nothing: `planned` has recorded the image."""

    def removed(self, row: RepositoryRow, image: ImageRow, tags: list[str], gone: bool) -> None:
        """Remove the statuses of a removed image."""
        if gone:
            self._store.db.run("DELETE FROM signings WHERE repository = ? AND digest = ?", row.id, image.digest)

    def statuses(self, row: RepositoryRow, digest: str) -> list[dict[str, Any]]:
        """The `signingStatuses` of an image."""
        sql = "SELECT * FROM signings WHERE repository = ? AND digest = ? ORDER BY profile"
        return [
            {
                "signingProfileArn": found["profile"],
                "status": found["status"],
                "failureCode": found["failure"],
                "failureReason": found["reason"],
            }
            for found in self._store.db.rows(sql, row.id, digest)
        ]

    def complete(
        self,
        registry: EcrRegistry,
        repository: str,
        digest: str,
        status: Literal["COMPLETE", "FAILED"] = "COMPLETE",
        reason: str = "",
    ) -> list[Digest]:
        """End signing for every profile that is in progress. Return the referrers that were pushed.

        Raises EcrError: RepositoryNotFoundException, ImageNotFoundException.
        """
        row = self._store.get(Repository(registry, repository))
        image = self._store.image(row.id, digest)
        if image is None:
            raise errors.image_not_found(row.name, digest, None)
        pushed = []
        for found in self.statuses(row, digest):
            if found["status"] != "IN_PROGRESS":
                continue
            if status == "COMPLETE":
                pushed.append(self._push(row, image, found["signingProfileArn"]))
            values = (status, "SigningFailed" if status == "FAILED" else None, reason or None)
            sql = "UPDATE signings SET status = ?, failure = ?, reason = ? WHERE repository = ? AND digest = ?"
            self._store.db.run(sql + " AND profile = ?", *values, row.id, digest, found["signingProfileArn"])
        return pushed

    def _push(self, row: RepositoryRow, image: ImageRow, profile: str) -> Digest:
        note = {"local": "not a signature: the local ECR has no AWS Signer", "profile": profile, "of": image.digest}
        envelope = json.dumps(note).encode()
        blobs = [self._store.add_blob(row, raw) for raw in (b"{}", envelope)]
        described = [
            {"mediaType": kind, "digest": blob, "size": size}
            for kind, blob, size in zip((OCI_EMPTY, _ENVELOPE), blobs, (2, len(envelope)), strict=True)
        ]
        subject = {"mediaType": image.media_type, "digest": image.digest, "size": image.manifest_size}
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": ARTIFACT,
            "config": described[0],
            "layers": described[1:],
            "subject": subject,
        }
        raw = json.dumps(manifest).encode()
        return self._images.put(row.name, raw, OCI_MANIFEST, None, None, over_http=True).image.digest
