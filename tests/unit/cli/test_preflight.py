"""`make deploy` says what it knows before it builds anything."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tallyman.errors import BadInput
from tallyman_cli.setup import preflight

ROOT = Path(__file__).resolve().parents[3]


class Aws:
    """botocore's session: an account in a region, with these stacks and tables."""

    def __init__(self, region: str | None = "us-east-2", tables: tuple[str, ...] = (), **stacks: str) -> None:
        self.region, self.tables, self.stacks = region, tables, stacks

    def get_config_variable(self, name: str) -> str | None:
        return self.region

    def get_available_regions(self, service: str, partition_name: str = "aws") -> list[str]:
        return ["us-east-2"] if service == "codebuild" else []

    def create_client(self, service: str, region_name: str) -> "Aws":
        return self

    def get_caller_identity(self) -> dict[str, str]:
        return {"Account": "111111111111"}

    def describe_stacks(self, StackName: str) -> dict[str, Any]:
        if StackName not in self.stacks:
            raise refused("ValidationError", f"Stack with id {StackName} does not exist")
        return {"Stacks": [{"StackStatus": self.stacks[StackName]}]}

    def describe_table(self, TableName: str) -> dict[str, Any]:
        if TableName not in self.tables:
            raise refused("ResourceNotFoundException", "not found")
        return {}


def refused(code: str, message: str) -> ClientError:
    answer: Any = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    return ClientError(answer, "Operation")


@pytest.fixture(autouse=True)
def checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_an_environment_that_is_none_is_told_with_the_one_that_was_meant() -> None:
    with pytest.raises(BadInput, match=r"no environment 'prdo'; there are dev, prod \(did you mean prod\?\)"):
        preflight.hub("prdo", Aws())


def test_make_deploy_ends_there_before_it_builds() -> None:
    recipe = (ROOT / "Makefile").read_text().partition("\ndeploy: ")[2].partition("\n\n")[0]
    asked, built = recipe.index("preflight $(ENV)\n"), recipe.index("$(MAKE) --no-print-directory build")
    assert asked < built
    assert "build" not in recipe.splitlines()[0].partition("##")[0]  # nor as a prerequisite
    command = [sys.executable, "-m", "tallyman_cli.setup.preflight", "prdo"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean prod?" in done.stderr


def test_what_is_known_is_said() -> None:
    said = preflight.hub("prod", Aws(tallyman="UPDATE_COMPLETE"))
    assert "stack tallyman (UPDATE_COMPLETE) in 111111111111/us-east-2" in said
    assert "stack tallyman (new)" in preflight.hub("prod", Aws())


@pytest.mark.parametrize(
    ("aws", "word"),
    [
        (Aws(region=None), "no region"),
        (Aws(region="us-esat-2"), "us-east-2"),
        (Aws(tallyman="ROLLBACK_COMPLETE"), "delete it, then deploy again"),
        (Aws(tallyman="UPDATE_IN_PROGRESS"), "another operation"),
        (Aws(tables=("tallyman-ledger",)), "the table tallyman-ledger are there, but no stack tallyman"),
    ],
)
def test_what_would_fail_is_said_at_once(aws: Aws, word: str) -> None:
    with pytest.raises(BadInput, match=word):
        preflight.hub("prod", aws)


@pytest.mark.parametrize(("region", "most"), [("us-east-2", 32), ("ap-southeast-2", 27), ("us-gov-west-1", 28)])
def test_a_stacks_name_has_room_in_the_buckets_name(region: str, most: int) -> None:
    name = "s" * 30
    if most >= 30:
        assert preflight.target(name, Aws(region=region)).stack == name
        return
    with pytest.raises(BadInput, match=f"too long for {region}.*at most {most} are left"):
        preflight.target(name, Aws(region=region))
    assert preflight.target(name[:most], Aws(region=region)).stack == name[:most]


def test_a_first_deployment_is_not_protected_and_later_ones_are_as_configured() -> None:
    assert preflight.first_overrides("prod", Aws()).split() == ["LogRetentionDays=365", "DeletionProtection=false"]
    assert preflight.first_overrides("prod", Aws(tallyman="CREATE_COMPLETE")) == ""


def test_builds_need_the_hub_and_the_services_of_its_region() -> None:
    with pytest.raises(BadInput, match="make deploy ENV=prod first"):
        preflight.build("prod", "shop", Aws())
    with pytest.raises(BadInput, match="us-east-2 has no CodeConnections"):
        preflight.build("prod", "shop", Aws(tallyman="CREATE_COMPLETE"))
    with pytest.raises(BadInput, match="NAME="):
        preflight.build("prod", "Shop!", Aws(tallyman="CREATE_COMPLETE"))
