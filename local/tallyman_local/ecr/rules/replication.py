"""ECR's native replication between the local registries.

A push is copied to the destinations of the matching rules before it is answered (on AWS within half an hour). A new
repository there has the settings of the destination's creation templates, or else ECR's defaults. A tag that exists
there and may not move is left out silently, so that the image may arrive untagged. The destination sends the event "ECR
Replication Action" and no PUSH, and does not replicate the image further. Another account's registry policy must allow
the replication.
"""

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any

from tallyman.domain.names import EcrRegistry, Repository
from tallyman_local.ecr import manifests
from tallyman_local.ecr.errors import EcrError
from tallyman_local.ecr.identity import Identity
from tallyman_local.ecr.policies import allows, statements
from tallyman_local.ecr.rules import creation
from tallyman_local.ecr.rules.events import Events
from tallyman_local.ecr.rules.images import Images, immutable
from tallyman_local.ecr.rules.quotas import Quotas
from tallyman_local.ecr.store.rows import ImageRow, RepositoryRow
from tallyman_local.ecr.store.settings import Settings
from tallyman_local.ecr.store.tables import Store

_LOG = logging.getLogger("tallyman.local.ecr")
#: `failureCode` where another account's registry policy does not allow it, and of any other failure.
DENIED, FAILED = "AccessDenied", "ReplicationFailed"
Rule = dict[str, Any]


class Replication:
    """Replicates pushes and removals; a `Watcher` of the images."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        events: Events,
        images: Images,
        quotas: Quotas,
        clock: Callable[[], datetime],
    ) -> None:
        self._store, self._settings, self._events, self._images = store, settings, events, images
        self._quotas, self._clock = quotas, clock
        self._copying = threading.Lock()  # one copy at a time: two of the same digest would collide

    def rules(self, registry: EcrRegistry) -> list[Rule]:
        """The registry's replication rules."""
        found = self._settings.get(registry, "replication")
        return list(found.value["rules"]) if found else []

    def destinations(self, name: Repository, *, removals: bool = False) -> list[EcrRegistry]:
        """The destinations of a repository's images; with `removals`, only those of rules that replicate removals."""
        found: list[EcrRegistry] = []
        for rule in self.rules(name.registry):
            filters = rule.get("repositoryFilters") or []
            if filters and not any(name.name.startswith(one["filter"]) for one in filters):
                continue
            if removals and not rule.get("deleteReplication", {}).get("enabled"):
                continue
            found += [EcrRegistry(to["registryId"], to["region"]) for to in rule["destinations"]]
        return list(dict.fromkeys(found))

    # -- as a watcher of images (`images.Watcher`)

    def planned(self, row: RepositoryRow, digest: str) -> None:
        """Record the copies in the push's own transaction, so that `resume` finds what a killed process left."""
        for to in self.destinations(row.name):
            self._note(row, digest, to, "IN_PROGRESS")

    def pushed(self, row: RepositoryRow, image: ImageRow, tag: str | None) -> None:
        """Copy the image to every destination. A failure becomes a status, never an error of the push."""
        for to in self.destinations(row.name):
            self.replicate(row, image, [tag], to)

    def removed(self, row: RepositoryRow, image: ImageRow, tags: list[str], gone: bool) -> None:
        """Remove the same tags and image in the destinations of rules with `deleteReplication`."""
        for to in self.destinations(row.name, removals=True):
            there = Repository(to, row.name.name)
            for tag in tags:
                with suppress(EcrError):
                    self._images.delete(there, image.digest, tag)
            if gone:
                with suppress(EcrError):
                    self._images.delete(there, image.digest, None)

    # -- copying

    def resume(self) -> None:
        """Finish the copies that a killed process left in progress."""
        for found in self._store.db.rows("SELECT * FROM replications WHERE status = 'IN_PROGRESS'"):
            row = self._store.by_id(found["repository"])
            image = self._store.image(found["repository"], found["digest"])
            if row and image:
                tags: list[str | None] = [*self._store.tags_of(row.id, image.digest)]
                self.replicate(row, image, tags or [None], EcrRegistry(found["account"], found["region"]))

    def statuses(self, row: RepositoryRow, digest: str) -> list[dict[str, Any]]:
        """The `replicationStatuses` of an image."""
        sql = "SELECT * FROM replications WHERE repository = ? AND digest = ? ORDER BY account, region"
        return [
            {"region": r["region"], "registryId": r["account"], "status": r["status"], "failureCode": r["failure"]}
            for r in self._store.db.rows(sql, row.id, digest)
        ]

    def _note(self, row: RepositoryRow, digest: str, to: EcrRegistry, status: str, failure: str | None = None) -> None:
        sql = "INSERT OR REPLACE INTO replications VALUES (?, ?, ?, ?, ?, ?)"
        self._store.db.run(sql, row.id, digest, to.account, to.region, status, failure)

    def replicate(self, row: RepositoryRow, image: ImageRow, tags: list[str | None], to: EcrRegistry) -> str | None:
        """Copy an image with these tags (None: without a tag). Return the failure code; None: it succeeded."""
        failure = None
        try:
            with self._copying:
                for tag in tags:
                    self._copy(row, image, tag, to)
        except EcrError as error:
            failure = DENIED if error.code == "AccessDeniedException" else FAILED
        except Exception:
            _LOG.exception("%s of %s was not replicated to %s", image.digest, row.name, to)
            failure = FAILED
        if self._store.by_id(row.id) is not None:  # else deleted since: there is nothing to report
            self._note(row, image.digest, to, "FAILED" if failure else "COMPLETE", failure)
        return failure

    def _permit(self, source: EcrRegistry, action: str, name: Repository) -> None:
        if source.account == name.registry.account:
            return
        policy = self._settings.policy(name.registry)
        root = Identity.root(source.account)
        if not allows(
            statements(policy), action=f"ecr:{action}", resource=name.arn, account=root.account, arn=root.arn
        ):
            asked = {"repositoryName": name.name, "registryId": name.registry.account}
            text = f"User: {root.arn} is not authorized to perform: ecr:{action} on resource: {name.arn}"
            self._events.call(action, name.registry, root, asked, None, ("AccessDenied", text))
            raise EcrError("AccessDeniedException", text)

    def _destination(self, source: EcrRegistry, name: Repository) -> RepositoryRow:
        self._permit(source, "ReplicateImage", name)
        if found := self._store.find(name):
            return found
        self._permit(source, "CreateRepository", name)
        template = self._settings.template(name, "REPLICATION")
        return creation.from_template(self._store, self._quotas, name, template, self._clock().timestamp())

    def _copy(self, row: RepositoryRow, image: ImageRow, tag: str | None, to: EcrRegistry) -> None:  # noqa: C901 - one transaction, in the order of ECR's replication
        there = self._destination(row.name.registry, Repository(to, row.name.name))
        for digest in self._store.children(row.id, image.digest):
            child = self._store.image(row.id, digest)
            if child and self._store.image(there.id, digest) is None:
                self._copy(row, child, None, to)
        raw = self._store.raw(row.id, image.digest)
        if raw is None:  # deleted since
            return
        manifest = manifests.parse(raw, image.media_type)
        for blob in manifest.blobs:
            if self._store.layer_size(there.id, blob) is None and self._store.layer_size(row.id, blob) is not None:
                self._store.copy_layer(row, blob, there)
        with self._store.db.transaction():
            there = self._store.get(there.name)
            existing = self._store.image(there.id, image.digest)
            current = self._store.tagged(there.id, tag) if tag else None
            if tag and current and current != image.digest and immutable(there, tag):
                tag = None  # silently: the image arrives, the tag does not
            if existing is None:
                self._store.put(there.id, manifest, image.size, self._clock().timestamp())
            moved = tag is not None and current != image.digest
            if tag is not None and moved:
                self._store.tag(there.id, tag, image.digest)
            arrived = self._store.image(there.id, image.digest)
        if arrived and (existing is None or moved):
            self._events.replicated(there.name, arrived, tag, row.name.registry)
            if existing is None:
                self._images.scan_on_push(there, arrived)
