"""Build ECR's EventBridge events (in the shapes of ECR's user guide) and CloudTrail records of management calls."""

import logging
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from tallyman.domain.names import EcrRegistry, Repository
from tallyman.domain.times import format_time, second_of
from tallyman_local.ecr.identity import Identity
from tallyman_local.ecr.store.rows import ImageRow

_LOG = logging.getLogger("tallyman.local.ecr")
Emit = Callable[[dict[str, Any], str, str], None]
Trail = Callable[[dict[str, Any]], None]


class Events:
    """Builds events and emits them synchronously: when a call returns, its events have been emitted.

    An exception of a receiver is logged and fails no call: ECR answers a push whatever happens to its event.
    """

    def __init__(self, clock: Callable[[], datetime], emit: Emit, trail: Trail) -> None:
        self._clock, self._emit, self._trail = clock, emit, trail

    def _send(self, detail_type: str, registry: EcrRegistry, detail: dict[str, Any], resources: list[str]) -> None:
        event = {
            "version": "0",
            "id": str(uuid.uuid4()),
            "detail-type": detail_type,
            "source": "aws.ecr",
            "account": registry.account,
            "time": format_time(second_of(self._clock())),
            "region": registry.region,
            "resources": resources,
            "detail": detail,
        }
        try:
            self._emit(event, registry.account, registry.region)
        except Exception:
            _LOG.exception("the event %s (%s of %s) was not delivered", event["id"], detail_type, registry)

    def image(self, action: str, repository: Repository, image: ImageRow, tag: str | None, **more: str) -> None:
        """ECR Image Action, or ECR Referrer Action for a manifest with a subject. `tag` None: an empty tag."""
        detail: dict[str, Any] = {
            "result": "SUCCESS",
            "repository-name": repository.name,
            "image-digest": str(image.digest),
            "action-type": action,
            "image-tag": tag or "",
            "manifest-media-type": image.media_type,
            **more,
        }
        if action == "UPDATE_STORAGE_CLASS":
            del detail["image-tag"]
        if image.artifact_type:
            detail["artifact-media-type"] = image.artifact_type
        kind = "ECR Referrer Action" if image.subject else "ECR Image Action"
        self._send(kind, repository.registry, detail, [])

    def replicated(self, repository: Repository, image: ImageRow, tag: str | None, source: EcrRegistry) -> None:
        """ECR Replication Action, in the destination."""
        detail = {
            "result": "SUCCESS",
            "repository-name": repository.name,
            "image-digest": str(image.digest),
            "source-account": source.account,
            "action-type": "REPLICATE",
            "source-region": source.region,
            "image-tag": tag or "",
        }
        self._send("ECR Replication Action", repository.registry, detail, [repository.arn])

    def scan(
        self, repository: Repository, digest: str, status: str, counts: Mapping[str, int], tags: list[str]
    ) -> None:
        """ECR Image Scan; severities without findings are left out of `counts`."""
        detail = {
            "scan-status": status,
            "repository-name": repository.name,
            "finding-severity-counts": {severity: n for severity, n in counts.items() if n > 0},
            "image-digest": digest,
            "image-tags": tags,
        }
        self._send("ECR Image Scan", repository.registry, detail, [repository.arn])

    def call(
        self,
        operation: str,
        registry: EcrRegistry,
        identity: Identity,
        request: Mapping[str, Any],
        response: Mapping[str, Any] | None,
        error: tuple[str, str] | None = None,
    ) -> None:
        """A CloudTrail record of a management call. `error`: code and message of a call that failed."""
        name = request.get("repositoryName")
        record: dict[str, Any] = {
            "eventVersion": "1.11",
            "userIdentity": identity.user_identity(),
            "eventTime": format_time(second_of(self._clock())),
            "eventSource": "ecr.amazonaws.com",
            "eventName": operation,
            "awsRegion": registry.region,
            "sourceIPAddress": "127.0.0.1",
            "userAgent": "local",
            "requestParameters": dict(request),
            "responseElements": dict(response) if response is not None else None,
            "requestID": str(uuid.uuid4()),
            "eventID": str(uuid.uuid4()),
            "readOnly": False,
            "resources": [{"accountId": registry.account, "ARN": Repository(registry, name).arn}] if name else [],
            "eventType": "AwsApiCall",
            "managementEvent": True,
            "recipientAccountId": registry.account,
            "eventCategory": "Management",
        }
        if error:
            record["errorCode"], record["errorMessage"] = error
        try:
            self._trail(record)
        except Exception:
            _LOG.exception("the record of %s in %s was not stored", operation, registry)
