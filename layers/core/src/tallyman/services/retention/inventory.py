"""Reads what a repository holds into an Inventory: pages of a thousand images, their manifests a hundred a call."""

from collections.abc import Sequence

from tallyman.domain.images.manifest import Manifest
from tallyman.domain.names import Digest, Repository
from tallyman.domain.policy import Policy
from tallyman.domain.retention import Inventory
from tallyman.errors import BadInput, DigestMismatch, Refused
from tallyman.ports.clocks import Deadline, no_limit
from tallyman.ports.records import Archive
from tallyman.ports.registries import ImageSource
from tallyman.services.copying.blobs import enough_time
from tallyman.values import value

_BATCH, _PAGE = 100, 1000


@value
class TakeInventory:
    """Reads inventories of repositories. Writes nothing."""

    policy: Policy
    source: ImageSource
    archive: Archive

    def of(self, repository: Repository, left: Deadline = no_limit) -> Inventory:
        """Read all images, archived ones too. Cost for 10,000 images: 10 calls of DescribeImages and 100 of
        BatchGetImage; in memory are the columns and one page. Manifests of archived images come from our own archive,
        because ECR does not return them. Raises NotFound where there is no such repository, OutOfTime where the run
        ends first.
        """
        environment, name = self.policy.environment_of(repository)
        return self._filled(Inventory(repository, name, environment.name if environment else None), None, left)

    def again(self, before: Inventory, left: Deadline = no_limit) -> Inventory:
        """Read the same repository again: a call for each thousand images, and only the manifests that `before` does
        not have. Raises as `of`."""
        return self._filled(before.emptied(), before, left)

    def _filled(self, inventory: Inventory, before: Inventory | None, left: Deadline) -> Inventory:
        repository = inventory.repository
        batch: list[Digest] = []
        for number, detail in enumerate(self.source.images(repository)):
            if number and number % _PAGE == 0:
                enough_time(left, f"the inventory of {repository}")
            row = inventory.add(detail)
            if before is not None and inventory.recall(row, before):
                continue
            if detail.archived:
                self._from_archive(inventory, detail.digest)
                continue
            batch.append(detail.digest)
            if len(batch) == _BATCH:
                enough_time(left, f"the inventory of {repository}")
                self._read(inventory, repository, batch)
                batch = []
        if batch:
            self._read(inventory, repository, batch)
        return inventory

    def _read(self, inventory: Inventory, repository: Repository, digests: Sequence[Digest]) -> None:
        """Read manifests in one call. Where it is refused because of one image, reads each half by itself, and so
        on."""
        try:
            manifests = self.source.manifests(repository, digests)
        except (Refused, BadInput) as error:
            if len(digests) == 1:
                inventory.describe(digests[0], None, str(error))
                return
            half = len(digests) // 2
            self._read(inventory, repository, digests[:half])
            self._read(inventory, repository, digests[half:])
            return
        for digest in digests:
            manifest = manifests.get(digest)
            if manifest is not None and manifest.digest != digest:
                inventory.describe(digest, None, "the registry gave other bytes than those of its digest")
            else:
                inventory.describe(digest, manifest, "the registry does not give its manifest")

    def _from_archive(self, inventory: Inventory, digest: Digest) -> None:
        try:
            raw = self.archive.get("manifests", digest)
        except DigestMismatch as error:
            inventory.describe(digest, None, str(error))
            return
        row = inventory.rows[digest]
        media = inventory.media_types.get(row, "")
        manifest = Manifest(raw, media) if raw is not None else None
        inventory.describe(digest, manifest, "it is archived, and its manifest was never recorded")
