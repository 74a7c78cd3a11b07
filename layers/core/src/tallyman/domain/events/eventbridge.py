"""Events of ECR, Inspector, CloudTrail, `tallyman doctor` and checks, as EventBridge delivers them, parsed to values.

Events are hints (ECR's are best effort: lost, doubled, unordered). The registry comes from the event's ARN where it has
one: Inspector's delegated administrator sends each event a second time under its own account.
"""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from tallyman.domain.images.details import ApiCall
from tallyman.domain.images.documents import loads_writable
from tallyman.domain.names import Digest, EcrRegistry, Repository, parse_repository_name, parse_tag
from tallyman.domain.times import parse_time
from tallyman.errors import BadInput, BadMessage
from tallyman.values import value

REMOVING_CALLS = frozenset({"BatchDeleteImage", "PolicyExecutionEvent"})
"""CloudTrail's names of calls that remove images. PolicyExecutionEvent is a run of a lifecycle policy, which only
CloudTrail's event history reports."""
SETTINGS_CALLS = frozenset(
    {
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


@value
class ImageAction:
    """ECR Image Action, Replication Action or Referrer Action. `action`: push, delete, replicate, archive, restore."""

    id: str
    at: datetime
    action: str
    repository: Repository
    digest: Digest
    tag: str | None = None
    media_type: str | None = None
    succeeded: bool = True
    source: EcrRegistry | None = None  # where a replicated image comes from


@value
class ScanEnded:
    """ECR Image Scan (basic) or Inspector2 Scan. The findings are read from the registry, not from the event."""

    id: str
    at: datetime
    repository: Repository
    digest: Digest


TRIP_SOURCE, TRIP = "tallyman.doctor", "Round Trip"
"""Source and detail-type of a test event; AWS lets nobody else send events as `aws.ecr`."""

_NONCE = r"[0-9A-Za-z-]{8,64}"


@value
class RoundTrip:
    """A test event. `registry`: account and region of the bus that it was put on; EventBridge sets them, no sender can
    forge them. `nonce`: None where the event is not one of ours."""

    id: str
    registry: EcrRegistry
    nonce: str | None


CHECK = "Check Result"
"""The detail-type of a check's result."""


@value
class CheckPosted:
    """A check's result that another system put on the stack's bus. `sender`: `event/<account>/<source>`; EventBridge
    sets the account, the sender its source. `said`: the event's detail, not validated yet."""

    id: str
    sender: str
    said: Mapping[str, Any]


Event = ImageAction | ScanEnded | ApiCall | RoundTrip | CheckPosted

_ACTIONS = {"PUSH": "push", "DELETE": "delete", "REPLICATE": "replicate"}
_STORAGE = {"ARCHIVE": "archive", "STANDARD": "restore"}


def parse_event(body: str) -> Event:
    """Parse the EventBridge event in the body of a queue's message. Raises BadMessage: what is wrong and where.

    An empty tag counts as none (ECR sends either for a push by digest).
    """
    try:
        event = loads_writable(body)
    except ValueError as error:
        raise BadMessage(f"the message is not JSON ({error}): expected an EventBridge event") from None
    if not isinstance(event, dict) or not isinstance(event.get("detail"), dict):
        raise BadMessage("the message is not an EventBridge event: expected an object with 'detail-type' and 'detail'")
    kind = event.get("detail-type")
    parse = _PARSERS.get(kind) if isinstance(kind, str) else None
    if parse is None:
        raise BadMessage(f"unknown detail-type '{kind}': expected {', '.join(_PARSERS)}")
    try:
        return parse(event, event["detail"])
    except BadMessage:
        raise
    except BadInput as error:
        raise BadMessage(f"{kind} {event.get('id', 'without id')}: {error}") from None


def _text(where: Mapping[str, Any], key: str) -> str:
    value = where.get(key)
    if not isinstance(value, str) or not value:
        raise BadMessage(f"'{key}': expected a string that is not empty, found {value!r}")
    return value


def _registry(event: Mapping[str, Any]) -> EcrRegistry:
    return EcrRegistry.parse(f"{_text(event, 'account')}/{_text(event, 'region')}")


def _image_action(event: Mapping[str, Any], detail: Mapping[str, Any]) -> Event:
    name = _text(detail, "action-type")
    action = _ACTIONS.get(name) or (
        _STORAGE.get(_text(detail, "target-storage-class")) if name == "UPDATE_STORAGE_CLASS" else None
    )
    if action is None:
        raise BadMessage(f"'action-type' is '{name}': expected PUSH, DELETE, REPLICATE or UPDATE_STORAGE_CLASS")
    tag = detail.get("image-tag") or None
    source = detail.get("source-account") and EcrRegistry.parse(
        f"{detail['source-account']}/{_text(detail, 'source-region')}"
    )
    return ImageAction(
        id=_text(event, "id"),
        at=parse_time(_text(event, "time")),
        action=action,
        repository=Repository(_registry(event), parse_repository_name(_text(detail, "repository-name"))),
        digest=Digest.parse(_text(detail, "image-digest")),
        tag=parse_tag(str(tag)) if tag else None,
        media_type=detail.get("manifest-media-type") or None,
        succeeded=detail.get("result") == "SUCCESS",
        source=source or None,
    )


def _scan(event: Mapping[str, Any], detail: Mapping[str, Any]) -> Event:
    name = _text(detail, "repository-name")
    given = event.get("resources")
    resources = [r for r in given if isinstance(r, str) and ":repository/" in r] if isinstance(given, list) else []
    if name.startswith("arn:"):
        repository = Repository.parse(name)
    elif resources:
        repository = Repository.parse(resources[0].partition("/sha256:")[0])
    else:
        repository = Repository(_registry(event), parse_repository_name(name))
    digest = Digest.parse(_text(detail, "image-digest"))
    return ScanEnded(_text(event, "id"), parse_time(_text(event, "time")), repository, digest)


def parse_call(record: Mapping[str, Any]) -> ApiCall:
    """Parse a CloudTrail record of an ECR call, from an event or from LookupEvents. Raises BadInput.

    Where a call names several images, `digest` and `tag` are those of the first; `parameters` has all of them. A call
    that failed has no `parameters`.
    """
    request = record.get("requestParameters")
    request = request if isinstance(request, dict) else {}
    account = request.get("registryId") or record.get("recipientAccountId")
    registry = EcrRegistry.parse(f"{account}/{_text(record, 'awsRegion')}")
    identity = record.get("userIdentity")
    response = record.get("responseElements")
    image = response.get("image") if isinstance(response, dict) else None
    image_id = image.get("imageId") if isinstance(image, dict) else None
    ids = request.get("imageIds")
    if isinstance(response, dict) and isinstance(response.get("imageIds"), list):
        ids = response["imageIds"]  # what was removed: the request may name tags only, or images that did not exist
        request = {**request, "imageIds": ids}
    named = [image_id, *(ids[:1] if isinstance(ids, list) else ())]
    first: Mapping[str, Any] = next((each for each in named if isinstance(each, dict)), {})
    tag, digest = (first.get(key) or request.get(key) for key in ("imageTag", "imageDigest"))
    return ApiCall(
        id=_text(record, "eventID"),
        name=_text(record, "eventName"),
        at=parse_time(_text(record, "eventTime")),
        actor=identity.get("arn") if isinstance(identity, dict) else None,
        repository=Repository(registry, parse_repository_name(_text(request, "repositoryName"))),
        tag=parse_tag(tag) if isinstance(tag, str) and tag else None,
        digest=Digest.parse(digest) if digest else None,
        parameters={} if record.get("errorCode") else request,
    )


def _round_trip(event: Mapping[str, Any], detail: Mapping[str, Any]) -> Event:
    # Whoever may put events in a spoke may send anything with this detail-type. An event that is not ours is not a
    # BadMessage, which would become a dead letter and raise an alarm.
    nonce = detail.get("nonce")
    ours = event.get("source") == TRIP_SOURCE and isinstance(nonce, str) and re.fullmatch(_NONCE, nonce)
    return RoundTrip(_text(event, "id"), _registry(event), nonce if ours else None)


def _check(event: Mapping[str, Any], detail: Mapping[str, Any]) -> Event:
    return CheckPosted(_text(event, "id"), f"event/{_text(event, 'account')}/{_text(event, 'source')}", detail)


_PARSERS: dict[str, Callable[[Mapping[str, Any], Mapping[str, Any]], Event]] = {
    "ECR Image Action": _image_action,
    "ECR Replication Action": _image_action,
    "ECR Referrer Action": _image_action,
    "ECR Image Scan": _scan,
    "Inspector2 Scan": _scan,
    "AWS API Call via CloudTrail": lambda _, detail: parse_call(detail),
    TRIP: _round_trip,
    CHECK: _check,
}
