"""`tallyman copy` parses its own arguments (see start.py): its documentation is held to them here."""

from pathlib import Path

import pytest

from tallyman_cli.copy import parser, run

DOCS = Path(__file__).resolve().parents[2] / "docs"
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


def test_help_names_every_option_and_ends_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(option in said for option in OPTIONS)


def test_arguments_that_are_none_are_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    assert run(["a", "b", "--parallel", "0"]) == 2
    assert "from 1 to 64" in capsys.readouterr().err
