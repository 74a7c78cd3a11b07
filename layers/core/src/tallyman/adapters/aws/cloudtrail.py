"""CloudTrail's event history: 90 days of management events, without a trail, and who made them."""

import json
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from tallyman.adapters.aws.clients import Clients
from tallyman.adapters.errors.translate import translated
from tallyman.adapters.http.pacing import Pace
from tallyman.domain.images.details import ApiCall
from tallyman.domain.names import Digest, Registry, Repository
from tallyman.domain.permissions import permissions
from tallyman.domain.times import parse_time
from tallyman.errors import BadInput, BadName, Throttled

CHANGES = frozenset(
    {
        "PutImage",
        "BatchDeleteImage",
        "PolicyExecutionEvent",  # a lifecycle policy ran: an event of the service, not a call
        "ReplicateImage",
        "UpdateImageStorageClass",
        "CreateRepository",
        "DeleteRepository",
        "PutImageTagMutability",
        "PutImageScanningConfiguration",
        "SetRepositoryPolicy",
        "DeleteRepositoryPolicy",
        "PutLifecyclePolicy",
        "DeleteLifecyclePolicy",
    }
)
"""Events that changed images or repositories; everything else of ECR is reading or uploading."""

SOURCE = "ecr.amazonaws.com"
_ATTEMPTS = 6
_log = logging.getLogger(__name__)


class CloudTrail:
    """`Trail` by LookupEvents: two requests a second for the whole account and region, 50 events each.

    It takes one attribute. By the source of events every pull would be one, and a busy hour would cost many pages; so
    it is asked once for each name in CHANGES. Events arrive in the history up to some 15 minutes late.
    """

    PERMISSIONS: tuple[str, ...] = permissions("cloudtrail:LookupEvents")

    def __init__(self, clients: Clients, rate: float = 1.0) -> None:
        self._clients, self._rate = clients, rate
        self._paces: dict[Registry, Pace] = {}
        self._lock = threading.Lock()

    def calls(
        self, registry: Registry, since: datetime, until: datetime, go_on: Callable[[int], None]
    ) -> Iterator[ApiCall]:
        """Reads all pages (newest first) before it gives the first call."""
        client = self._clients.get("cloudtrail", registry)
        found: list[ApiCall] = []
        pages = 0
        for name in sorted(CHANGES):
            request: dict[str, Any] = {
                "LookupAttributes": [{"AttributeKey": "EventName", "AttributeValue": name}],
                "StartTime": since,
                "EndTime": until,
                "MaxResults": 50,
            }
            while True:
                answer = self._ask(client, registry, request, partial(go_on, pages))
                pages += 1
                go_on(pages)
                for event in answer.get("Events", []):
                    if event.get("EventSource", SOURCE) == SOURCE:  # CodeCommit has a CreateRepository too
                        found.extend(_read(event, registry))
                if not answer.get("NextToken"):
                    break
                request["NextToken"] = answer["NextToken"]
        found.reverse()
        yield from sorted(found, key=lambda call: call.at)  # stable: equal seconds keep CloudTrail's order

    def _ask(
        self, client: Any, registry: Registry, request: Mapping[str, Any], waiting: Callable[[], None]
    ) -> Mapping[str, Any]:
        with self._lock:
            pace = self._paces.setdefault(registry, Pace(self._rate))
        for attempt in range(_ATTEMPTS):
            pace.wait()
            try:
                with translated(f"look up ECR's events of {registry} in CloudTrail"):
                    return dict(client.lookup_events(**request))
            except Throttled:
                if attempt == _ATTEMPTS - 1:
                    raise
                for _ in range(2**attempt):
                    waiting()
                    pace.wait()  # others share the quota: give way for longer and longer
        raise AssertionError("unreachable")


def _read(event: Mapping[str, Any], registry: Registry) -> Sequence[ApiCall]:
    try:
        return list(reversed(calls_of(json.loads(event["CloudTrailEvent"]), registry)))
    except (BadInput, ValueError) as error:
        # one odd record must not keep the others, and all that come later, from being read
        _log.warning("a record of CloudTrail is passed over: %s", error)
        return []


def calls_of(record: Mapping[str, Any], registry: Registry) -> list[ApiCall]:
    """What one CloudTrail record says, a call an image; none if the call failed or names no repository."""
    request = record.get("requestParameters") or {}
    response = record.get("responseElements") or {}
    details = record.get("serviceEventDetails") or {}
    name = request.get("repositoryName") or details.get("repositoryName")
    if record.get("errorCode") or not name:
        return []
    identity = record.get("userIdentity") or {}
    parameters = {k: v for k, v in (request or details).items() if k != "imageManifest"}
    try:
        repository = Repository(registry, str(name))
        at = parse_time(str(record["eventTime"]))
        images = _images(str(record["eventName"]), request, response, details)
    except (KeyError, BadInput) as error:
        raise BadInput(f"CloudTrail's record {record.get('eventID')} of {registry} is odd: {error}") from error
    return [
        ApiCall(
            id=str(record["eventID"]) + (f"#{n}" if n else ""),
            name=str(record["eventName"]),
            at=at,
            actor=identity.get("arn") or identity.get("invokedBy"),
            repository=repository,
            tag=tag,
            digest=digest,
            parameters=parameters,
        )
        for n, (tag, digest) in enumerate(images)
    ]


def _images(
    name: str, request: Mapping[str, Any], response: Mapping[str, Any], details: Mapping[str, Any]
) -> Sequence[tuple[str | None, Digest | None]]:
    """Tag and digest of each image that the record concerns; one pair of None where it concerns the repository."""
    ids: list[Mapping[str, Any]] = []
    if name == "BatchDeleteImage":  # only what was deleted, not what failed; the request may know more or less
        ids = list(response.get("imageIds") or ([] if "failures" in response else request.get("imageIds") or []))
        return [_pair(one) for one in ids]
    if name == "PolicyExecutionEvent":
        found: list[tuple[str | None, Digest | None]] = []
        for action in details.get("lifecycleEventImageActions") or []:
            image = action.get("lifecycleEventImage") or {}
            for tag in image.get("tagList") or [None]:
                found.append((tag, _digest(image.get("digest"))))
        return found
    image_id = (response.get("image") or {}).get("imageId") or request.get("imageId") or request
    return [_pair(image_id)]


def _pair(image_id: Mapping[str, Any]) -> tuple[str | None, Digest | None]:
    return image_id.get("imageTag") or None, _digest(image_id.get("imageDigest"))


def _digest(text: Any) -> Digest | None:
    """None also where it does not parse: one odd record must not hide the others (`parameters` keep its words)."""
    try:
        return Digest.parse(str(text)) if text else None
    except BadName:
        return None
