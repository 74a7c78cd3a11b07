"""Configuration files: their meaning, what overrides them, and messages for mistakes in them."""

from pathlib import Path

import pytest

from tallyman.errors import BadInput
from tallyman_cli.shared.chosen import Chosen, choose_region, read_files


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("TALLYMAN_STACK", "TALLYMAN_POLICY"):
        monkeypatch.delenv(name, raising=False)
    made = tmp_path / "home/.config/tallyman"
    made.mkdir(parents=True)
    (tmp_path / "work/deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work/deep")
    return tmp_path


def read(home: Path, **environment: str) -> dict[str, str]:
    """The environment after the files were read."""
    found = {"HOME": str(home / "home"), **environment}
    read_files(found)
    return found


def test_without_configuration_files_nothing_is_set(home: Path) -> None:
    assert read(home) == {"HOME": str(home / "home")}
    assert (Chosen().stack_name(), Chosen().policy_file()) == ("tallyman", None)


def test_the_nearest_file_wins_over_the_one_at_home(home: Path) -> None:
    (home / "home/.config/tallyman/config.toml").write_text('stack = "home"\nregion = "us-east-2"\nprofile = "ops"\n')
    (home / "work/.tallyman.toml").write_text('stack = "near"\npolicy = "policies/shop.yaml"\n')
    found = read(home)
    assert Chosen().stack_name() == "near"
    assert Chosen().policy_file() == home / "work/policies/shop.yaml"
    assert (found["AWS_REGION"], found["AWS_DEFAULT_REGION"], found["AWS_PROFILE"]) == ("us-east-2", "us-east-2", "ops")


def test_options_and_the_environment_win(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "work/.tallyman.toml").write_text('stack="f"\npolicy="f.yaml"\nregion="us-east-2"\nprofile="f"\n')
    found = read(home, AWS_DEFAULT_REGION="sa-east-1", AWS_ACCESS_KEY_ID="AKIA")
    assert "AWS_REGION" not in found
    assert "AWS_PROFILE" not in found
    monkeypatch.setenv("TALLYMAN_STACK", "e")
    monkeypatch.setenv("TALLYMAN_POLICY", "e.yaml")
    assert (Chosen().stack_name(), Chosen().policy_file()) == ("e", Path("e.yaml"))
    assert Chosen(stack="o", policy=Path("o.yaml")).stack_name() == "o"
    assert Chosen(stack="o", policy=Path("o.yaml")).policy_file(Path("own.yaml")) == Path("own.yaml")
    assert Chosen(stack="o").stack_name("own") == "own"


def test_the_configuration_folder_can_be_changed(home: Path) -> None:
    (home / "xdg/tallyman").mkdir(parents=True)
    (home / "xdg/tallyman/config.toml").write_text('stack = "elsewhere"\n')
    read(home, XDG_CONFIG_HOME=str(home / "xdg"))
    assert Chosen().stack_name() == "elsewhere"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("stakc = 'x'", "unknown key 'stakc'; expected stack, region, profile, policy"),
        ("stack = 7", "stack: expected a string, found 7"),
        ("stack = ''", "stack: expected a string"),
        ("stack", "is not TOML"),
    ],
)
def test_a_mistake_is_reported_with_its_file(home: Path, text: str, words: str) -> None:
    (home / "work/.tallyman.toml").write_text(text)
    with pytest.raises(BadInput, match=r"\.tallyman\.toml.*" + words):
        read(home)


@pytest.mark.parametrize(
    ("option", "environment", "wanted"),
    [
        (None, {"AWS_REGION": "us-east-2"}, "us-east-2"),
        (None, {"AWS_REGION": "us-east-2", "AWS_DEFAULT_REGION": "sa-east-1"}, "us-east-2"),
        (None, {"AWS_DEFAULT_REGION": "sa-east-1"}, "sa-east-1"),
        ("eu-west-1", {"AWS_REGION": "us-east-2", "AWS_DEFAULT_REGION": "sa-east-1"}, "eu-west-1"),
        (None, {"AWS_REGION": "", "AWS_DEFAULT_REGION": "sa-east-1"}, "sa-east-1"),
        (None, {}, None),
    ],
)
def test_the_region_comes_from_the_option_and_then_from_each_variable(
    option: str | None, environment: dict[str, str], wanted: str | None
) -> None:
    choose_region(option, environment)
    assert environment.get("AWS_DEFAULT_REGION") == wanted  # what botocore reads


def test_copy_reads_the_files_too(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tallyman_cli.copy.copy import run

    (home / "work/.tallyman.toml").write_text("stakc = 'x'")
    assert run(["oci:none:v1", "dev/app"]) == 2
    assert "unknown key 'stakc'" in capsys.readouterr().err


def test_copy_takes_the_policy_of_the_files_and_needs_no_stack(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tallyman_cli.copy.copy import run

    (home / "work/.tallyman.toml").write_text("policy = 'own.yaml'")
    (home / "work/own.yaml").write_text("environments: {dev: {registries: [111111111111/us-east-2]}}")
    assert run(["dev/team/app", "oci:out"]) == 2
    assert "'dev/team/app' names a repository" in capsys.readouterr().err
