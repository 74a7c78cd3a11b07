"""What registries and scanners report: EventBridge's events about one push of an image and what happens to it later."""

from collections.abc import Mapping

from tallyman.domain.events.eventbridge import CHECK, TRIP
from tallyman.domain.images.manifest import OCI_CONFIG, OCI_MANIFEST
from tallyman.domain.names import Digest
from tallyman_cli.events.parts import PUSHED, REPLICA, Json, Subject, event, made_up, uid


def push(about: Subject, digest: Digest, tag: str, media_type: str, time: str = PUSHED) -> Json:
    """An image was pushed; a child of an index comes without a tag."""
    detail = {
        "result": "SUCCESS",
        "repository-name": about.name,
        "image-digest": digest,
        "action-type": "PUSH",
        "image-tag": tag,
        "manifest-media-type": media_type,
    }
    if media_type == OCI_MANIFEST:
        detail["artifact-media-type"] = OCI_CONFIG
    return event(about, f"push {digest} {tag}", "ECR Image Action", time, detail)


def ten(about: Subject, pushed: Json) -> list[Json | str]:
    """A full batch: the children, the index, other versions, one of them as latest too."""
    children = [push(about, child, "", OCI_MANIFEST) for child in about.children]
    others = [
        push(about, made_up(f"1.{n}.0"), f"v1.{n}.0-{str(n) * 7}", OCI_MANIFEST, f"2026-11-16T03:{10 + n}:00Z")
        for n in range(1, 9 - len(children))
    ]
    newest = Digest(others[-1]["detail"]["image-digest"])
    return [*children, pushed, *others, push(about, newest, "latest", OCI_MANIFEST, "2026-11-16T03:30:00Z")]


def poison(about: Subject, pushed: Json) -> list[Json | str]:
    """A message that is not JSON, an event that can't be parsed, and a good one."""
    detail = {"result": "SUCCESS", "action-type": "PUSH", "image-digest": "sha256:not-a-digest", "image-tag": "v1"}
    broken = event(about, "poison", "ECR Image Action", PUSHED, detail)
    return ['{"version":"0","detail-type":"ECR Image Action",', broken, pushed]


def change(about: Subject, action: str, time: str, more: Json) -> Json:
    """Something happened to an image that exists or existed."""
    detail = {
        "result": "SUCCESS",
        "repository-name": about.name,
        "image-digest": about.children[0],
        "action-type": action,
        **more,
        "manifest-media-type": OCI_MANIFEST,
        "artifact-media-type": OCI_CONFIG,
    }
    return event(about, action, "ECR Image Action", time, detail)


def round_trip(about: Subject) -> Json:
    """The doctor's test event: nothing happened."""
    return event(about, "round trip", TRIP, "2026-11-16T02:00:00Z", {"nonce": uid("round trip")})


def check(about: Subject) -> Json:
    """Another system posts the result of a check on the stack's bus."""
    detail = {
        "repository": about.name,
        "digest": about.index,
        "environment": "dev",
        "check": "e2e",
        "result": "passed",
        "because": "https://ci.example.com/runs/42",
    }
    return event(about, "check", CHECK, "2026-11-16T03:00:00Z", detail)


def referrer(about: Subject) -> Json:
    """A signature was pushed."""
    detail = {
        "result": "SUCCESS",
        "repository-name": about.name,
        "image-digest": made_up("signature"),
        "image-tag": "",
        "action-type": "PUSH",
        "manifest-media-type": OCI_MANIFEST,
        "artifact-media-type": "application/vnd.dev.cosign.artifact.sig.v1+json",
    }
    return event(about, "referrer", "ECR Referrer Action", "2026-11-16T01:55:10Z", detail)


def replication(about: Subject) -> Json:
    """ECR's own replication copied the image; the event comes from the destination."""
    detail = {
        "result": "SUCCESS",
        "repository-name": about.name,
        "image-digest": about.index,
        "source-account": REPLICA.account,
        "action-type": "REPLICATE",
        "source-region": about.registry.region,
        "image-tag": about.tag,
    }
    found = event(about, "replication", "ECR Replication Action", "2026-11-16T01:56:02Z", detail)
    return found | {"account": REPLICA.account, "region": REPLICA.region}


def scan(about: Subject, child: int, status: str, counts: Mapping[str, int]) -> Json:
    """A basic scan ended."""
    detail = {
        "scan-status": status,
        "repository-name": about.name,
        "finding-severity-counts": dict(counts),
        "image-digest": about.children[child],
        "image-tags": [],
    }
    return event(about, f"scan {status}", "ECR Image Scan", "2026-11-16T01:55:40Z", detail, [about.arn])


def inspector(about: Subject) -> Json:
    """Inspector's first scan; its repository name is an ARN."""
    detail = {
        "scan-status": "INITIAL_SCAN_COMPLETE",
        "repository-name": about.arn,
        "finding-severity-counts": {"CRITICAL": 0, "HIGH": 2, "MEDIUM": 12, "TOTAL": 14},
        "image-digest": about.children[0],
        "image-tags": [about.tag],
        "version": "1.0",
    }
    return event(about, "inspector", "Inspector2 Scan", "2026-11-16T01:57:12Z", detail, [about.arn])
