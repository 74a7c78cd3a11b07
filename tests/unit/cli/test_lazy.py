"""Lazy imports: a command that prints its help imports neither rich nor botocore nor the other commands."""

import json
import subprocess
import sys
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from tallyman_cli.main import COMMANDS, app
from tallyman_cli.shared.examples import EXAMPLES

HEAVY = ("rich", "botocore", "boto3", "urllib3", "yaml", "asyncio", "moto", "concurrent", "json.tool", "tomllib")


def modules(code: str) -> list[str]:
    """The modules that are loaded after the code ran, in a new process."""
    program = f"import sys\n{code}\nimport json; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


def ours(loaded: list[str]) -> set[str]:
    return {name for name in loaded if name.partition(".")[0] in ("tallyman", "tallyman_cli", "tallyman_local")}


@pytest.mark.parametrize(
    "code",
    [
        "import tallyman_cli.main",
        "from typer.testing import CliRunner; from tallyman_cli.main import app; CliRunner().invoke(app, ['--help'])",
    ],
    ids=["import", "help"],
)
def test_the_command_line_loads_no_command_before_it_runs(code: str) -> None:
    loaded = modules(code)
    assert [name for name in loaded if name.partition(".")[0] in HEAVY] == []
    assert ours(loaded) <= {
        "tallyman",
        *("tallyman.domain", "tallyman.domain.text", "tallyman.errors"),  # it escapes text from outside
        "tallyman.domain.times",  # `options` parses times
        "tallyman_cli",
        "tallyman_cli.main",
        "tallyman_cli.shared",
        *(
            f"tallyman_cli.shared.{name}"
            for name in ("chosen", "completing", "examples", "lazy", "options", "output", "patience")
        ),
    }
    assert len(set(loaded) - set(modules("import typer.testing, asyncio"))) < 20


def test_startup_imports_nothing_before_ctrl_c_is_handled() -> None:
    assert ours(modules("import tallyman_cli.start")) == {"tallyman_cli", "tallyman_cli.start"}


def test_help_lists_every_command_with_its_summary() -> None:
    text = CliRunner().invoke(app, ["--help"]).stdout
    for name, entry in COMMANDS.items():
        assert f"  {name} " in text
        assert entry.summary in text


def leaves() -> dict[str, Any]:
    root: Any = typer.main.get_command(app)
    found: dict[str, Any] = {}
    for name in root.commands:
        inner = vars(root.commands[name]).get("commands")
        if not inner or root.commands[name].invoke_without_command:
            found[name] = root.commands[name]
        found |= {f"{name} {each}": command for each, command in (inner or {}).items()}
    return found


def test_every_command_has_examples_and_every_example_a_command() -> None:
    assert set(EXAMPLES) == set(leaves())


@pytest.mark.parametrize("path", EXAMPLES)
def test_examples_are_in_the_help_line_by_line(path: str) -> None:
    text = CliRunner().invoke(app, [*path.split(), "--help"], terminal_width=80).stdout
    for line in EXAMPLES[path]:
        assert f"    {line}\n" in text


def test_an_unknown_command_is_reported_with_a_similar_one() -> None:
    result = CliRunner().invoke(app, ["histroy"])
    assert result.exit_code == 2
    assert "Did you mean 'history'" in result.stderr
