"""The local ECR alone: its API and its registries on ports of this machine, without the rest of the local cloud.

For tests and tools of other projects: it needs no checkout, policy or stack, and starts in a tenth of a second.

    with Registries() as ecr:
        client = ecr.client()                                        # boto3's, for ecr.HOME
        uri = client.create_repository(repositoryName="team/app")["repository"]["repositoryUri"]
"""

import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self

import boto3

from tallyman.domain.names import EcrRegistry
from tallyman_local.ecr import Callbacks, Identity, LocalEcr, Options
from tallyman_local.ecr.rules.scanner import Finding
from tallyman_local.server.http import HOST, Listener


class Registries:
    """Any number of accounts and regions. An access key that is the number of an account is a user of that account.

    `events`: what ECR would have sent to EventBridge, oldest first. `records`: what CloudTrail would hold. A registry's
    port opens at its first use. Thread-safe; several may run at once. `data_dir` keeps the images between runs; without
    it they are in a temporary folder, removed at the end. `clock` is called for every time that is needed.
    """

    HOME = EcrRegistry("111111111111", "us-east-2")

    def __init__(
        self,
        data_dir: Path | None = None,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        scanner: Literal["manual", "clean"] = "manual",
        quotas: Mapping[str, float] | None = None,
    ) -> None:
        self.events: list[dict[str, Any]] = []
        self.records: list[dict[str, Any]] = []
        self._temporary = None if data_dir else tempfile.TemporaryDirectory(prefix="local-ecr-")
        root = data_dir or Path(self._temporary.name if self._temporary else "")
        self.ecr = LocalEcr(
            root,
            Callbacks(
                clock=clock,
                emit=lambda event, account, region: self.events.append(event),
                trail=self.records.append,
                endpoint_of=self.endpoint_of,
                identify=_identify,
            ),
            Options(scanner=scanner, quotas=quotas or {}),
        )
        self._listeners: dict[EcrRegistry, Listener] = {}
        self._lock = threading.Lock()
        self._api = Listener(self.ecr.api_app(), threads=8)
        self.url = f"http://{HOST}:{self._api.port}"

    def __enter__(self) -> Self:
        self._api.start()
        self.ecr.resume()
        return self

    def __exit__(self, *_: object) -> None:
        Listener.stop_all([self._api, *self._listeners.values()])
        self.ecr.close()
        if self._temporary:
            self._temporary.cleanup()

    def endpoint_of(self, registry: EcrRegistry) -> str:
        """`http://localhost:PORT` of a registry's `/v2/`."""
        with self._lock:
            listener = self._listeners.get(registry)
            if listener is None:
                listener = self._listeners[registry] = Listener(self.ecr.v2(registry), threads=12)
                listener.start()
        return f"http://localhost:{listener.port}"

    def address(self, account: str = HOME.account, region: str = HOME.region) -> str:
        """`localhost:PORT`, which replaces `<account>.dkr.ecr.<region>.amazonaws.com` in image names."""
        return self.endpoint_of(EcrRegistry(account, region)).removeprefix("http://")

    def environment(self, account: str = HOME.account, region: str = HOME.region) -> dict[str, str]:
        """The variables with which boto3 and the `aws` command use the API as a user of the account."""
        return {
            "AWS_ENDPOINT_URL_ECR": self.url,
            "AWS_ACCESS_KEY_ID": account,
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_REGION": region,
            "AWS_DEFAULT_REGION": region,
        }

    def client(self, account: str = HOME.account, region: str = HOME.region) -> Any:
        """boto3's ECR client as a user of the account."""
        return boto3.client(
            "ecr",
            region_name=region,
            endpoint_url=self.url,
            aws_access_key_id=account,
            aws_secret_access_key="local",
        )

    def finish_scan(
        self,
        repository: str,
        digest: str,
        findings: Iterable[Finding] = (),
        *,
        account: str = HOME.account,
        region: str = HOME.region,
    ) -> None:
        """Complete an image's scan with findings (`name` and `severity` each); send the event "ECR Image Scan"."""
        self.ecr.scanner.complete(EcrRegistry(account, region), repository, digest, findings)


def _identify(key: str) -> Identity | None:
    if not (key.isdecimal() and len(key) == 12):
        return None
    return Identity(key, f"arn:aws:iam::{key}:user/local", "AIDALOCAL")
