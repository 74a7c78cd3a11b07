"""`make deploy` checks what it can before it builds anything."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.exceptions import ClientError

from tallyman.adapters.files.policy_file import load
from tallyman.errors import BadInput
from tallyman_cli.setup import files, preflight

ROOT = Path(__file__).resolve().parents[3]


class Aws:
    """botocore's session: an account in a region, with these stacks, tables and concurrent executions."""

    def __init__(
        self, region: str | None = "us-east-2", tables: tuple[str, ...] = (), at_once: int = 1000, **stacks: str
    ) -> None:
        self.region, self.tables, self.at_once, self.stacks = region, tables, at_once, stacks

    def get_config_variable(self, name: str) -> str | None:
        return self.region

    def get_available_regions(self, service: str, partition_name: str = "aws") -> list[str]:
        known: list[str] = botocore.session.get_session().get_available_regions(service, partition_name)
        return known

    def create_client(self, service: str, region_name: str) -> "Aws":
        return self

    def get_caller_identity(self) -> dict[str, str]:
        return {"Account": "111111111111"}

    def describe_stacks(self, StackName: str) -> dict[str, Any]:
        if StackName not in self.stacks:
            raise refused("ValidationError", f"Stack with id {StackName} does not exist")
        return {"Stacks": [{"StackStatus": self.stacks[StackName]}]}

    def get_account_settings(self) -> dict[str, Any]:
        if self.at_once < 0:
            raise refused("AccessDeniedException", "not authorized to perform: lambda:GetAccountSettings")
        return {"AccountLimit": {"UnreservedConcurrentExecutions": self.at_once}}

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


def test_an_unknown_environment_is_reported_with_a_similar_one() -> None:
    with pytest.raises(BadInput, match=r"no environment 'prdo'; there are dev, prod \(did you mean prod\?\)"):
        preflight.hub("prdo", Aws())


def test_make_deploy_stops_there_before_it_builds() -> None:
    recipe = (ROOT / "Makefile").read_text().partition("\ndeploy: ")[2].partition("\n\n")[0]
    asked, built = recipe.index("preflight $(ENV)\n"), recipe.index("$(MAKE) --no-print-directory build")
    assert asked < built
    assert "build" not in recipe.splitlines()[0].partition("##")[0]  # nor as a prerequisite
    command = [sys.executable, "-m", "tallyman_cli.setup.preflight", "prdo"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean prod?" in done.stderr


def test_known_facts_of_the_account_are_noted() -> None:
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
        (Aws(tallyman="UPDATE_ROLLBACK_FAILED"), "continue-update-rollback --stack-name tallyman"),
        (Aws(tables=("tallyman-ledger",)), "the table tallyman-ledger are there, but no stack tallyman"),
    ],
)
def test_what_would_fail_is_reported_at_once(aws: Aws, word: str) -> None:
    with pytest.raises(BadInput, match=word):
        preflight.hub("prod", aws)


@pytest.mark.parametrize(("region", "most"), [("us-east-2", 32), ("ap-southeast-2", 27), ("us-gov-west-1", 28)])
def test_a_stacks_name_fits_into_the_buckets_name(region: str, most: int) -> None:
    name = "s" * 30
    if most >= 30:
        assert preflight.target(name, Aws(region=region)).stack == name
        return
    with pytest.raises(BadInput, match=f"too long for {region}.*at most {most} are left"):
        preflight.target(name, Aws(region=region))
    assert preflight.target(name[:most], Aws(region=region)).stack == name[:most]


def test_a_declined_first_deployment_can_be_made_again() -> None:
    """A change set that nobody executed leaves an empty stack, which sam treats as one that does not exist."""
    aws = Aws(tallyman="REVIEW_IN_PROGRESS")
    assert "stack tallyman (new)" in preflight.hub("prod", aws)
    assert "DeletionProtection=false" in preflight.first_overrides("prod", aws)
    with pytest.raises(BadInput, match="make deploy ENV=prod first"):
        preflight.beside("prod", aws)
    recipe = (ROOT / "Makefile").read_text().partition("\ndeploy: ")[2].partition("\n\n")[0]
    first, second = recipe.split('--parameter-overrides "$$first"; fi')
    assert "--beside" not in first
    assert second.index("--beside") < second.index("$(SAM) deploy")  # ends there: sam exits with 0 if somebody declines


def test_a_first_deployment_is_not_protected_and_later_ones_are_as_configured() -> None:
    assert preflight.first_overrides("prod", Aws()).split() == ["LogRetentionDays=365", "DeletionProtection=false"]
    assert preflight.first_overrides("prod", Aws(tallyman="CREATE_COMPLETE")) == ""


SPOKES = """
environments:
  dev: {registries: [111111111111/us-east-2]}
  prod:
    registries: [111111111111/us-east-1, 222222222222/us-east-2]
    rollout: {services: [{ecs: shop/web, repository: shop/web}, {lambda: resize, alias: live, repository: shop/web}]}
"""


def noted(aws: Aws, policy: str, tmp_path: Path, given: str = "") -> list[str]:
    """The notes of a deployment with this policy and these overrides."""
    found = preflight.target("tallyman", aws)
    overrides = files.overrides({"deploy": {"parameters": {"parameter_overrides": given}}})
    (tmp_path / "tallyman.yaml").write_text(policy)
    return preflight.notes(found, load(tmp_path / "tallyman.yaml"), overrides, aws)


def test_policy_requirements_that_the_parameters_do_not_allow_are_reported(tmp_path: Path) -> None:
    result = noted(Aws(), SPOKES, tmp_path)
    assert [each.rpartition(" ")[2] for each in result] == ["SpokeAccounts", "RollOutServices", "RollOutFunctions"]
    assert "222222222222" in result[0]
    assert "shop/web" in result[1]
    given = "SpokeAccounts=333333333333,222222222222 RollOutServices=arn:aws:ecs:a RollOutFunctions=arn:aws:lambda:b"
    assert noted(Aws(), SPOKES, tmp_path, given) == []


@pytest.mark.parametrize(("at_once", "word"), [(10, "takes up to 17"), (-1, "lambda:GetAccountSettings")])
def test_a_new_accounts_concurrency_is_reported_before_the_deployment(at_once: int, word: str, tmp_path: Path) -> None:
    (result,) = noted(Aws(at_once=at_once), "environments: {dev: {registries: [111111111111/us-east-2]}}", tmp_path)
    assert word in result


@pytest.mark.parametrize(
    ("given", "region"),
    [
        ({"AWS_REGION": "us-east-2"}, "us-east-2"),
        ({"AWS_REGION": "us-east-2", "AWS_DEFAULT_REGION": "us-east-1"}, "us-east-2"),
        ({"AWS_REGION": "", "AWS_DEFAULT_REGION": "us-east-1"}, "us-east-1"),
        ({"AWS_DEFAULT_REGION": "us-east-1"}, "us-east-1"),
        ({}, None),
    ],
)
def test_sam_deploys_to_the_region_that_the_checks_name(
    given: dict[str, str], region: str | None, tmp_path: Path
) -> None:
    """sam asks botocore, which ignores AWS_REGION: it would deploy to the region of the profile."""
    ask = "import botocore.session; print(botocore.session.get_session().get_config_variable('region'))"
    rule = f'region: ; @{sys.executable} -c "{ask}"'
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **given}
    done = subprocess.run(
        ["make", "-s", f"--eval={rule}", "region"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(region)


@pytest.mark.parametrize("table", ["global", "deploy"])
def test_a_region_of_samconfig_that_is_not_ones_own_is_reported(table: str) -> None:
    """sam deploys to the region that its file names, whatever AWS_REGION says; `sam deploy --guided` writes one."""
    part: dict[str, Any] = {"global": {"parameters": {"stack_name": "tallyman"}}, "deploy": {"parameters": {}}}
    part[table]["parameters"]["region"] = "us-east-1"
    with pytest.raises(BadInput, match="names the region us-east-1, but yours is us-east-2: set AWS_REGION=us-east-1"):
        preflight.configured_target(part, Aws())
    assert preflight.configured_target(part, Aws(region="us-east-1")).region == "us-east-1"


@pytest.mark.parametrize("question", [preflight.hub, preflight.first_overrides, preflight.beside])
def test_every_check_before_a_deployment_reads_the_region_of_samconfig(
    question: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = {**preflight.configured("prod"), "global": {"parameters": {"stack_name": "tallyman", "region": "us-east-1"}}}
    monkeypatch.setattr(preflight, "configured", lambda environment: part)
    with pytest.raises(BadInput, match="AWS_REGION=us-east-1"):
        question("prod", Aws(tallyman="UPDATE_COMPLETE"))


def test_overrides_are_read_as_sam_takes_them() -> None:
    text = "A='rate(1 day)' B=x C="
    for given in (text, ["A=rate(1 day)", "B=x", "C="]):
        part = {"deploy": {"parameters": {"parameter_overrides": given}}}
        assert files.overrides(part) == {"A": "rate(1 day)", "B": "x", "C": ""}
    with pytest.raises(BadInput, match="parameter_overrides"):
        files.overrides({"deploy": {"parameters": {"parameter_overrides": "A='x"}}})


def test_an_unreadable_configuration_is_reported(tmp_path: Path) -> None:
    (tmp_path / "samconfig.toml").write_text("[prod.global\n")
    with pytest.raises(BadInput, match=r"samconfig\.toml: .*line 1"):
        preflight.configured("prod", tmp_path / "samconfig.toml")


def test_builds_need_the_hub_and_the_services_of_its_region() -> None:
    with pytest.raises(BadInput, match="make deploy ENV=prod first"):
        preflight.build("prod", "shop", Aws())
    with pytest.raises(BadInput, match="NAME="):
        preflight.build("prod", "Shop!", Aws(tallyman="CREATE_COMPLETE"))


@pytest.mark.parametrize(
    ("region", "missing"),
    [("us-east-2", ()), ("af-south-1", ("CodeConnections",)), ("mx-central-1", ("CodeBuild", "CodeConnections"))],
)
def test_services_unknown_to_botocore_in_the_region_are_reported(region: str, missing: tuple[str, ...]) -> None:
    said = preflight.build("prod", "shop", Aws(region=region, tallyman="CREATE_COMPLETE"))
    assert [name for name in ("CodeBuild", "CodeConnections") if f"no {name}" in said] == list(missing)
    assert ("CI of your own" in said) == bool(missing)
