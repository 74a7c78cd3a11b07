"""`make aws-smoke`, step by step against the local cloud, so that it works when it is needed."""

import json
import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
from aws import make as making
from aws import questions, smoke
from aws.make import Skipped
from aws.site import Place, Site

from support.stacks.deployed import Deployed, deployed
from tallyman.adapters.files.policy_file import load
from tallyman_cli.setup import files, preflight

ROOT = Path(__file__).resolve().parents[2]
HUB, PROD, ID = "111111111111", "222222222222", "local"
FUNCTION = {"RollOutFunctions": f"arn:aws:lambda:sa-east-1:{PROD}:function:tallyman-smoke-{ID}"}


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folders of a run are inside the test's folder."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def site(region: str = "us-east-2", **given: Any) -> Site:
    """A run's site without credentials."""
    session: Any = None
    return Site(Place(HUB, region, session), Place(PROD, "sa-east-1", session), id=ID, **given)


def run(*arguments: str, account: str = HUB, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run `make aws-smoke` as a user does."""
    command = ["make", "aws-smoke", f"ACCOUNT={account}", f"ARGS={' '.join(arguments)}"]
    environ = {**os.environ, **environment}
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environ, timeout=550)


def test_without_an_account_make_says_what_is_missing() -> None:
    done = run(account="")
    assert done.returncode == 2
    assert "ACCOUNT=" in done.stderr


def listed() -> list[str]:
    page = (ROOT / "docs/aws.md").read_text().partition("## To confirm on a real account")[2].partition("\n## ")[0]
    return [" ".join(item.split()).rstrip(";.") for item in re.findall(r"(?ms)^- (.*?)(?=^- |\n\n)", page + "\n")]


def test_a_run_answers_every_question_of_the_docs() -> None:
    assert listed() == list(questions.QUESTIONS)
    assert set(questions.OPEN) < set(questions.QUESTIONS)


class Stopped(BaseException):
    """Simulates Ctrl-C."""


def test_everything_is_removed_the_newest_first_whatever_failed() -> None:
    removed = []

    def fails(text: str) -> object:
        removed.append(text)
        raise RuntimeError(text)

    here = site()
    here.remove_later("first", lambda: removed.append("first"))
    here.remove_later("stuck", lambda: fails("stuck: still in use"))
    here.remove_later("gone", lambda: fails("NoSuchBucket"))
    here.remove_later("last", lambda: removed.append("last"))
    with pytest.raises(RuntimeError, match=r"^stuck: stuck: still in use$"):
        here.remove()
    assert removed == ["last", "NoSuchBucket", "stuck: still in use", "first"]


@pytest.mark.parametrize("fault", [RuntimeError("no"), KeyError("no"), Stopped()])
def test_removal_and_report_follow_a_failed_or_interrupted_step(
    fault: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(site: Site) -> str:
        site.remove_later("what was begun", lambda: removed.append("begun"))
        raise fault

    removed: list[str] = []
    monkeypatch.setattr(making, "deploy", failing)
    monkeypatch.setattr(smoke, "remove_repositories", lambda site: removed.append("repositories"))
    one = smoke.Smoke(site())
    if isinstance(fault, Stopped):
        with pytest.raises(Stopped):
            one.run()
    else:
        assert not one.run()
    one.report(tmp_path)
    assert removed == ["begun", "repositories"]
    result = json.loads((tmp_path / "smoke.json").read_text())
    assert [step["name"] for step in result["steps"]][-1] == "remove everything"
    assert set(result["confirmed"]) == set(questions.QUESTIONS)
    assert "None" not in (tmp_path / "smoke.md").read_text()


class Credentials:
    """A boto3 session that only answers its partition."""

    def get_partition_for_region(self, region: str) -> str:
        return "aws"


@pytest.mark.parametrize("account", [HUB, PROD])
def test_a_hub_is_deployed_from_a_copy_with_its_own_policy_and_parameters(account: str) -> None:
    here = site()
    here.hub.session = Credentials()  # type: ignore[assignment]
    here.prod.account = account
    making.checkout(here)
    tree = here.folder / "checkout"
    policy = load(tree / "layers/policy/tallyman.yaml")
    assert [str(r) for r in policy.registries()] == [f"{HUB}/us-east-2", f"{account}/sa-east-1"]
    part = preflight.configured("smoke", tree / "samconfig.toml")
    assert part["global"]["parameters"]["stack_name"] == f"tallyman-smoke-{ID}"
    given = files.overrides(part)
    function = f"arn:aws:lambda:sa-east-1:{HUB}:function:tallyman-smoke-{ID}"
    # in one account the hub's own role moves the function, in another one the spoke's
    assert given.get("RollOutFunctions") == (function if account == HUB else None)
    assert given.get("SpokeAccounts") == (PROD if account == PROD else None)
    assert (ROOT / "layers/policy/tallyman.yaml").read_text() != making.policy(here)


def test_an_existing_stack_is_neither_deployed_nor_removed() -> None:
    here = site(stack="tallyman")
    for step in (making.deploy, making.spoke):
        with pytest.raises(Skipped):
            step(here)
    assert here.removals == []


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A profile with a person's credentials of production's account."""
    file = tmp_path_factory.mktemp("aws") / "config"
    role = f"arn:aws:iam::{PROD}:role/admin"
    file.write_text(f"[profile prod]\nrole_arn = {role}\ncredential_source = Environment\nregion = sa-east-1\n")
    return file


def left(system: Deployed) -> list[str]:
    """The resources that a run created and did not remove."""
    found = [r["repositoryName"] for r in system.client("ecr").describe_repositories()["repositories"]]
    admin = f"arn:aws:iam::{PROD}:role/admin"
    far = {service: system.client(service, "sa-east-1", admin) for service in ("ecr", "lambda", "iam")}
    found += [r["repositoryName"] for r in far["ecr"].describe_repositories()["repositories"]]
    found += [f["FunctionName"] for f in far["lambda"].list_functions()["Functions"]]
    roles = [*system.client("iam").list_roles()["Roles"], *far["iam"].list_roles()["Roles"]]
    found += [r["RoleName"] for r in roles]
    found += [r["Name"] for r in system.client("events").list_rules()["Rules"]]
    found += system.client("sqs").list_queues().get("QueueUrls", [])
    return [name for name in found if "smoke" in name]


@pytest.mark.heavy
def test_every_step_passes_on_the_local_cloud_and_nothing_is_left(tmp_path: Path, profile: Path) -> None:
    place: Any = Place(HUB, "us-east-2", None)  # type: ignore[arg-type]
    policy = making.policy(Site(place, Place(PROD, "sa-east-1", place.session), id=ID))
    with deployed(tmp_path, policy, scanner="clean", parameters=FUNCTION) as system:
        result = {"AWS_CONFIG_FILE": str(profile)}
        other = run("--deployed", system.cloud.stack, "--report", str(tmp_path), account="999999999999")
        assert (other.returncode, f"belong to {HUB}" in other.stderr) == (2, True)
        swapped = ("--spoke-account", "333333333333", "--spoke-profile", "prod")
        other = run("--deployed", system.cloud.stack, *swapped, "--report", str(tmp_path), **result)
        assert f"belong to {PROD}, not to 333333333333" in other.stderr
        assert not (tmp_path / "smoke.json").exists()
        spoke = ("--spoke-account", PROD, "--spoke-profile", "prod")
        arguments = ("--deployed", system.cloud.stack, "--id", ID, "--patience", "120", *spoke)
        done = run(*arguments, "--report", str(tmp_path), **result)
        assert done.returncode == 0, done.stdout + done.stderr
        report = json.loads((tmp_path / "smoke.json").read_text())
        outcomes = {step["name"]: step["outcome"] for step in report["steps"]}
        skipped = {name for name, outcome in outcomes.items() if outcome == "skipped"}
        assert skipped == {"deploy the hub", "deploy the spoke", "confirm: signing"}
        assert set(outcomes.values()) == {"passed", "skipped"}
        assert questions.UNANSWERED not in report["confirmed"].values()
        assert report["usd_estimated"] > 0
        text = (tmp_path / "smoke.md").read_text() + (tmp_path / "smoke.json").read_text() + done.stdout
        assert HUB not in text
        assert PROD not in text
        assert left(system) == []
