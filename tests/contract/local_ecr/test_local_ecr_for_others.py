"""The local ECR for other projects: the example's tests run in their own pytest, several at once, with data that
persists."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from botocore.exceptions import ClientError
from typer.testing import CliRunner

from tallyman_cli.main import app
from tallyman_local.ecr.registries import Registries

HERE = Path(__file__).resolve().parents[3]


def test_the_example_tests_for_other_projects_pass() -> None:
    folder = HERE / "examples" / "ecr-tests"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PYTEST_"))}
    environment["PYTHONPATH"] = os.pathsep.join(str(HERE / part) for part in ("layers/core/src", "local"))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", folder, folder],
        capture_output=True,
        text=True,
        env=environment,
        cwd=folder,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


def test_each_account_and_region_is_a_separate_registry() -> None:
    with Registries() as ecr, Registries() as other:
        uri = ecr.client().create_repository(repositoryName="team/app")["repository"]["repositoryUri"]
        assert uri == f"{ecr.address()}/team/app"
        for stranger in (ecr.client("222222222222"), ecr.client(region="sa-east-1"), other.client()):
            assert stranger.describe_repositories()["repositories"] == []
        with pytest.raises(ClientError, match="UnrecognizedClientException"):
            ecr.client("nobody").describe_repositories()


def test_data_in_a_folder_persists(tmp_path: Path) -> None:
    with Registries(tmp_path) as ecr:
        ecr.client().create_repository(repositoryName="team/app")
    with Registries(tmp_path) as ecr:
        assert [r["repositoryName"] for r in ecr.client().describe_repositories()["repositories"]] == ["team/app"]


@pytest.mark.parametrize("text", ["PutImage", "PutImage=x", "=1"])
def test_an_unreadable_quota_is_bad_input(text: str) -> None:
    assert CliRunner().invoke(app, ["local", "exec", "--quota", text, "--", "true"]).exit_code == 2


def test_the_compose_file_starts_what_the_docs_say() -> None:
    compose = yaml.safe_load((HERE / "examples" / "compose" / "compose.yaml").read_text("utf-8"))
    (service,) = compose["services"].values()
    command = service["command"][-1]
    assert "tallyman local start --port 5100 --data /data" in command
    assert "http://127.0.0.1:5100" in (HERE / "docs" / "local-cloud.md").read_text("utf-8")
