"""A cloud whose policy has a repository for each gate, and people who send commands to its queue."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from support.images.builders import Built, image
from support.stacks.clients import client_of
from support.stacks.deployed import Deployed, deployed
from tallyman.domain.gates import PASSED
from tallyman.domain.gates.window import DAYS

RELEASE = "role/release-managers"
FAR = DAYS[(datetime.now(UTC).weekday() + 3) % 7]
"""A day of the week that is not now anywhere."""

CLOSED = f"{{days: {FAR}, between: '09:00-17:00', timezone: America/Sao_Paulo}}"
ASKED = f"{{count: 1, from: [{RELEASE}]}}"
GATES: dict[str, tuple[str, str]] = {
    "verified": ("verified: true", "[]"),
    "scan": ("verified: true, scan: {max: {critical: 0}}", "[]"),
    "soak": ("verified: true, soak: 24h", "[soak]"),
    "signed": ("verified: true, signed: true", "[]"),
    "attested": ("verified: true, attested: sbom", "[]"),
    "approvals": (f"verified: true, approvals: {ASKED}", "[]"),
    "window": (f"verified: true, window: {CLOSED}", "[window]"),
    "open": ("verified: true, window: {days: mon-sun, between: '00:00-00:00', timezone: Europe/Berlin}", "[]"),
    "order": ("verified: true, order: true", "[order]"),
    "freeze": ("verified: true", "[freeze]"),
    "recalled": (f"verified: true, approvals: {ASKED}", "[]"),
    "signed-approvals": (f"verified: true, signed: true, approvals: {ASKED}", "[]"),
    "scan-approvals": (f"verified: true, scan: {{max: {{critical: 0}}}}, approvals: {ASKED}", "[]"),
    "soak-window": (f"verified: true, soak: 24h, window: {CLOSED}", "[soak, window]"),
    "approvals-freeze": (f"verified: true, approvals: {ASKED}", "[]"),
    "order-approvals": (f"verified: true, order: true, approvals: {ASKED}", "[]"),
}
"""Gates and overridable ones of the promotion of `gates/<name>`."""


def policy() -> str:
    """The policy as a file."""
    entries = "".join(
        f"""
  - match: gates/{name}
    create: {{immutable: true, scan_on_push: true}}
    verify: {{layers: content{", platforms: [linux/arm64]" if name == "verified" else ""}}}
    promotions: [{{from: dev, to: prod, tags: [semver], gates: {{{gates}}}, overridable: {overridable}}}]"""
        for name, (gates, overridable) in GATES.items()
    )
    return f"""
environments:
  dev:  {{registries: [111111111111/us-east-2]}}
  prod: {{registries: [222222222222/us-east-2, 222222222222/sa-east-1]}}
repositories:{entries}
people:
  freeze: [{RELEASE}]
  recall: [{RELEASE}]
"""


class Gated:
    """The cloud, with actions and checks for gate tests."""

    def __init__(self, system: Deployed) -> None:
        self.system = system
        self._pushed: dict[tuple[str, str], Built] = {}

    def push(self, *images: tuple[str, str]) -> None:
        """Push a different image to each `gates/<name>` under the tag; wait once for all of them."""
        for name, tag in images:
            self._pushed[name, tag] = image(f"{name} {tag}")
            self.system.push(self._pushed[name, tag], f"gates/{name}", tag, settle=False)
        self.system.settle()

    def pushed(self, name: str, tag: str = "v1.0.0") -> Built:
        """The image of `gates/<name>` under this tag; pushed on first use."""
        if (name, tag) not in self._pushed:
            self.push((name, tag))
        return self._pushed[name, tag]

    def say(self, command: str, who: str = "ana", role: str = RELEASE, settle: bool = True, **more: Any) -> str:
        """Send a command as this person, in the CLI's format; wait until it is processed. Return the request's id."""
        keys = self.system.cloud.credentials(f"arn:aws:iam::{self.system.stack.hub.account}:{role}", session=who)
        sqs = client_of(self.system.cloud.url, keys, "sqs", self.system.stack.hub.region)
        request = str(uuid4())
        url = sqs.get_queue_url(QueueName=f"{self.system.cloud.stack}-commands")["QueueUrl"]
        body = {"command": command, "request": request, "because": f"{who} says so", **more}
        sqs.send_message(QueueUrl=url, MessageBody=json.dumps(body))
        if settle:
            self.system.settle()
        return request

    def about(self, command: str, name: str, digest: str, who: str = "ana", **more: Any) -> str:
        """Send a command about an image of `gates/<name>` as a candidate for prod."""
        candidate: dict[str, Any] = {"digest": digest, "repository": f"gates/{name}", "from": "dev", "to": "prod"}
        return self.say(command, who, **candidate, **more)

    def closed(self, name: str, tag: str = "v1.0.0") -> dict[str, str]:
        """The gates except `target` that have not passed, with their verdicts; asserts that prod does not have the
        tag."""
        assert self.system.digests_in(f"gates/{name}", tag) == [None, None]
        decision = self.system.why(f"gates/{name}", tag)
        assert decision.verdict != "promoted"
        return {g.name: g.verdict for g in decision.gates if g.verdict != PASSED and g.name != "target"}

    def is_in(self, name: str, digest: str, tag: str = "v1.0.0") -> bool:
        """Whether both registries of prod have it, and the decision agrees."""
        verdict = self.system.why(f"gates/{name}", tag).verdict
        return self.system.digests_in(f"gates/{name}", tag) == [digest, digest] and verdict == "promoted"


@contextmanager
def gate_stack(folder: Path) -> Iterator[Gated]:
    """The cloud with a repository for each gate, running. Scans stay open until a test completes them."""
    with deployed(folder, policy()) as system:
        yield Gated(system)
