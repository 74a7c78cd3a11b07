"""The project's own stack in a local cloud, for end-to-end tests: real template, real handlers, real HTTP."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest import mock

import urllib3

from support.images.builders import Built
from support.stacks import evidence
from support.stacks.clients import client_of
from tallyman.domain.decide import Decision
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.history.fold import Row
from tallyman.domain.names import Digest, Repository
from tallyman_cli.promotion import candidates
from tallyman_cli.registry.creation import create_in
from tallyman_cli.shared import context, rows
from tallyman_cli.shared.chosen import Chosen
from tallyman_cli.shared.context import Stack, connect
from tallyman_local.cloud.cloud import Cloud, Options
from tallyman_local.events.chaos import Settings

ROOT = Path(__file__).resolve().parents[3]


class Deployed:
    """A running cloud with the stack deployed, and actions of tests on it. Repositories are created on first use."""

    def __init__(self, cloud: Cloud, stack: Stack) -> None:
        self.cloud, self.stack = cloud, stack
        self._http = urllib3.PoolManager()
        self._known: set[tuple[str, str]] = set()

    def place(self, name: str, environment: str = "dev", number: int = 1) -> Repository:
        """The repository of this canonical name in the n-th registry of the environment."""
        return self.stack.policy.environment(environment).repositories(name)[number - 1]

    def create(self, name: str, environment: str = "dev") -> None:
        """Create the repository as the policy says, once."""
        if (name, environment) not in self._known:
            for made in create_in(self.stack, name, environment):
                assert made["state"] in ("created", "equal"), made
            self._known.add((name, environment))

    def push(
        self, built: Built, name: str, *tags: str, environment: str = "dev", number: int = 1, settle: bool = True
    ) -> None:
        """Push every blob and manifest by HTTP as a client does, the root by each tag (by digest without one)."""
        self.create(name, environment)
        place = self.place(name, environment, number)
        base = f"{self.cloud.endpoint_of(place.registry)}/v2/{place.name}"
        for digest, raw in built.blobs.items():
            started = self._send("POST", f"{base}/blobs/uploads/")
            self._send("PUT", f"{started.headers['Location']}?digest={digest}", body=raw)
        for digest, manifest in built.manifests.items():
            for reference in tags if digest == built.digest and tags else (digest,):
                headers = {"Content-Type": manifest.media_type}
                self._send("PUT", f"{base}/manifests/{reference}", body=manifest.raw, headers=headers)
        if settle:
            self.settle()

    def _send(self, method: str, url: str, **request: Any) -> Any:
        headers = {"Authorization": f"Basic {self._token}", **request.pop("headers", {})}
        answer = self._http.request(method, url, headers=headers, redirect=False, **request)
        assert answer.status in (201, 202), f"{method} {url}: {answer.status} {answer.data!r}"
        return answer

    @cached_property
    def _token(self) -> str:
        """The developer's authorization token, as valid in every registry."""
        return str(self.client("ecr").get_authorization_token()["authorizationData"][0]["authorizationToken"])

    def client(self, service: str, region: str = "us-east-2", role: str = "") -> Any:
        """A boto3 client of the developer, or of a role by ARN."""
        keys = self.cloud.credentials(role) if role else self.cloud.environment()
        return client_of(self.cloud.url, keys, service, region)

    def settle(self, timeout: float = 60) -> None:
        """Wait until nothing is in progress."""
        left = self.cloud.settle(timeout)
        assert not left, f"{left}\n" + "\n".join(str(letter) for letter in self.dead_letters())

    def scan(self, built: Built, name: str, *findings: str) -> None:
        """Complete the scan of every platform image in dev with these findings (`CVE-…:CRITICAL`)."""
        place = self.place(name)
        reported = [{"name": f.rpartition(":")[0], "severity": f.rpartition(":")[2]} for f in findings]
        children = [c.digest for c in built.root.platform_children] or [built.digest]
        for digest in children:
            self.cloud.ecr.scanner.complete(place.registry, place.name, digest, reported)
        self.settle()

    @contextmanager
    def chaos(self, **settings: Any) -> Iterator[None]:
        """Lose, double, reorder or delay events until the block ends."""
        self.cloud.bus.set_chaos(Settings(**settings))
        try:
            yield
        finally:
            self.cloud.bus.set_chaos(None)

    def reconcile(self, *repositories: str) -> dict[str, Any]:
        """Run the deployed reconcile until nothing is left to do, and wait; return the last answer."""
        while True:
            answer = self.stack.reconcile({"repositories": list(repositories) or None})
            if not answer["more"]:
                self.settle()
                return answer

    def facts(self, digest: Digest, *kinds: Kind) -> list[Fact]:
        """The facts of a digest, of these kinds."""
        return [f for f in self.stack.ledger.of_digest(digest) if not kinds or f.kind in kinds]

    def history(self, name: str, tag: str | None = None, environment: str = "dev", number: int = 1) -> list[Row]:
        """The rows of a repository or tag, newest first."""
        found = rows.of_repository(self.stack.ledger, self.place(name, environment, number))
        return [row for row in found if tag is None or row.tag == tag]

    def why(self, name: str, tag: str, to: str = "prod", source: str = "dev") -> Decision:
        """The decision that policy and facts give now."""
        return candidates.evaluate(self.stack, candidates.candidate(self.stack, f"{source}/{name}:{tag}", to))

    def digests_in(self, name: str, reference: str, environment: str = "prod") -> list[Digest | None]:
        """The digest of this tag or digest in each registry of the environment."""
        found = []
        for place in self.stack.policy.environment(environment).repositories(name):
            manifest = self.stack.source.manifest(place, reference) if self.stack.registries.settings(place) else None
            found.append(manifest.digest if manifest else None)
        return found

    def send(self, queue: str, body: str, role: str = "") -> None:
        """Send a message to one of the stack's queues: push, verify, scan, commands or promote."""
        sqs = self.client("sqs", role=role)
        sqs.send_message(
            QueueUrl=sqs.get_queue_url(QueueName=f"{self.cloud.stack}-{queue}")["QueueUrl"], MessageBody=body
        )

    def dead_letters(self) -> list[dict[str, Any]]:
        """The messages of the dead-letter queues, removed: {queue, body, Reason, Error, Function}."""
        sqs, letters = self.client("sqs"), []
        for url in sqs.list_queues().get("QueueUrls", []):
            if "dead-letters" not in url and "undelivered" not in url:
                continue
            while messages := sqs.receive_message(
                QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
            ).get("Messages"):
                for message in messages:
                    attributes = {k: v["StringValue"] for k, v in message.get("MessageAttributes", {}).items()}
                    letters.append({"queue": url.rpartition("/")[2], "body": message["Body"], **attributes})
                    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return letters

    def notices(self) -> list[str]:
        """The subjects of the notices so far."""
        return [subject for subject, *_ in self.published()]

    def published(self) -> list[tuple[str, str, str]]:
        """Subject, message and attributes of each notice so far, from the log of the topic's deliveries."""
        from moto.sns.models import sns_backends

        backend = sns_backends[self.stack.hub.account][self.stack.hub.region]
        return [
            (str(subject), message, str(attributes))
            for topic in backend.topics.values()
            for _, message, subject, attributes, _ in topic.sent_notifications
        ]


def one_promotion(**gates: Any) -> str:
    """A policy as a file: rocketseat/* from dev to the two registries of prod, through these gates."""
    promotion = {"from": "dev", "to": "prod", "gates": gates}
    policy = {
        "environments": {
            "dev": {"registries": ["111111111111/us-east-2"]},
            "prod": {"registries": ["222222222222/us-east-2", "222222222222/sa-east-1"]},
        },
        "repositories": [{"match": "rocketseat/*", "create": {"immutable": True}, "promotions": [promotion]}],
    }
    return json.dumps(policy)


@contextmanager
def deployed(folder: Path, policy: str | None = None, **options: Any) -> Iterator[Deployed]:
    """A cloud with the project's stack and this policy (default: the demo's), running."""
    arguments: list[Path] = []
    if policy is not None:
        arguments.append(folder / "tallyman.yaml")
        arguments[0].write_text(policy)
    with Cloud(*arguments, root=ROOT, options=Options(**options)) as cloud:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "TALLYMAN_"))}
        with (
            mock.patch.dict(os.environ, environment | cloud.environment(), clear=True),
            mock.patch.object(context, "chosen", Chosen()),  # left over from a test of the command line
        ):
            try:
                yield Deployed(cloud, connect())
            finally:
                evidence.write(cloud)


def until(true: Callable[[], Any], what: str, cloud: Cloud) -> Any:
    """Settle until it is true; fail with `what` otherwise."""
    for _ in range(3):
        if found := true():
            return found
        cloud.settle(20)
    raise AssertionError(f"{what}; left: {json.dumps(cloud.left(), default=str)}")
