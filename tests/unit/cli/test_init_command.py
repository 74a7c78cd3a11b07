"""`tallyman init`: its output is valid, and existing files stay unchanged."""

from pathlib import Path
from shutil import copy

import pytest
from typer.testing import CliRunner

from tallyman.adapters.files.policy_file import load
from tallyman.domain.names import Digest
from tallyman.domain.policy import Layers
from tallyman_cli.main import app
from tallyman_cli.setup import preflight
from tallyman_cli.setup.files import POLICY, SAMCONFIG, overrides, with_overrides
from tallyman_cli.setup.init import SHIPPED

ROOT = Path(__file__).resolve().parents[3]
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


@pytest.mark.parametrize(
    ("region", "partition"), [("us-east-2", "aws"), ("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")]
)
def test_spokes_are_given_the_bus_by_its_arn_in_the_hubs_partition(tmp_path: Path, region: str, partition: str) -> None:
    _, result, _ = run(tmp_path, "--hub", f"111111111111/{region}", "--prod", f"222222222222/{region}")
    assert f" HubBusArn=arn:{partition}:events:{region}:111111111111:event-bus/tallyman " in result


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


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The files of a checkout that `make deploy` reads."""
    (tmp_path / POLICY).parent.mkdir(parents=True)
    for name in ("template.yaml", str(SAMCONFIG), str(POLICY)):
        copy(ROOT / name, tmp_path / name)
    return tmp_path


SPOKES = ("--hub", HUB, "--prod", PROD[0], "--email", "team@example.com")


def test_in_a_checkout_nothing_is_left_to_copy(checkout: Path) -> None:
    before = (checkout / SAMCONFIG).read_text()
    status, result, _ = run(checkout, *SPOKES)
    assert status == 0
    assert "cp " not in result
    assert f"cd {checkout}\nmake deploy ENV=prod" in result
    assert not (checkout / "tallyman.yaml").exists()
    assert "prod" in load(checkout / POLICY).environments
    part = preflight.configured("prod", checkout / SAMCONFIG)
    assert overrides(part) == {
        "DeletionProtection": "true",
        "LogRetentionDays": "365",
        "SpokeAccounts": "222222222222",
        "NoticesEmail": "team@example.com",
    }
    after = (checkout / SAMCONFIG).read_text()
    changed = [line for line in after.splitlines() if line not in before.splitlines()]
    assert [line.split(" = ")[0] for line in changed] == ["parameter_overrides"]  # of prod; comments stay
    assert run(checkout, *SPOKES)[0] == 0  # again: nothing is lost
    assert (checkout / SAMCONFIG).read_text() == after


def test_in_a_checkout_a_policy_of_ones_own_is_kept(checkout: Path) -> None:
    own = (checkout / POLICY).read_text() + "\n# ours\n"
    (checkout / POLICY).write_text(own)
    before = (checkout / SAMCONFIG).read_text()
    status, _, result = run(checkout, *SPOKES)
    assert (status, "--force" in result) == (2, True)
    assert ((checkout / POLICY).read_text(), (checkout / SAMCONFIG).read_text()) == (own, before)
    assert run(checkout, *SPOKES, "--force")[0] == 0
    assert "prod" in load(checkout / POLICY).environments


def test_in_a_checkout_another_value_of_a_parameter_is_kept(checkout: Path) -> None:
    assert run(checkout, *SPOKES)[0] == 0
    status, _, result = run(checkout, *SPOKES[:-1], "other@example.com")
    assert (status, "NoticesEmail=team@example.com" in result) == (2, True)
    assert run(checkout, *SPOKES[:-1], "other@example.com", "--force")[0] == 0
    assert overrides(preflight.configured("prod", checkout / SAMCONFIG))["NoticesEmail"] == "other@example.com"


@pytest.mark.parametrize(
    "text", ['[prod.deploy.parameters]\nparameter_overrides = ["A=b"]\n', "[prod.deploy.parameters]\n", "", "[prod\n"]
)
def test_a_samconfig_of_another_form_is_kept_and_says_what_to_add(checkout: Path, text: str) -> None:
    (checkout / SAMCONFIG).write_text(text)
    before = (checkout / POLICY).read_text()
    status, _, result = run(checkout, *SPOKES)
    assert (status, str(SAMCONFIG) in result) == (2, True)
    assert ((checkout / POLICY).read_text(), (checkout / SAMCONFIG).read_text()) == (before, text)


def test_a_samconfig_that_is_not_text_is_named_and_kept(checkout: Path) -> None:
    (checkout / SAMCONFIG).write_bytes(b"\xff")
    before = (checkout / POLICY).read_text()
    status, _, result = run(checkout, *SPOKES)
    assert (status, f"{checkout / SAMCONFIG} can't be read: not UTF-8 text" in result) == (2, True), result
    assert (checkout / POLICY).read_text() == before


def test_other_sections_and_line_ends_of_samconfig_stay() -> None:
    line = 'parameter_overrides = "A=1 B=\\"x y\\""  # ours'
    text = f'[dev.deploy.parameters]\r\n{line}\r\n[prod.deploy.parameters]  # here\r\nx = "[1]"\r\n{line}\r\n'
    changed = with_overrides(text, "prod", {"C": "3"})
    assert changed == text[::-1].replace(line[::-1], "parameter_overrides = \"A=1 B='x y' C=3\"  # ours"[::-1], 1)[::-1]


def test_the_policy_that_comes_with_tallyman_is_known() -> None:
    assert Digest.of((ROOT / POLICY).read_bytes()) == SHIPPED


def test_elsewhere_the_commands_say_what_to_add_to_samconfig(tmp_path: Path) -> None:
    result = run(tmp_path, *SPOKES)[1]
    assert f"cp {tmp_path}/tallyman.yaml {POLICY}" in result
    assert "SpokeAccounts=222222222222 NoticesEmail=team@example.com" in result


@pytest.mark.parametrize("email", ["team", 'a"b@example.com', "a b@example.com", "a@b X=y"])
def test_an_address_that_is_none_is_bad_input(tmp_path: Path, email: str) -> None:
    assert run(tmp_path, "--hub", HUB, "--prod", PROD[0], "--email", email)[0] == 2
    assert list(tmp_path.iterdir()) == []
