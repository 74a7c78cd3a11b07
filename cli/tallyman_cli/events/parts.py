"""What the payloads of `events/` are made of: the image they are about, ids, an EventBridge event, a batch of SQS.

The image is `event_image()`, a real one: whoever pushes it to a registry can hand these events to a function, which
then finds what they report. Every id is derived from a name, every time is fixed: the same files come out each time.
"""

import hashlib
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tallyman.domain.events.eventbridge import CHECK, TRIP, TRIP_SOURCE
from tallyman.domain.events.letters import FUNCTIONS
from tallyman.domain.names import Digest, EcrRegistry, Repository

if TYPE_CHECKING:
    from tallyman_local.cloud.sample import Sample

Json = dict[str, Any]

HUB = EcrRegistry("111111111111", "us-east-2")
REPLICA = EcrRegistry("222222222222", "sa-east-1")
NAME, TAG = "rocketseat/widget-server", "v1.0.0-abc1234"
PUSHED = "2026-11-16T01:54:34Z"
SENT = 1794794074512
"""Milliseconds since 1970 of PUSHED, and half a second."""

EVENTBRIDGE, PERSON, RECORDER = (
    "AIDAISDDSWNBEXIA6J64K",
    "AROAEXAMPLERELEASEMG:alice",
    "AROAEXAMPLERECORDPUS:tallyman-record-push",
)
QUEUES = {function: queue for queue, function in FUNCTIONS.items()}


def event_image() -> "Sample":
    """The image of the events: an index of linux/amd64 and linux/arm64."""
    from tallyman_local.cloud.sample import stored, widget_server

    return widget_server("1.0.0", compress=stored)


@dataclass(frozen=True, slots=True)
class Subject:
    """The image and repository that the events are about."""

    index: Digest
    children: tuple[Digest, ...]
    tag: str = TAG
    name: str = NAME
    registry: EcrRegistry = HUB

    @property
    def arn(self) -> str:
        """The repository's."""
        return Repository(self.registry, self.name).arn


def subject() -> Subject:
    """The image of `event_image`."""
    image = event_image()
    return Subject(image.root.digest, tuple(child.digest for child in image.children))


def batch(path: str, function: str, sender: str, bodies: Sequence[Json | str]) -> Json:
    """The event with which Lambda passes messages of a queue to the function. `path`: of the file, for unique ids."""
    records = []
    for number, body in enumerate(bodies):
        raw = body if isinstance(body, str) else json.dumps(body, separators=(",", ":"))
        records.append(
            {
                "messageId": uid(f"message {path} {number}"),
                "receiptHandle": "AQEB" + hashlib.sha256(f"{path} {number}".encode()).hexdigest(),
                "body": raw,
                "attributes": {
                    "ApproximateReceiveCount": "1",
                    "SentTimestamp": str(SENT),
                    "SenderId": sender,
                    "ApproximateFirstReceiveTimestamp": str(SENT + 8),
                },
                "messageAttributes": {},
                "md5OfBody": hashlib.md5(raw.encode(), usedforsecurity=False).hexdigest(),
                "eventSource": "aws:sqs",
                "eventSourceARN": f"arn:aws:sqs:{HUB.region}:{HUB.account}:tallyman-{QUEUES[function]}",
                "awsRegion": HUB.region,
            }
        )
    return {"Records": records}


def uid(name: str) -> str:
    """The UUID of a name, always the same."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"tallyman/{name}"))


def made_up(name: str) -> Digest:
    """The digest of an image that does not exist."""
    return Digest.of(name.encode())


def event(about: Subject, name: str, kind: str, time: str, detail: Json, resources: Sequence[str] = ()) -> Json:
    """An EventBridge event; the same name is the same event."""
    return {
        "version": "0",
        "id": uid(f"event {name}"),
        "detail-type": kind,
        "source": {"Inspector2 Scan": "aws.inspector2", TRIP: TRIP_SOURCE, CHECK: "acme.ci"}.get(kind, "aws.ecr"),
        "account": about.registry.account,
        "time": time,
        "region": about.registry.region,
        "resources": list(resources),
        "detail": detail,
    }
