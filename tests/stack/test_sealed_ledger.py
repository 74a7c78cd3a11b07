"""The seal on the local cloud: reconcile writes it in its own role, a person with the people's policy verifies it."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from typer.testing import CliRunner

from support.images import builders as b
from support.stacks.deployed import Deployed, deployed
from tallyman_cli.main import app

NAME = "rocketseat/widget-server"
AUDITOR = "arn:aws:iam::111111111111:role/auditor"


@pytest.fixture
def system(tmp_path: Path) -> Iterator[Deployed]:
    with deployed(tmp_path, scanner="clean") as running:
        running.push(b.image("sealed"), NAME, "v1.0.0")
        keys = running.cloud.credentials(AUDITOR)
        outputs = running.client("cloudformation").describe_stacks(StackName=running.cloud.stack)["Stacks"][0]
        policy = next(o["OutputValue"] for o in outputs["Outputs"] if o["OutputKey"] == "PeoplePolicyArn")
        running.client("iam").attach_role_policy(RoleName="auditor", PolicyArn=policy)
        running.cloud.permissions.held.add(AUDITOR)
        with mock.patch.dict(os.environ, keys):
            yield running


def audit(*words: str) -> dict[str, Any]:
    result = CliRunner().invoke(app, ["audit", "ledger", *words, "--json"])
    found: dict[str, Any] = json.loads(result.stdout)
    assert result.exit_code == (1 if found["findings"] else 0), result.output
    return found


def table(system: Deployed) -> Any:
    return system.client("dynamodb"), f"{system.cloud.stack}-ledger"


def test_tampering_with_the_ledger_is_found_and_located(system: Deployed, tmp_path: Path) -> None:
    assert system.reconcile()["sealed"]["segments"] == 1
    system.push(b.image("second"), NAME, "v1.0.1")
    system.reconcile()
    whole = audit("--export", str(tmp_path / "ledger.jsonl"))
    assert whole["findings"] == []
    assert (
        whole["sealed"] + whole["waiting"]
        == whole["entries"]
        == len((tmp_path / "ledger.jsonl").read_text().splitlines())
    )
    assert whole["segments"] >= 2
    client, name = table(system)
    first, second = [f for f in system.facts(b.image("sealed").digest) if f.kind in ("pushed", "verified")][:2]
    key = {"pk": {"S": first.partition}, "sk": {"S": first.sort}}
    item = client.get_item(TableName=name, Key=key)["Item"]
    client.put_item(TableName=name, Item={**item, "actor": {"S": "mallory"}})
    client.delete_item(TableName=name, Key={"pk": {"S": second.partition}, "sk": {"S": second.sort}})
    client.put_item(TableName=name, Item={**item, "sk": {"S": f"{first.sort}0"}, "seen_pk": {"S": "S#2020-01-01"}})
    assert [(each["kind"], each["where"]) for each in audit("--head", whole["head"]["digest"])["findings"]] == [
        ("entry_altered", f"{first.partition} {first.sort}"),
        ("entry_hidden", f"{first.partition} {first.sort}0"),
        ("entry_removed", f"{second.partition} {second.sort}"),
    ]
    system.client("s3").put_object(Bucket=system.stack.archive._bucket, Key="seals/0000000001", Body=b"{}")  # type: ignore[attr-defined]
    kinds = {each["kind"] for each in audit()["findings"]}
    assert "segment_altered" in kinds
