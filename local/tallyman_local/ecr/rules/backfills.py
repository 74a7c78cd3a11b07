"""Replication of the images that a registry holds already (StartReplicationBackfill)."""

import threading
import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any

from tallyman.domain.names import EcrRegistry
from tallyman_local.ecr.errors import EcrError
from tallyman_local.ecr.rules.replication import FAILED, Replication
from tallyman_local.ecr.store.settings import Settings
from tallyman_local.ecr.store.tables import Store


class Backfills:
    """The backfills of all registries; each runs in a thread of its own."""

    def __init__(self, replication: Replication, store: Store, settings: Settings, clock: Callable[[], datetime]):
        self._replication, self._store, self._settings, self._clock = replication, store, settings, clock
        self._running: dict[str, threading.Event] = {}
        self._threads: list[threading.Thread] = []

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
        """Begin a backfill and return its document."""
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
        """Stop a backfill after the current image; what was replicated stays. Return its document."""
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
        """Stop all backfills and wait for their ends."""
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
            value |= {"status": "FAILED", "failureCode": FAILED}
            raise
        finally:
            value["endedAt"] = self._clock().timestamp()
            self._save(registry, value)
            del self._running[str(value["replicationBackfillId"])]


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
