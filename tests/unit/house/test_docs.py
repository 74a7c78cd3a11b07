"""docs = commands = options: what can be typed or set is documented, and what is documented can be typed."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from support.house.sources import template
from tallyman_cli.main import app

ROOT = Path(__file__).resolve().parents[3]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), *(p for p in [ROOT / "README.md"] if p.exists())]
TEXT = "\n".join(page.read_text("utf-8") for page in PAGES)
COMMANDS_PAGE = (ROOT / "docs/commands.md").read_text("utf-8")
SHARED = {"--stack", "--policy", "--json", "--help", "--version"}
"""Options that the page's beginning explains once for all commands."""


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that does something, with the words that lead to it."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield path, command
        return
    if command.invoke_without_command:
        yield path, command
    for name, each in inner.items():
        yield from leaves(each, (*path, name))


ROOT_COMMAND: Any = typer.main.get_command(app)
COMMANDS = dict(leaves(ROOT_COMMAND))


def options(command: Any) -> set[str]:
    """The long names of a command's options."""
    return {name for parameter in command.params for name in parameter.opts if name.startswith("--")} | {"--help"}


def sections() -> dict[tuple[str, ...], str]:
    """The page's sections by the command that each is about."""
    parts = re.split(r"(?m)^## tallyman (.+)$", COMMANDS_PAGE)
    return {tuple(title.split()): text for title, text in zip(parts[1::2], parts[2::2], strict=True)}


def test_every_command_has_a_section_and_every_section_a_command() -> None:
    assert set(sections()) == set(COMMANDS)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_option_is_explained_where_its_command_is(path: tuple[str, ...]) -> None:
    text = sections()[path]
    beginning = COMMANDS_PAGE.partition("\n## ")[0]
    for option in options(COMMANDS[path]) - {"--help"}:
        explained = beginning + text if option in SHARED else text
        assert f"`{option}" in explained, f"{option} of tallyman {' '.join(path)}"


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_has_an_example_and_a_help(path: tuple[str, ...]) -> None:
    assert f"$ tallyman {' '.join(path)}" in sections()[path]
    command = COMMANDS[path]
    assert command.help
    unexplained = [p.name for p in command.params if not getattr(p, "help", None)]
    assert unexplained == [] or path[0] == "local"


def shown() -> list[str]:
    """Every command line of the pages' code blocks."""
    blocks = re.findall(r"(?ms)^```\w*\n(.*?)^```", TEXT)
    lines = [line.strip().removeprefix("$ ") for block in blocks for line in block.splitlines()]
    return sorted({line for line in lines if line.startswith("tallyman ")})


@pytest.mark.parametrize("line", shown())
def test_every_command_line_shown_can_be_typed(line: str) -> None:
    words = shlex.split(line.partition(" > ")[0].partition(" | ")[0])[1:]
    while words and words[0].startswith("--"):
        assert words[0] in options(ROOT_COMMAND)
        words = words[2:]
    path = next((tuple(words[:n]) for n in (2, 1) if tuple(words[:n]) in COMMANDS), None)
    assert path is not None, f"there is no command '{' '.join(words[:2])}'"
    own = words[: words.index("--")] if "--" in words else words
    for word in own:
        if word.startswith("--"):
            assert word.partition("=")[0] in options(COMMANDS[path])


def test_every_environment_variable_is_documented() -> None:
    code = [*(ROOT / "cli").rglob("*.py"), *(ROOT / "local").rglob("*.py"), *(ROOT / "layers").rglob("*.py")]
    code += [*(ROOT / "functions").glob("*/app.py"), ROOT / "template.yaml"]
    names = {
        name
        for file in code
        for name in re.findall(r"\bTALLYMAN_[A-Z]+(?:_[A-Z]+)*\b(?!_)", file.read_text("utf-8"))
        if (f'"{name}"' if file.suffix == ".py" else f"{name}:") in file.read_text("utf-8")
    }
    assert {"TALLYMAN_STACK", "TALLYMAN_POLICY", "TALLYMAN_LEDGER_TABLE"} <= names
    assert {name for name in names if f"`{name}`" not in TEXT} == set()


@pytest.mark.parametrize("name", ["template.yaml", "spoke.yaml"])
def test_every_template_parameter_is_documented_with_its_default(name: str) -> None:
    parameters = template(name)["Parameters"]
    page = (ROOT / "docs/settings.md").read_text("utf-8")
    section = page.partition(f"## Parameters of {name}")[2].partition("\n## ")[0]
    rows = [[cell.strip(" `") for cell in line.split("|")] for line in section.splitlines() if line.startswith("| `")]
    documented = {row[1]: row[2] for row in rows}
    assert set(documented) == set(parameters)
    for name, parameter in parameters.items():
        default = str(parameter.get("Default", ""))
        assert documented[name] == default, name


def test_pages_link_to_pages_that_are_there() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?://|#)([^)#\s]+)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
