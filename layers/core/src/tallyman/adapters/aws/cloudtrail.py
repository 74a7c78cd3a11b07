"""CloudTrail's event history: the management events of 90 days and who caused them; it needs no trail."""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from tallyman.adapters.aws.clients import Clients
from tallyman.adapters.aws.paging import listed
from tallyman.adapters.errors.translate import translated
from tallyman.adapters.http.pacing import Pace
from tallyman.domain.events.eventbridge import REMOVING_CALLS, SETTINGS_CALLS
from tallyman.domain.images.details import ApiCall
from tallyman.domain.images.documents import loads_writable, show
from tallyman.domain.names import Digest, EcrRegistry, Repository
from tallyman.domain.permissions import permissions
from tallyman.domain.times import format_time, parse_time
from tallyman.errors import BadInput, BadName, Throttled, Unreachable
from tallyman.ports.registries import TrailPage

CHANGES = REMOVING_CALLS | SETTINGS_CALLS | {"PutImage", "ReplicateImage", "UpdateImageStorageClass"}
"""The events that change images or repositories. ECR's other events are reads and uploads of layers."""

_NAMES = sorted(CHANGES)
SOURCE = "ecr.amazonaws.com"
_ATTEMPTS = 6
_log = logging.getLogger(__name__)


class CloudTrail:
    """`Trail` by LookupEvents: two requests a second for the whole account and region, 50 events each.

    LookupEvents filters by one attribute. The source of events would return every pull, and many pages for a busy hour;
    so each name in CHANGES is looked up by itself. Events appear in the history up to about 15 minutes late.
    """

    PERMISSIONS: tuple[str, ...] = permissions("cloudtrail:LookupEvents")

    def __init__(self, clients: Clients, rate: float = 1.0) -> None:
        self._clients, self._rate = clients, rate
        self._paces: dict[EcrRegistry, Pace] = {}
        self._lock = threading.Lock()

    def page(
        self, registry: EcrRegistry, since: datetime, until: datetime, position: str | None, waiting: Callable[[], None]
    ) -> TrailPage:
        """One page: one request, and more while CloudTrail throttles.

        A position is `NAME BEFORE TOKEN`: the event's name, the time of the last event that was read (newest first),
        and CloudTrail's token, whose lifetime is not documented. Where CloudTrail refuses the token, the events of this
        name are read again from that time, some of them twice.
        """
        name, before, token = position.split(" ", 2) if position else (_NAMES[0], "", "")
        client = self._clients.get("cloudtrail", registry)
        request: dict[str, Any] = {
            "LookupAttributes": [{"AttributeKey": "EventName", "AttributeValue": name}],
            "StartTime": since,
            "EndTime": until,
            "MaxResults": 50,
        }
        try:
            answer = self._ask(client, registry, request | ({"NextToken": token} if token else {}), waiting)
        except BadInput:
            if not token:
                raise
            token, answer = "", self._ask(client, registry, request | {"EndTime": parse_time(before)}, waiting)
        events = listed(answer, "Events", f"look up ECR's events of {registry} in CloudTrail")
        if token and answer.get("NextToken") == token:
            raise Unreachable(f"look up ECR's events of {registry}: CloudTrail names the same next page twice")
        calls = [
            call
            for event in events
            if event.get("EventSource", SOURCE) == SOURCE  # CodeCommit has a CreateRepository too
            for call in _read(event, registry)
        ]
        return TrailPage(tuple(reversed(calls)), _position_after(name, answer, before or format_time(until)))

    def _ask(
        self, client: Any, registry: EcrRegistry, request: Mapping[str, Any], waiting: Callable[[], None]
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
                    pace.wait()  # others share the quota: each pause is twice as long as the one before
        raise AssertionError("unreachable")


def _position_after(name: str, answer: Mapping[str, Any], before: str) -> str | None:
    if token := answer.get("NextToken"):
        times = [event["EventTime"] for event in answer.get("Events", []) if event.get("EventTime")]
        return f"{name} {format_time(min(times)) if times else before} {token}"
    following = _NAMES[_NAMES.index(name) + 1 :]
    return f"{following[0]}  " if following else None


def _read(event: Mapping[str, Any], registry: EcrRegistry) -> Sequence[ApiCall]:
    try:
        return list(reversed(calls_of(loads_writable(event.get("CloudTrailEvent") or ""), registry)))
    except (BadInput, ValueError) as error:
        # one invalid record must not keep the others, and all later ones, from being read
        _log.warning("skipped a record of CloudTrail: %s", error)
        return []


def calls_of(record: Mapping[str, Any], registry: EcrRegistry) -> list[ApiCall]:
    """The calls of one CloudTrail record, one for each image; none if the call failed, or names no repository of this
    registry. Raises BadInput where the record has not the shape that CloudTrail documents."""
    try:
        return _calls(record, registry)
    except (KeyError, TypeError, AttributeError, BadInput) as error:
        raise BadInput(f"CloudTrail's record {show(_name(record))} of {registry} is invalid: {error}") from error


def _name(record: object) -> object:
    return record.get("eventID") if isinstance(record, Mapping) else record


def _calls(record: Mapping[str, Any], registry: EcrRegistry) -> list[ApiCall]:
    request = record.get("requestParameters") or {}
    response = record.get("responseElements") or {}
    details = record.get("serviceEventDetails") or {}
    name = request.get("repositoryName") or details.get("repositoryName")
    if record.get("errorCode") or not name:
        return []
    if request.get("registryId") not in (None, registry.account):
        return []  # CloudTrail also shows a call to another account's registry to its caller
    identity = record.get("userIdentity") or {}
    repository = Repository(registry, str(name))
    at = parse_time(str(record["eventTime"]))
    return [
        ApiCall(
            id=str(record["eventID"]) + (f"#{n}" if n else ""),
            name=str(record["eventName"]),
            at=at,
            actor=identity.get("arn") or identity.get("invokedBy"),
            repository=repository,
            tag=tag,
            digest=digest,
            parameters={k: v for k, v in (request or details).items() if k != "imageManifest"},
        )
        for n, (tag, digest) in enumerate(_images(str(record["eventName"]), request, response, details))
    ]


def _images(
    name: str, request: Mapping[str, Any], response: Mapping[str, Any], details: Mapping[str, Any]
) -> Sequence[tuple[str | None, Digest | None]]:
    """The tag and digest of each image that the record names; (None, None) where it is about the whole repository."""
    ids: list[Mapping[str, Any]] = []
    if name == "BatchDeleteImage":  # only what was deleted: the request also names what failed
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
    """None also for an invalid digest: one such record must not hide the others (`parameters` keep its text)."""
    try:
        return Digest.parse(str(text)) if text else None
    except BadName:
        return None
