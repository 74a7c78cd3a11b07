"""The one source of `events/`: what each function really gets, told of one push of `rocketseat/widget-server`.

The image is `event_image()`, a real one: whoever pushes it to a registry can hand these events to a function, which
then finds what they tell. Every id is derived from a name, every time is fixed: the same files come out each time.
"""

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tallyman.domain.events import TRIP, TRIP_SOURCE
from tallyman.domain.names import Digest, Registry

if TYPE_CHECKING:
    from tallyman_local.sample import Sample

Json = dict[str, Any]

HUB = Registry("111111111111", "us-east-2")
REPLICA = Registry("222222222222", "sa-east-1")
NAME, TAG = "rocketseat/widget-server", "v1.0.0-abc1234"
PUSHED = "2026-11-16T01:54:34Z"
IMAGE = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
SENT = 1794794074512
"""Milliseconds since 1970 of PUSHED, and half a second."""

EVENTBRIDGE, PERSON, RECORDER = (
    "AIDAISDDSWNBEXIA6J64K",
    "AROAEXAMPLERELEASEMG:alice",
    "AROAEXAMPLERECORDPUS:tallyman-record-push",
)
QUEUES = {
    "record_push": "push",
    "verify_digest": "verify",
    "record_scan": "scan",
    "record_command": "commands",
    "promote_image": "promote",
    "apply_retention": "retention",
    "roll_out": "roll-out",
}


def event_image() -> "Sample":
    """The image that the events tell of: an index of linux/amd64 and linux/arm64."""
    from tallyman_local.sample import stored, widget_server

    return widget_server("1.0.0", compress=stored)


@dataclass(frozen=True, slots=True)
class Subject:
    """What the events are about."""

    index: Digest
    children: tuple[Digest, ...]
    tag: str = TAG
    name: str = NAME
    registry: Registry = HUB

    @property
    def arn(self) -> str:
        """The repository's."""
        return f"arn:aws:ecr:{self.registry.region}:{self.registry.account}:repository/{self.name}"


def subject() -> Subject:
    """The image of `event_image`."""
    image = event_image()
    return Subject(image.root.digest, tuple(child.digest for child in image.children))


def payloads(about: Subject | None = None) -> dict[str, Json]:
    """Every payload, by its path below `events/`."""
    told = Telling(about or subject())
    files: dict[str, Json] = {}
    for function, names in told.messages().items():
        for name, (sender, bodies) in names.items():
            path = f"{function}/{name}.json"
            files[path] = batch(path, function, sender, bodies)
    files["reconcile/schedule.json"] = told.schedule()
    return files


def text(payload: Mapping[str, Any]) -> str:
    """The file of a payload."""
    return json.dumps(payload, indent=2) + "\n"


def batch(path: str, function: str, sender: str, bodies: Sequence[Json | str]) -> Json:
    """What Lambda hands to a function for messages of its queue."""
    records = []
    for number, body in enumerate(bodies):
        raw = body if isinstance(body, str) else json.dumps(body, separators=(",", ":"))
        records.append(
            {
                "messageId": _id(f"message {path} {number}"),
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


def _id(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"tallyman/{name}"))


def _digest(name: str) -> Digest:
    """A digest of an image that is nowhere."""
    return Digest.of(name.encode())


@dataclass(frozen=True, slots=True)
class Telling:
    """The events about a subject."""

    about: Subject

    def messages(self) -> dict[str, dict[str, tuple[str, list[Json | str]]]]:
        """By function and name of the file: who sends them, and the bodies."""
        push = self.push(self.about.index, self.about.tag, INDEX)
        verify = {
            "repository": f"{self.about.registry}/{self.about.name}",
            "digest": self.about.index,
            "tag": self.about.tag,
            "request": _id("request verify"),
        }
        door = {"digest": self.about.index, "repository": self.about.name, "from": "dev", "to": "prod"}
        return {
            "record_push": {
                "push": (EVENTBRIDGE, [push]),
                "push-ten": (EVENTBRIDGE, self.ten(push)),
                "push-doubled": (EVENTBRIDGE, [push, push]),
                "poison": (EVENTBRIDGE, self.poison(push)),
                "delete": (
                    EVENTBRIDGE,
                    [self.change("DELETE", "2026-11-17T08:00:00Z", {"image-tag": "v0.9.0-fedcba9"})],
                ),
                "archive": (
                    EVENTBRIDGE,
                    [self.change("UPDATE_STORAGE_CLASS", "2026-11-18T08:00:00Z", {"target-storage-class": "ARCHIVE"})],
                ),
                "referrer": (EVENTBRIDGE, [self.referrer()]),
                "replication": (EVENTBRIDGE, [self.replication()]),
                "call": (EVENTBRIDGE, self.calls()),
                "round-trip": (EVENTBRIDGE, [self.round_trip()]),
            },
            "verify_digest": {"push": (EVENTBRIDGE, [push]), "hint": (PERSON, [{"verify": verify}])},
            "record_scan": {
                "basic": (EVENTBRIDGE, [self.scan(0, "COMPLETE", {"CRITICAL": 1, "MEDIUM": 9})]),
                "failed": (EVENTBRIDGE, [self.scan(1, "FAILED", {})]),
                "inspector": (EVENTBRIDGE, [self.inspector()]),
            },
            "record_command": {
                "promote": (PERSON, [{"command": "promote", "request": _id("request promote"), **door}])
            },
            "apply_retention": {
                "hint": (RECORDER, [{"repository": f"{self.about.registry}/{self.about.name}"}]),
                "schedule": (EVENTBRIDGE, [{"all": True}]),
            },
            "roll_out": {"released": (EVENTBRIDGE, [self.released()])},
            "promote_image": {"hint": (RECORDER, [{**door, "correlation": push["id"]}])},
        }

    def event(self, name: str, kind: str, time: str, detail: Json, resources: Sequence[str] = ()) -> Json:
        """An EventBridge event; the same name is the same event."""
        return {
            "version": "0",
            "id": _id(f"event {name}"),
            "detail-type": kind,
            "source": {"Inspector2 Scan": "aws.inspector2", TRIP: TRIP_SOURCE}.get(kind, "aws.ecr"),
            "account": self.about.registry.account,
            "time": time,
            "region": self.about.registry.region,
            "resources": list(resources),
            "detail": detail,
        }

    def push(self, digest: Digest, tag: str, media_type: str, time: str = PUSHED) -> Json:
        """An image was pushed; a child of an index comes without a tag."""
        detail = {
            "result": "SUCCESS",
            "repository-name": self.about.name,
            "image-digest": digest,
            "action-type": "PUSH",
            "image-tag": tag,
            "manifest-media-type": media_type,
        }
        if media_type == IMAGE:
            detail["artifact-media-type"] = CONFIG
        return self.event(f"push {digest} {tag}", "ECR Image Action", time, detail)

    def ten(self, push: Json) -> list[Json | str]:
        """The children, the index, other versions, one of them as latest too: a full batch."""
        children = [self.push(child, "", IMAGE) for child in self.about.children]
        others = [
            self.push(_digest(f"1.{n}.0"), f"v1.{n}.0-{str(n) * 7}", IMAGE, f"2026-11-16T03:{10 + n}:00Z")
            for n in range(1, 9 - len(children))
        ]
        newest = Digest(others[-1]["detail"]["image-digest"])
        return [*children, push, *others, self.push(newest, "latest", IMAGE, "2026-11-16T03:30:00Z")]

    def poison(self, push: Json) -> list[Json | str]:
        """What is no JSON, what is no event that can be read, and one good one among them."""
        detail = {"result": "SUCCESS", "action-type": "PUSH", "image-digest": "sha256:not-a-digest", "image-tag": "v1"}
        broken = self.event("poison", "ECR Image Action", PUSHED, detail)
        return ['{"version":"0","detail-type":"ECR Image Action",', broken, push]

    def change(self, action: str, time: str, more: Json) -> Json:
        """Something happened to an image that is there, or was."""
        detail = {
            "result": "SUCCESS",
            "repository-name": self.about.name,
            "image-digest": self.about.children[0],
            "action-type": action,
            **more,
            "manifest-media-type": IMAGE,
            "artifact-media-type": CONFIG,
        }
        return self.event(action, "ECR Image Action", time, detail)

    def round_trip(self) -> Json:
        """The doctor's test event: nothing happened."""
        return self.event("round trip", TRIP, "2026-11-16T02:00:00Z", {"nonce": _id("round trip")})

    def referrer(self) -> Json:
        """A signature was pushed."""
        detail = {
            "result": "SUCCESS",
            "repository-name": self.about.name,
            "image-digest": _digest("signature"),
            "image-tag": "",
            "action-type": "PUSH",
            "manifest-media-type": IMAGE,
            "artifact-media-type": "application/vnd.dev.cosign.artifact.sig.v1+json",
        }
        return self.event("referrer", "ECR Referrer Action", "2026-11-16T01:55:10Z", detail)

    def replication(self) -> Json:
        """ECR's own replication brought it; told in the destination."""
        detail = {
            "result": "SUCCESS",
            "repository-name": self.about.name,
            "image-digest": self.about.index,
            "source-account": REPLICA.account,
            "action-type": "REPLICATE",
            "source-region": self.about.registry.region,
            "image-tag": self.about.tag,
        }
        event = self.event("replication", "ECR Replication Action", "2026-11-16T01:56:02Z", detail)
        return event | {"account": REPLICA.account, "region": REPLICA.region}

    def scan(self, child: int, status: str, counts: Mapping[str, int]) -> Json:
        """A basic scan ended."""
        detail = {
            "scan-status": status,
            "repository-name": self.about.name,
            "finding-severity-counts": dict(counts),
            "image-digest": self.about.children[child],
            "image-tags": [],
        }
        return self.event(f"scan {status}", "ECR Image Scan", "2026-11-16T01:55:40Z", detail, [self.about.arn])

    def inspector(self) -> Json:
        """Inspector's first scan; its repository name is an ARN."""
        detail = {
            "scan-status": "INITIAL_SCAN_COMPLETE",
            "repository-name": self.about.arn,
            "finding-severity-counts": {"CRITICAL": 0, "HIGH": 2, "MEDIUM": 12, "TOTAL": 14},
            "image-digest": self.about.children[0],
            "image-tags": [self.about.tag],
            "version": "1.0",
        }
        return self.event("inspector", "Inspector2 Scan", "2026-11-16T01:57:12Z", detail, [self.about.arn])

    def calls(self) -> list[Json | str]:
        """CloudTrail's: the push, with its actor, and a setting that was changed."""
        registry, name = self.about.registry, self.about.name
        manifest = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}, separators=(",", ":"))
        put = self.call(
            "PutImage",
            PUSHED,
            {
                "registryId": registry.account,
                "repositoryName": name,
                "imageTag": self.about.tag,
                "imageManifestMediaType": INDEX,
                "imageManifest": manifest,
            },
            {
                "image": {
                    "registryId": registry.account,
                    "repositoryName": name,
                    "imageId": {"imageDigest": self.about.index, "imageTag": self.about.tag},
                    "imageManifest": manifest,
                    "imageManifestMediaType": INDEX,
                }
            },
        )
        mutable = {"repositoryName": name, "imageTagMutability": "MUTABLE"}
        answer = {"registryId": registry.account, **mutable}
        return [put, self.call("PutImageTagMutability", "2026-11-16T04:00:00Z", mutable, answer)]

    def call(self, name: str, time: str, request: Json, answer: Json) -> Json:
        """One API call, made by the role of a build."""
        registry = self.about.registry
        role = {
            "type": "Role",
            "principalId": "AROAEXAMPLEBUILDROLE1",
            "arn": f"arn:aws:iam::{registry.account}:role/build",
            "accountId": registry.account,
            "userName": "build",
        }
        detail = {
            "eventVersion": "1.10",
            "userIdentity": {
                "type": "AssumedRole",
                "principalId": "AROAEXAMPLEBUILDROLE1:build-42",
                "arn": f"arn:aws:sts::{registry.account}:assumed-role/build/build-42",
                "accountId": registry.account,
                "accessKeyId": "ASIAEXAMPLEEXAMPLE12",
                "sessionContext": {
                    "sessionIssuer": role,
                    "attributes": {"creationDate": "2026-11-16T01:50:00Z", "mfaAuthenticated": "false"},
                },
            },
            "eventTime": time,
            "eventSource": "ecr.amazonaws.com",
            "eventName": name,
            "awsRegion": registry.region,
            "sourceIPAddress": "192.0.2.10",
            "userAgent": "docker/28.0.1 go/go1.24.1",
            "requestParameters": request,
            "responseElements": answer,
            "requestID": _id(f"request {name}"),
            "eventID": _id(f"trail {name}"),
            "readOnly": False,
            "resources": [{"accountId": registry.account, "ARN": self.about.arn}],
            "eventType": "AwsApiCall",
            "managementEvent": True,
            "recipientAccountId": registry.account,
            "eventCategory": "Management",
        }
        return self.event(name, "AWS API Call via CloudTrail", time, detail)

    def released(self) -> Json:
        """Our own event, on our own bus: prod runs another digest from now on."""
        places = [Registry("222222222222", "us-east-2"), REPLICA]
        detail = {
            "id": _id("release").replace("-", ""),
            "environment": "prod",
            "repository": self.about.name,
            "digest": self.about.index,
            "tags": [self.about.tag],
            "images": {str(r): f"{r.host}/{self.about.name}@{self.about.index}" for r in places},
            "previous": None,
            "policy": _digest("policy"),
            "at": "2026-11-16T02:04:10.512Z",
            "change": "promotion",
            "decision": {"id": _id("decision").replace("-", ""), "policy": _digest("policy"), "gates": []},
            "by": None,
            "because": None,
        }
        event = self.event("released", "Image Released", "2026-11-16T02:04:11Z", detail)
        return event | {"source": "tallyman", "account": HUB.account, "region": HUB.region}

    def schedule(self) -> Json:
        """What EventBridge's schedule hands over, without a queue."""
        rule = f"arn:aws:events:{HUB.region}:{HUB.account}:rule/tallyman-reconcile"
        event = self.event("schedule", "Scheduled Event", "2026-11-16T02:00:00Z", {}, [rule])
        return event | {"source": "aws.events", "account": HUB.account, "region": HUB.region}
