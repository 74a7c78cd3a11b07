"""`tallyman copy` parses its own arguments (see start.py): this compares them with its documentation."""

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from tallyman_cli.copy.copy import parser, run
from tallyman_cli.main import app

DOCS = Path(__file__).resolve().parents[3] / "docs"
OPTIONS = sorted(
    name for action in parser()._actions for name in action.option_strings if name.startswith("--") and name != "--help"
)


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_of_copy_is_explained(option: str) -> None:
    assert f"`{option}" in (DOCS / "copying.md").read_text("utf-8")
    commands = (DOCS / "commands.md").read_text("utf-8")
    section = commands.partition("## tallyman copy\n")[2].partition("\n## ")[0]
    if option not in ("--json", "--policy", "--stack"):
        assert f"`{option}" in section


def test_both_ways_to_the_command_take_the_same_options() -> None:
    group: Any = typer.main.get_command(app)
    known = {name for p in group.commands["copy"].params for name in p.opts if name.startswith("--")}
    assert known - {"--help"} == set(OPTIONS)


def test_global_options_before_copy_are_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    done = CliRunner().invoke(app, ["--stack", "none", "copy", "a/b", "oci:x", "--json"])
    assert done.exit_code == 2


def test_help_names_every_option_and_exits_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(option in said for option in OPTIONS)


def test_invalid_options_are_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    assert run(["a", "b", "--parallel", "0"]) == 2
    assert "from 1 to 64" in capsys.readouterr().err
    assert run(["a", "b", "--parallel", "0", "--json"]) == 2
    assert "from 1 to 64" in json.loads(capsys.readouterr().out)["error"]
