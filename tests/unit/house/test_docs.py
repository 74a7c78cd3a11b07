"""docs = commands = options: every command and setting is documented, and every documented one exists."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from support.house.commands import COMMANDS, options
from support.house.sources import template
from tallyman.settings import Settings, variable_of

ROOT = Path(__file__).resolve().parents[3]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), *(p for p in [ROOT / "README.md"] if p.exists())]
TEXT = "\n".join(page.read_text("utf-8") for page in PAGES)
COMMANDS_PAGE = (ROOT / "docs/commands.md").read_text("utf-8")
SHARED = {"--stack", "--policy", "--json", "--help", "--version"}
"""Options that the page's beginning explains once for all commands."""


def sections() -> dict[tuple[str, ...], str]:
    """The page's sections by command."""
    parts = re.split(r"(?m)^## tallyman (.+)$", COMMANDS_PAGE)
    return {tuple(title.split()): text for title, text in zip(parts[1::2], parts[2::2], strict=True)}


def test_every_command_has_a_section_and_every_section_a_command() -> None:
    assert set(sections()) == set(COMMANDS)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_option_is_explained_where_its_command_is(path: tuple[str, ...]) -> None:
    text = sections()[path]
    beginning = COMMANDS_PAGE.partition("\n## ")[0]
    for option in sorted({name for name in options(COMMANDS[path]) if name.startswith("--")} - {"--help"}):
        explained = beginning + text if option in SHARED else text
        assert f"`{option}" in explained, f"{option} of tallyman {' '.join(path)}"


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_has_an_example_and_a_help(path: tuple[str, ...]) -> None:
    assert f"$ tallyman {' '.join(path)}" in sections()[path]
    command = COMMANDS[path]
    assert command.help
    unexplained = [p.name for p in command.params if not getattr(p, "help", None)]
    assert unexplained == [] or path[0] == "local"


def test_every_environment_variable_is_documented() -> None:
    code = [*(ROOT / "cli").rglob("*.py"), *(ROOT / "local").rglob("*.py"), *(ROOT / "layers").rglob("*.py")]
    code += [*(ROOT / "functions").glob("*/app.py"), ROOT / "template.yaml"]
    names = {
        name
        for file in code
        for name in re.findall(r"\bTALLYMAN_[A-Z]+(?:_[A-Z]+)*\b(?!_)", file.read_text("utf-8"))
        if (f'"{name}"' if file.suffix == ".py" else f"{name}:") in file.read_text("utf-8")
    }
    names |= {variable_of(field.name) for field in fields(Settings) if field.name != "function"}
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


def test_links_between_pages_work() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?://|#)([^)#\s]+)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def headings(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    text = re.sub(r"(?ms)^ *```.*?^ *```$", "", page.read_text("utf-8"))
    return {
        re.sub(r"[^\w -]", "", title.lower()).strip().replace(" ", "-") for title in re.findall(r"(?m)^#+ (.+)$", text)
    }


def test_links_to_headings_work() -> None:
    pages = [*PAGES, *sorted((ROOT / "docs/decisions").glob("*.md")), *sorted(ROOT.glob("[A-Z]*.md"))]
    for page in pages:
        for target, anchor in re.findall(r"\]\((?!https?://)([^)#\s]*\.md|)#([^)\s]+)\)", page.read_text("utf-8")):
            other = page.parent / target if target else page
            assert anchor in headings(other), f"{page.name} links to {target}#{anchor}"
