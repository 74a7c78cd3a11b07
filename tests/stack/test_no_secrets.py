"""After a full run with the most verbose logs no output contains a secret: registry tokens, presigned URLs, keys."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from moto.core.base_backend import BackendDict
from moto.sts.models import sts_backends

from support.images import builders as b
from support.stacks.deployed import Deployed, deployed
from tallyman_local.ecr.failures import Failure
from tallyman_local.ecr.store.tokens import Tokens

NAME = "rocketseat/widget-server"


class Secrets:
    """Collects the secrets that the cloud issues while this is active, by kind."""

    def __init__(self) -> None:
        self.found: dict[str, set[str]] = {"token": set(), "address": set()}

    def issue(self, tokens: Tokens, identity: Any) -> Any:
        token, expires = ISSUE(tokens, identity)
        password = base64.b64decode(token).decode().partition(":")[2]
        self.found["token"] |= {token, password, password.rpartition(".")[2]}
        return token, expires

    def layer_path(self, tokens: Tokens, *given: Any) -> str:
        path = LAYER_PATH(tokens, *given)
        self.found["address"].add(path.rpartition("X-Amz-Signature=")[2])
        return path

    def sessions(self) -> set[str]:
        """Keys and tokens of all sessions that STS has issued."""
        backends: BackendDict[Any] = sts_backends
        roles = [
            role for account in backends.values() for backend in account.values() for role in backend.assumed_roles
        ]
        return {text for role in roles for text in (role.secret_access_key, role.session_token)}


ISSUE, LAYER_PATH = Tokens.issue, Tokens.layer_path


@pytest.fixture
def secrets() -> Iterator[Secrets]:
    found = Secrets()
    with (
        mock.patch.object(Tokens, "issue", lambda tokens, identity: found.issue(tokens, identity)),
        mock.patch.object(Tokens, "layer_path", lambda tokens, *given: found.layer_path(tokens, *given)),
    ):
        yield found


def everything(system: Deployed) -> dict[str, str]:
    """All text that is stored or sent: logs, facts, state, archive, notices, dead letters."""
    texts = {f"log {path.name}": path.read_text("utf-8", "replace") for path in logs(system)}
    dynamodb, s3 = system.client("dynamodb"), system.client("s3")
    for table in ("ledger", "state"):
        for page in dynamodb.get_paginator("scan").paginate(TableName=f"{system.cloud.stack}-{table}"):
            for item in page["Items"]:
                texts[f"{table} {item['pk']['S']} {item['sk']['S']}"] = str(item)
    bucket = f"{system.cloud.stack}-archive-111111111111-us-east-2"
    for each in s3.list_objects_v2(Bucket=bucket)["Contents"]:
        texts[f"archive {each['Key']}"] = s3.get_object(Bucket=bucket, Key=each["Key"])["Body"].read().decode()
    texts |= {f"notice {n}": str(notice) for n, notice in enumerate(system.published())}
    texts |= {f"letter {n}": str(letter) for n, letter in enumerate(system.dead_letters())}
    return texts


def logs(system: Deployed) -> list[Path]:
    return sorted((system.cloud.data_dir / "logs").rglob("*"))


@pytest.mark.heavy
def test_no_log_fact_archive_or_notice_contains_a_secret(tmp_path: Path, secrets: Secrets) -> None:
    with deployed(tmp_path, scanner="clean", parameters={"LogLevel": "DEBUG"}) as system:
        system.push(b.multi_arch("quiet"), NAME, "v1.0.0")
        registries = system.stack.policy.environment("prod").registries
        for number, how in enumerate(({"status": 503}, {"throttle": True}, {"after_bytes": 50})):  # error messages
            system.cloud.failures.set(registries[number % 2], Failure(**how))  # type: ignore[arg-type]
            system.push(b.image(f"fails {number}"), NAME, f"v1.1.{number}", settle=False)
            system.cloud.settle(10)
            system.cloud.failures.end()
        system.push(b.image("foreign"), NAME, "v2.0.0", environment="prod")  # a stowaway, which causes a notice
        system.send("verify", '{"digest": "no digest"}')
        system.send("push", "no event")
        system.settle()
        system.reconcile()
        assert system.digests_in(NAME, "v1.0.0") != [None, None]
        assert all(secrets.found.values())
        texts = everything(system)
        function = system.client("lambda").get_function(FunctionName=f"{system.cloud.stack}-promote-image")
        assert function["Configuration"]["Environment"]["Variables"]["POWERTOOLS_LOG_LEVEL"] == "DEBUG"
        assert {name.partition(" ")[0] for name in texts} == {"log", "ledger", "state", "archive", "notice", "letter"}
        kinds = {**secrets.found, "session": secrets.sessions()}
        assert kinds["session"]
        leaks = [
            f"{kind} in {name}"
            for name, text in texts.items()
            for kind, some in kinds.items()
            if any(s in text for s in some)
        ]
        assert leaks == []
        assert not [name for name, text in texts.items() if "X-Amz-Signature" in text or "Authorization" in text]
