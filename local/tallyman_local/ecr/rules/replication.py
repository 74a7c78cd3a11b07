"""ECR's native replication between the local registries.

A push is copied to the destinations of the matching rules before it is answered (on AWS within half an hour). A new
repository there has the settings of the destination's creation templates, or else ECR's defaults. A tag that exists
there and may not move is left out silently, so that the image may arrive untagged. The destination sends the event "ECR
Replication Action" and no PUSH, and does not replicate the image further. Another account's registry policy must allow
the replication.
"""

import logging
import threading
import uuid
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
#: `failureCode` where another account's registry policy does not allow it.
DENIED = "AccessDenied"
_FAILED = "ReplicationFailed"
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
        """Records the copies in the push's own transaction, so that `resume` finds what a killed process left."""
        for to in self.destinations(row.name):
            self._note(row, digest, to, "IN_PROGRESS")

    def pushed(self, row: RepositoryRow, image: ImageRow, tag: str | None) -> None:
        """Copies the image to every destination. A failure becomes a status, never an error of the push."""
        for to in self.destinations(row.name):
            self.replicate(row, image, [tag], to)

    def removed(self, row: RepositoryRow, image: ImageRow, tags: list[str], gone: bool) -> None:
        """Removes the same tags and image in the destinations of rules with `deleteReplication`."""
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
        """Finishes the copies that a killed process left in progress."""
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
        """Copies an image with these tags (None: without a tag). Returns the failure code; None: it succeeded."""
        failure = None
        try:
            with self._copying:
                for tag in tags:
                    self._copy(row, image, tag, to)
        except EcrError as error:
            failure = DENIED if error.code == "AccessDeniedException" else _FAILED
        except Exception:
            _LOG.exception("%s of %s was not replicated to %s", image.digest, row.name, to)
            failure = _FAILED
        if self._store.by_id(row.id) is not None:  # else deleted since: there is nothing to report
            self._note(row, image.digest, to, "FAILED" if failure else "COMPLETE", failure)
        return failure

    def _permit(self, source: EcrRegistry, action: str, name: Repository) -> None:
        if source.account == name.registry.account:
            return
        policy = self._settings.policy(name.registry)
        root = f"arn:aws:iam::{source.account}:root"
        if not allows(statements(policy), action=f"ecr:{action}", resource=name.arn, account=source.account, arn=root):
            asked = {"repositoryName": name.name, "registryId": name.registry.account}
            text = f"User: {root} is not authorized to perform: ecr:{action} on resource: {name.arn}"
            who = Identity(source.account, root, source.account)
            self._events.call(action, name.registry, who, asked, None, ("AccessDenied", text))
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


class Backfills:
    """Replication of the images that are in a registry already (StartReplicationBackfill); one thread per backfill."""

    def __init__(self, replication: Replication, store: Store, settings: Settings, clock: Callable[[], datetime]):
        self._replication, self._store, self._settings, self._clock = replication, store, settings, clock
        self._running: dict[str, threading.Event] = {}
        self._threads: list[threading.Thread] = []
        self._changed = threading.Condition()

    def get(self, registry: EcrRegistry, backfill_id: str) -> dict[str, Any]:
        """The document of a backfill. Raises ReplicationBackfillNotFoundException."""
        found = self._settings.get(registry, "backfill", backfill_id)
        if found is None:
            text = f"The replication backfill with id '{backfill_id}' does not exist"
            raise EcrError("ReplicationBackfillNotFoundException", text)
        value: dict[str, Any] = dict(found.value)
        if value["status"] in ("IN_PROGRESS", "STOPPING") and backfill_id not in self._running:
            value["status"] = "STOPPED"  # the process that ran it was killed
        return value

    def all(self, registry: EcrRegistry) -> list[dict[str, Any]]:
        """The documents of a registry's backfills, in the order of their ids."""
        return [self.get(registry, found.name) for found in self._settings.all(registry, "backfill")]

    def start(self, registry: EcrRegistry, to: EcrRegistry) -> dict[str, Any]:
        """Begins a backfill and returns its document."""
        if any(b["status"] == "IN_PROGRESS" and b["destination"] == _shape(to) for b in self.all(registry)):
            text = f"A replication backfill for the destination {to} is in progress already"
            raise EcrError("ReplicationBackfillInProgressException", text)
        value = {
            "replicationBackfillId": str(uuid.uuid4()),
            "destination": _shape(to),
            "status": "IN_PROGRESS",
            "startedAt": self._clock().timestamp(),
            "progress": _progress(0, []),
            "results": [],
        }
        backfill_id = str(value["replicationBackfillId"])
        self._running[backfill_id] = threading.Event()
        self._save(registry, value)
        thread = threading.Thread(target=self._run, args=(registry, to, value), name="backfill", daemon=True)
        self._threads.append(thread)
        started = dict(value)
        thread.start()
        return started

    def stop(self, registry: EcrRegistry, backfill_id: str) -> dict[str, Any]:
        """Stops a backfill after the current image; what was replicated stays. Returns its document."""
        value = self.get(registry, backfill_id)
        event = self._running.get(backfill_id)
        if value["status"] != "IN_PROGRESS" or event is None:
            text = f"The replication backfill with id '{backfill_id}' is {value['status']}"
            raise EcrError("ReplicationBackfillInvalidStatusException", text)
        event.set()
        return {**value, "status": "STOPPING"}

    def busy(self) -> int:
        """How many backfills are running."""
        return len(self._running)

    def close(self) -> None:
        """Stops all backfills and waits for their ends."""
        for event in list(self._running.values()):
            event.set()
        for thread in self._threads:
            thread.join()

    def _save(self, registry: EcrRegistry, value: dict[str, Any]) -> None:
        name = str(value["replicationBackfillId"])
        self._settings.put(registry, "backfill", value, self._clock().timestamp(), name)

    def _run(self, registry: EcrRegistry, to: EcrRegistry, value: dict[str, Any]) -> None:
        stopped = self._running[str(value["replicationBackfillId"])]
        try:
            work = [
                (row, image, tags)
                for row in self._store.repositories(registry)
                if to in self._replication.destinations(row.name)
                for image, tags in self._store.tagged_images(row.id, status="ACTIVE")
            ]
            for row, image, tags in work:
                if stopped.is_set():
                    break
                failure = self._replication.replicate(row, image, [*tags] or [None], to)
                result = {"imageDigest": str(image.digest), **({"imageTag": tags[0]} if tags else {})}
                status = {"status": "FAILED", "failureCode": failure} if failure else {"status": "COMPLETE"}
                value["results"].append({"repositoryName": row.name.name, "imageId": result, **status})
                value["progress"] = _progress(len(work), value["results"])
                self._save(registry, value)
            failed = value["progress"]["failedReplicationCount"]
            value["status"] = "STOPPED" if stopped.is_set() else "FAILED" if failed else "COMPLETE"
        except Exception:
            value |= {"status": "FAILED", "failureCode": _FAILED}
            raise
        finally:
            value["endedAt"] = self._clock().timestamp()
            self._save(registry, value)
            with self._changed:
                del self._running[str(value["replicationBackfillId"])]
                self._changed.notify_all()

    def wait(self, seconds: float = 60) -> bool:
        """Waits until no backfill is running. Returns False where that takes longer than `seconds`."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._running, seconds)


def _shape(registry: EcrRegistry) -> dict[str, str]:
    return {"region": registry.region, "registryId": registry.account}


def _progress(total: int, results: list[dict[str, Any]]) -> dict[str, Any]:
    failed = [result["failureCode"] for result in results if result["status"] == "FAILED"]
    return {
        "totalReplicationCount": total,
        "completedReplicationCount": len(results) - len(failed),
        "failedReplicationCount": len(failed),
        "failureCodes": sorted(set(failed)),
    }
