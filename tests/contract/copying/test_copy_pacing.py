"""PutImage stays within a registry's rate limit, which all workers of a promotion share."""

from collections.abc import Iterator
from typing import Any

import pytest

from support.images.builders import DEV, PROD, PROD_SA, image
from support.servers.scripted import Reply, Scripted, scripted
from tallyman.adapters.ecr import target as ecr_target
from tallyman.adapters.ecr.auth import EcrAuth
from tallyman.adapters.ecr.target import EcrTarget
from tallyman.adapters.http.client import HttpClient
from tallyman.adapters.oci.client import RegistryClient
from tallyman.bootstrap.adapters import Adapters
from tallyman.domain.names import EcrRegistry
from tallyman.settings import Settings


class Budgets:
    """Replaces `Pace`: the rates in use, and the number of requests before each wait."""

    def __init__(self, script: Scripted) -> None:
        self.script, self.rates = script, list[float]()
        self.waits: list[tuple[int, int]] = []

    def __call__(self, rate: float, burst: int = 1) -> Any:
        budgets, mine = self, len(self.rates)
        self.rates.append(rate)

        class One:
            def wait(self) -> None:
                budgets.waits.append((mine, len(budgets.script.asked)))

        return One()


class Account:
    """The clients of an ECR that is the scripted server."""

    def __init__(self, script: Scripted) -> None:
        self.script = script

    def get(self, service: str, registry: EcrRegistry | None = None, power: str = "read") -> Any:
        return self

    def get_authorization_token(self) -> dict[str, Any]:
        return {"authorizationData": [{"authorizationToken": "token", "proxyEndpoint": self.script.base}]}


@pytest.fixture
def script() -> Iterator[Scripted]:
    with scripted() as running:
        yield running


def test_each_manifest_waits_for_its_turn_in_its_registry(script: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    budgets = Budgets(script)
    monkeypatch.setattr(ecr_target, "Pace", budgets)
    clients: Any = Account(script)
    target = EcrTarget(clients, RegistryClient(HttpClient(), EcrAuth(clients)), put_rate=1.25)
    script.replies += [Reply(201)] * 4
    for place in (PROD, PROD, PROD_SA, PROD):
        target.put_manifest(place, image("a").root)
    assert set(budgets.rates) == {1.25}
    assert [asked for _, asked in budgets.waits] == [0, 1, 2, 3]  # before each request
    first, second, other, third = (who for who, _ in budgets.waits)
    assert first == second == third != other
    assert len(script.asked) == 4


def test_concurrent_workers_share_the_rate_limit(monkeypatch: pytest.MonkeyPatch, script: Scripted) -> None:
    budgets = Budgets(script)
    monkeypatch.setattr(ecr_target, "Pace", budgets)
    settings = Settings.from_environment(
        {
            "TALLYMAN_STACK": "tallyman",
            "TALLYMAN_HUB": f"{DEV.registry.account}/{DEV.registry.region}",
            "TALLYMAN_PUT_RATE": "6",
            "TALLYMAN_PROMOTE_CONCURRENCY": "4",
        }
    )
    clients: Any = Account(script)
    script.replies += [Reply(201)]
    Adapters(settings, clients).target.put_manifest(PROD, image("a").root)
    assert budgets.rates == [1.5]
