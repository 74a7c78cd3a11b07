"""CloudTrail's LookupEvents: the calls that changed something, newest first, and who made them."""

import datetime as dt
import json
import threading
from typing import Any

Json = dict[str, Any]

PAGE = 50
_READ_ONLY = ("Get", "List", "Describe", "BatchGet", "BatchCheck")


class BadLookup(ValueError):
    """A LookupEvents request that CloudTrail refuses; `code` is its error."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Trail:
    """The management events of every account and region.

    A record has CloudTrail's form: `eventTime`, `eventName`, `eventSource`, `awsRegion`, `recipientAccountId`,
    `userIdentity`, `requestParameters`, `resources` …
    """

    def __init__(self) -> None:
        self._records: dict[tuple[str, str], list[Json]] = {}
        self._lock = threading.Lock()

    def record(self, record: Json) -> None:
        """Store the record of one call."""
        where = (record["recipientAccountId"], record["awsRegion"])
        with self._lock:
            self._records.setdefault(where, []).append(record)

    def lookup(self, request: Json, account: str, region: str) -> Json:
        """The API's LookupEvents: filters by attribute and time, pages of at most 50. Raises BadLookup."""
        attributes = request.get("LookupAttributes") or []
        if len(attributes) > 1:
            raise BadLookup("InvalidLookupAttributesException", "You can only specify one lookup attribute.")
        start, end = _time(request.get("StartTime")), _time(request.get("EndTime"))
        if start and end and start > end:
            raise BadLookup("InvalidTimeRangeException", "The start time is after the end time.")
        size = int(request.get("MaxResults") or PAGE)
        if not 1 <= size <= PAGE:
            raise BadLookup("InvalidMaxResultsException", "MaxResults must be from 1 to 50.")
        token = request.get("NextToken") or "0"
        if not token.isdecimal():
            raise BadLookup("InvalidNextTokenException", "The token is not valid.")
        with self._lock:
            records = list(self._records.get((account, region), []))
        records.reverse()  # within one second, the last first
        newest_first = sorted(records, key=lambda record: record["eventTime"], reverse=True)
        events = (
            _event(record)
            for record in newest_first
            if (not start or _time(record["eventTime"]) >= start) and (not end or _time(record["eventTime"]) <= end)
        )
        found = [event for event in events if all(_has(event, attribute) for attribute in attributes)]
        at = int(token)
        answer: Json = {"Events": found[at : at + size]}
        if at + size < len(found):
            answer["NextToken"] = str(at + size)
        return answer


def _time(value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, int | float):
        return dt.datetime.fromtimestamp(value, dt.UTC)
    return dt.datetime.fromisoformat(str(value))


def _event(record: Json) -> Json:
    identity = record.get("userIdentity") or {}
    name = record["eventName"]
    event = {
        "EventId": record["eventID"],
        "EventName": name,
        "EventSource": record["eventSource"],
        "EventTime": _time(record["eventTime"]).timestamp(),
        "ReadOnly": str(name.startswith(_READ_ONLY)).lower(),
        "Username": identity.get("userName") or str(identity.get("arn", "")).rsplit("/", 1)[-1],
        "Resources": _resources(record),
        "CloudTrailEvent": json.dumps(record),
    }
    if identity.get("accessKeyId"):
        event["AccessKeyId"] = identity["accessKeyId"]
    return event


def _resources(record: Json) -> list[Json]:
    """The resources by the ARNs in the record, and by the repository's name: callers look up either."""
    found = [
        {"ResourceType": resource.get("type", "AWS::ECR::Repository"), "ResourceName": resource["ARN"]}
        for resource in record.get("resources") or []
        if resource.get("ARN")
    ]
    name = (record.get("requestParameters") or {}).get("repositoryName")
    if name:
        found.append({"ResourceType": "AWS::ECR::Repository", "ResourceName": name})
    return found


def _has(event: Json, attribute: Json) -> bool:
    key, value = attribute.get("AttributeKey"), attribute.get("AttributeValue")
    if key == "ResourceName":
        return any(resource["ResourceName"] == value for resource in event["Resources"])
    if key == "ResourceType":
        return any(resource["ResourceType"] == value for resource in event["Resources"])
    if key not in ("EventName", "EventSource", "EventId", "ReadOnly", "Username", "AccessKeyId"):
        raise BadLookup("InvalidLookupAttributesException", f"{key} is not a lookup attribute.")
    return bool(event.get(key) == value)
