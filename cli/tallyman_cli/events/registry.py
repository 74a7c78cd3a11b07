"""What registries and scanners report: EventBridge's events about one push of an image and what happens to it later."""

from collections.abc import Mapping
from dataclasses import dataclass

from tallyman.domain.events.eventbridge import CHECK, TRIP
from tallyman.domain.names import Digest
from tallyman_cli.events.parts import CONFIG, IMAGE, PUSHED, REPLICA, Json, Payloads, made_up, uid


@dataclass(frozen=True, slots=True)
class RegistryPayloads(Payloads):
    """ECR's and Inspector's events."""

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
        """A full batch: the children, the index, other versions, one of them as latest too."""
        children = [self.push(child, "", IMAGE) for child in self.about.children]
        others = [
            self.push(made_up(f"1.{n}.0"), f"v1.{n}.0-{str(n) * 7}", IMAGE, f"2026-11-16T03:{10 + n}:00Z")
            for n in range(1, 9 - len(children))
        ]
        newest = Digest(others[-1]["detail"]["image-digest"])
        return [*children, push, *others, self.push(newest, "latest", IMAGE, "2026-11-16T03:30:00Z")]

    def poison(self, push: Json) -> list[Json | str]:
        """A message that is not JSON, an event that can't be parsed, and a good one."""
        detail = {"result": "SUCCESS", "action-type": "PUSH", "image-digest": "sha256:not-a-digest", "image-tag": "v1"}
        broken = self.event("poison", "ECR Image Action", PUSHED, detail)
        return ['{"version":"0","detail-type":"ECR Image Action",', broken, push]

    def change(self, action: str, time: str, more: Json) -> Json:
        """Something happened to an image that exists or existed."""
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
        return self.event("round trip", TRIP, "2026-11-16T02:00:00Z", {"nonce": uid("round trip")})

    def check(self) -> Json:
        """Another system posts the result of a check on the stack's bus."""
        detail = {
            "repository": self.about.name,
            "digest": self.about.index,
            "environment": "dev",
            "check": "e2e",
            "result": "passed",
            "because": "https://ci.example.com/runs/42",
        }
        return self.event("check", CHECK, "2026-11-16T03:00:00Z", detail)

    def referrer(self) -> Json:
        """A signature was pushed."""
        detail = {
            "result": "SUCCESS",
            "repository-name": self.about.name,
            "image-digest": made_up("signature"),
            "image-tag": "",
            "action-type": "PUSH",
            "manifest-media-type": IMAGE,
            "artifact-media-type": "application/vnd.dev.cosign.artifact.sig.v1+json",
        }
        return self.event("referrer", "ECR Referrer Action", "2026-11-16T01:55:10Z", detail)

    def replication(self) -> Json:
        """ECR's own replication copied the image; the event comes from the destination."""
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
