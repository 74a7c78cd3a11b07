"""Completion: the suggestions for a line in three shells, and that each shell accepts its script."""

import shutil
import subprocess
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from support.fakes.cli_stack import POLICY, FakeStack
from support.images.builders import image
from tallyman_cli.main import app
from tallyman_cli.shared import completing, context
from tallyman_cli.shared.completing import LINE, SHELL


def complete(line: str) -> list[str]:
    return [value for value, _ in completing.candidates(typer.main.get_command(app), line)]


@pytest.fixture
def stack(system: FakeStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeStack:
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY)
    monkeypatch.setenv("TALLYMAN_POLICY", str(file))
    system.push(image("one"), "v1.0.0")
    system.clock.advance(seconds=10)
    system.push(image("two"), "v1.1.0")
    return system


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("tallyman hi", ["history"]),
        ("tallyman re", ["recall", "reconcile", "repository", "release", "retention"]),
        ("tallyman --stack x hi", ["history"]),
        ("tallyman release ", ["list", "show", "roll-back"]),
        ("tallyman release s", ["show"]),
        ("tallyman history --l", ["--limit"]),
        ("tallyman history --he", ["--help"]),
        ("tallyman --sta", ["--stack"]),
        ("tallyman completion ", ["bash", "zsh", "fish"]),
        ("tallyman completion z", ["zsh"]),
        ("tallyman nonsense x", []),
        ("tallyman local exec -- ta", []),
        ("tallyman why 'x y' --to p", ["prod"]),
        ("tallyman why x --to=p", ["--to=prod"]),
        ("tallyman why x --to prod --", ["--to", "--at", "--json", "--stack", "--policy", "--help"]),
        ("tallyman why d", ["dev/"]),
        ("tallyman why dev/", ["dev/rocketseat/widget-server:"]),
        ("tallyman why dev/rocketseat/widget-server:", [
            "dev/rocketseat/widget-server:v1.1.0", "dev/rocketseat/widget-server:v1.0.0"]),
        ("tallyman why dev/rocketseat/widget-server:v1.1", ["dev/rocketseat/widget-server:v1.1.0"]),
        ("tallyman release show dev/", ["dev/rocketseat/widget-server"]),
        ("tallyman freeze ", ["dev/", "prod/"]),
        ("tallyman release list ", ["dev", "prod"]),
        ('tallyman freeze "pr', ["prod/"]),
    ],
)  # fmt: skip
def test_completion_suggests_what_can_come_next(stack: FakeStack, line: str, expected: list[str]) -> None:
    assert complete(line) == expected


def test_an_error_is_silent_except_in_debug_mode(
    stack: FakeStack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*arguments: object) -> None:
        raise RuntimeError("no stack")

    monkeypatch.setattr(context, "rules", fail)
    root = typer.main.get_command(app)
    completing.answer(root, {LINE: "tallyman why "})
    assert capsys.readouterr() == ("", "")
    with pytest.raises(RuntimeError):
        completing.answer(root, {LINE: "tallyman why ", "TALLYMAN_DEBUG": "1"})


def test_zsh_and_fish_get_descriptions(capsys: pytest.CaptureFixture[str]) -> None:
    root = typer.main.get_command(app)
    completing.answer(root, {LINE: "tallyman hist", SHELL: "fish"})
    completing.answer(root, {LINE: "tallyman hist", SHELL: "bash"})
    assert capsys.readouterr().out == "history\tShow what happened to a tag, image or repository.\nhistory\n"


def script(shell: str) -> str:
    return CliRunner().invoke(app, ["completion", shell]).stdout


def test_bash_replaces_the_text_after_the_last_colon(tmp_path: Path) -> None:
    program = tmp_path / "tallyman"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$_TALLYMAN_COMPLETE" >>"$0.lines"\ncat "$0.says"\n')
    program.chmod(0o755)
    (tmp_path / "tallyman.says").write_text("dev/a:v1\ndev/a:v2\n")
    test = f"""{script("bash")}
PATH={tmp_path}:$PATH
COMP_LINE='tallyman why dev/a:v --to prod' COMP_POINT=20
_tallyman tallyman
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(["bash", "-c", test], capture_output=True, text=True, check=True)
    assert done.stdout == "v1\nv2\n", done.stderr
    assert (tmp_path / "tallyman.lines").read_text() == "tallyman why dev/a:v\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_accepts_its_script(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    file = tmp_path / "script"
    file.write_text(script(shell))
    done = subprocess.run([shell, "-n", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_another_shell_is_bad_input() -> None:
    assert CliRunner().invoke(app, ["completion", "tcsh"]).exit_code == 2
