"""What a handler creates at its import, and what only on the first message that needs it."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.images.builders import DEV
from tallyman import bootstrap
from tallyman.adapters.aws.clients import Clients
from tallyman.errors import NotAllowed
from tallyman.settings import Settings

QUEUE = "https://sqs.us-east-2.amazonaws.com/111111111111/none"
SETTINGS = Settings(
    stack="tallyman",
    function="test",
    hub=DEV.registry,
    ledger_table="ledger",
    state_table="state",
    archive_bucket="archive",
    notices_topic="arn:aws:sns:us-east-2:111111111111:none",
    bus="bus",
    dead_letters=QUEUE,
    verify_queue=QUEUE,
    promote_queue=QUEUE,
    retention_queue=QUEUE,
    policy=Path(__file__).resolve().parents[3] / "layers/policy/tallyman.yaml",
)


class Operations:
    """A client whose operations return their own names."""

    def __getattr__(self, name: str) -> Any:
        return lambda **_: name


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The services that clients were created for."""
    services: list[str] = []

    def make(self: Clients, service: str, *_: object) -> Operations:
        services.append(service)
        return Operations()

    monkeypatch.setattr(Clients, "_make", make)
    return services


@pytest.mark.parametrize("function", bootstrap.REACTIONS)
def test_an_import_creates_only_the_clients_that_every_message_needs(function: str, made: list[str]) -> None:
    bootstrap.reaction(function, SETTINGS)
    assert made == (["dynamodb"] if function == "record_command" else ["dynamodb", "ecr"])


def test_the_import_of_reconcile_creates_two_clients(made: list[str]) -> None:
    bootstrap.reconciler(SETTINGS)
    assert made == ["dynamodb", "ecr"]


def test_a_client_is_created_once_at_its_first_operation(made: list[str]) -> None:
    clients = Clients(DEV.registry, "tallyman", "test")
    later = clients.later("sns")
    assert made == []
    assert [later.publish(), later.publish()] == ["publish", "publish"]
    assert made == ["sns"]


def test_a_client_that_cannot_be_created_fails_each_operation(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Clients, service: str, *_: object) -> Operations:
        raise NotAllowed(f"make a client of {service}")

    monkeypatch.setattr(Clients, "_make", refuse)
    later = Clients(DEV.registry, "tallyman", "test").later("sns")
    for _ in range(2):
        with pytest.raises(NotAllowed, match="make a client of sns"):
            later.publish()


def test_the_import_of_reconcile_loads_no_part_of_a_run() -> None:
    """They are loaded when a run first uses them: six modules, and all that these import."""
    code = "import sys, tallyman.services.reconcile.reconcile; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    parts = ["reconcile.sweep", "reconcile.waiting", "reconcile.read_trail", "reconcile.rejudge"]
    parts += ["recording.round_trip", "sealing.seal_ledger"]
    assert "tallyman.services.reconcile.turns" in loaded
    assert [part for part in parts if f"tallyman.services.{part}" in loaded] == []
    assert "tallyman.domain.retention" not in loaded
