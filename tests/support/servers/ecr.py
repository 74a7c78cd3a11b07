"""The local ECR on ephemeral ports of this machine, for tests: registries, their API, their events."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import urllib3
from botocore.config import Config

from support.images.builders import Built
from tallyman.domain.names import EcrRegistry, Repository
from tallyman_local.ecr import Callbacks, Identity, LocalEcr, Options
from tallyman_local.server.http import Listener

DEV = EcrRegistry("111111111111", "us-east-2")
PROD = EcrRegistry("222222222222", "us-east-2")
NAME = "rocketseat/widget-server"


@dataclass
class Clock:
    """A clock that stands still until it is moved."""

    now: datetime = datetime(2026, 11, 16, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def move(self, **by: float) -> None:
        """Advance by `timedelta`'s arguments."""
        self.now += timedelta(**by)


def identity(account: str, user: str = "dev") -> Identity:
    """A user of an account."""
    return Identity(account, f"arn:aws:iam::{account}:user/{user}", f"AIDA{user.upper()}")


def sha256(raw: bytes) -> str:
    """The digest of these bytes."""
    return "sha256:" + hashlib.sha256(raw).hexdigest()


@dataclass
class Served:
    """A local ECR with one port per registry and one for the API."""

    ecr: LocalEcr
    clock: Clock
    ports: dict[EcrRegistry, int]
    api_port: int
    events: list[dict[str, Any]] = field(default_factory=list)
    trail: list[dict[str, Any]] = field(default_factory=list)
    denied: set[tuple[str, str]] = field(default_factory=set)

    def reset(self) -> None:
        """Reset: no repositories, no events, noon again."""
        store = self.ecr.store
        for found in store.db.rows("SELECT id FROM repositories"):
            if row := store.by_id(found["id"]):
                store.delete(row)
        store.db.run("DELETE FROM settings")
        self.events.clear()
        self.trail.clear()
        self.denied.clear()
        self.clock.now = Clock().now

    def base(self, registry: EcrRegistry = DEV) -> str:
        """The registry's base URL."""
        return f"http://localhost:{self.ports[registry]}"

    def environment(self, registry: EcrRegistry = DEV) -> dict[str, str]:
        """The variables that point AWS's clients here, as the registry's account in its region."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.api_port}",
            "AWS_ACCESS_KEY_ID": registry.account,
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": registry.region,
        }

    def client(self, registry: EcrRegistry = DEV) -> Any:
        """boto3's ECR client of the registry's account in its region."""
        return boto3.client(
            "ecr",
            region_name=registry.region,
            endpoint_url=f"http://127.0.0.1:{self.api_port}",
            aws_access_key_id=registry.account,
            aws_secret_access_key="secret",
            config=Config(retries={"total_max_attempts": 1}),
        )

    def api(self, operation: str, registry: EcrRegistry = DEV, **parameters: Any) -> tuple[int, dict[str, Any]]:
        """A call without boto3's own checks: status and body."""
        payload = json.dumps(parameters).encode()
        status, _, body = self.ecr.api(operation, payload, registry, identity(registry.account))
        return status, json.loads(body)

    def token(self, account: str = DEV.account, user: str = "dev") -> str:
        """A fresh `Authorization` header."""
        _, _, body = self.ecr.api(
            "GetAuthorizationToken", b"{}", EcrRegistry(account, "us-east-2"), identity(account, user)
        )
        token: str = json.loads(body)["authorizationData"][0]["authorizationToken"]
        return "Basic " + token

    def send(self, method: str, path: str, body: Any = None, registry: EcrRegistry = DEV, **headers: str) -> Any:
        """A request to `/v2/` with a token (unless Authorization is given); redirects are not followed."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        named.setdefault("Authorization", self.token())
        url = path if path.startswith("http") else self.base(registry) + path
        with urllib3.PoolManager() as pool:
            return pool.request(
                method, url, body=body, headers={k: v for k, v in named.items() if v}, redirect=False, retries=False
            )

    def create(self, registry: EcrRegistry = DEV, name: str = NAME, **settings: Any) -> Repository:
        """Create a repository."""
        status, body = self.api("CreateRepository", registry, repositoryName=name, **settings)
        assert status == 200, body
        return Repository(registry, name)

    def upload(self, raw: bytes, registry: EcrRegistry = DEV, name: str = NAME) -> str:
        """Upload a blob in one PUT; return its digest."""
        digest = sha256(raw)
        location = self.send("POST", f"/v2/{name}/blobs/uploads/", registry=registry).headers["Location"]
        answer = self.send("PUT", f"{location}?digest={digest}", raw, registry)
        assert answer.status == 201, answer.data
        return digest

    def push(self, image: Built, tag: str | None = None, registry: EcrRegistry = DEV, name: str = NAME) -> Any:
        """Push what is beneath, then the manifest by tag or digest; return the answer to the last PUT."""
        for raw in image.blobs.values():
            self.upload(raw, registry, name)
        for digest, manifest in image.manifests.items():
            if digest != image.digest:
                self.put(manifest.raw, digest, manifest.media_type, registry, name)
        return self.put(image.raw, tag or image.digest, image.media_type, registry, name)

    def put(self, raw: bytes, reference: str, kind: str, registry: EcrRegistry = DEV, name: str = NAME) -> Any:
        """One manifest PUT."""
        return self.send("PUT", f"/v2/{name}/manifests/{reference}", raw, registry, Content_Type=kind)


@contextmanager
def serve(root: Path, registries: tuple[EcrRegistry, ...] = (DEV, PROD), **options: Any) -> Iterator[Served]:
    """Serve these registries until the block ends."""
    clock = options.pop("clock", None) or Clock()
    ports: dict[EcrRegistry, int] = {}
    served: Served

    def allow(who: Identity, action: str, resource: str) -> bool:
        return (who.arn.rpartition("/")[2], action) not in served.denied

    ecr = LocalEcr(
        root,
        Callbacks(
            clock=clock,
            emit=lambda event, account, region: served.events.append(event),
            trail=lambda record: served.trail.append(record),
            endpoint_of=lambda registry: f"http://localhost:{ports[registry]}",
            identify=lambda key: identity(key) if key.isdigit() else None,
            allow=allow,
        ),
        Options(**options),
    )
    listeners = {registry: Listener(ecr.v2(registry), threads=6) for registry in registries}
    api = Listener(ecr.api_app(), threads=4)
    ports.update({registry: listener.port for registry, listener in listeners.items()})
    served = Served(ecr, clock, ports, api.port)
    for listener in [api, *listeners.values()]:
        listener.start()
    ecr.resume()
    try:
        yield served
    finally:
        for listener in [api, *listeners.values()]:
            listener.stop()
        ecr.close()
