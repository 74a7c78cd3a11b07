"""`tallyman init`: its output is valid, and existing files stay unchanged."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from tallyman.adapters.files.policy_file import load
from tallyman.domain.policy import Layers
from tallyman_cli.main import app

HUB, PROD = "111111111111/us-east-2", ("222222222222/us-east-2", "222222222222/sa-east-1")


def run(folder: Path, *arguments: str, given: str = "") -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["init", "--to", str(folder), *arguments], input=given)
    return done.exit_code, done.stdout, done.stderr


def test_a_hub_and_two_spokes(tmp_path: Path) -> None:
    status, result, _ = run(tmp_path, "--hub", HUB, "--prod", PROD[0], "--prod", PROD[1], "--main-to-prod")
    assert status == 0
    policy = load(tmp_path / "tallyman.yaml")
    assert [str(r) for r in policy.environment("prod").registries] == list(PROD)
    assert policy.promotion("dev", "prod", "any/thing", "main-abc1234") is not None
    assert policy.promotion("dev", "prod", "any/thing", "feature-abc1234") is None
    assert "SpokeAccounts=222222222222" in (tmp_path / "samconfig.toml").read_text()
    assert result.count("spoke.yaml") == 2
    assert result.count("PeopleRoles=") == 1  # roles are created once per account
    assert result.index("CreateRoles=true") < result.index("CreateRoles=false")


def test_one_account_holds_both_environments(tmp_path: Path) -> None:
    assert run(tmp_path, given=f"{HUB}\n\n")[0] == 0
    policy = load(tmp_path / "tallyman.yaml")
    assert policy.environment("prod").repository_name("app") == "prod/app"
    assert policy.promotion("dev", "prod", "app", "v1.0.0") is not None


def test_existing_files_are_not_changed(tmp_path: Path) -> None:
    (tmp_path / "tallyman.yaml").write_text("mine")
    status, _, result = run(tmp_path, "--hub", HUB, "--prod", HUB)
    assert status == 2
    assert "--force" in result
    assert (tmp_path / "tallyman.yaml").read_text() == "mine"
    assert not (tmp_path / "samconfig.toml").exists()


@pytest.mark.parametrize("bad", [("--hub", "here"), ("--hub", HUB, "--prod", HUB, "--repositories", "Not A Glob!")])
def test_an_invalid_answer_is_bad_input(tmp_path: Path, bad: tuple[str, ...]) -> None:
    assert run(tmp_path, *bad)[0] == 2
    assert list(tmp_path.iterdir()) == []


def test_a_builds_cache_repository_is_exempt_from_the_repositorys_rules(tmp_path: Path) -> None:
    assert run(tmp_path, "--hub", HUB, "--prod", PROD[0], "--repositories", "rocketseat/*")[0] == 0
    policy = load(tmp_path / "tallyman.yaml")
    assert policy.warnings == ()
    kept = policy.repository("rocketseat/widget-server-parts")
    assert kept.create.may_move("cache-rocketseat-widget-server-linux-amd64")
    assert kept.tags.allows("3f2a91c-amd64")
    assert kept.verify.layers is Layers.PRESENCE
    assert policy.promotion("dev", "prod", "rocketseat/widget-server-parts", "v1.0.0") is None
    assert policy.repository("rocketseat/widget-server").verify.layers is Layers.CONTENT
