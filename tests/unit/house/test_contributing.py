"""CONTRIBUTING.md: its paths exist, and its recipes lead to what they promise."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from support.fakes.gate_cases import case_of, judged, policy_of
from support.house.sources import template
from tallyman.adapters.usage import references
from tallyman.bootstrap.services import Services
from tallyman.domain.gates import FAILED, GATES, PASSED, Case, Gate, GateResult
from tallyman.domain.policy.gates import GateConfig
from tallyman.domain.policy.schema import json_schema
from tallyman.domain.policy.shapes import Boolean
from tallyman.values import value
from tallyman_cli.main import COMMANDS, app
from tallyman_cli.shared import examples
from tallyman_cli.shared.lazy import Entry

ROOT = Path(__file__).resolve().parents[3]
TEXT = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
LONGEST = 350
"""Lines of a file of a newcomer's path."""

SECTIONS = dict(re.findall(r"(?ms)^## (.+?)\n(.*?)(?=^## |\Z)", TEXT))


def paths(text: str) -> list[str]:
    """The texts that look like a path of the repository; names in capitals are placeholders."""
    found = re.findall(r"`([\w.\-/]+/[\w.\-/]*|[\w\-]+\.(?:md|yaml))`", text)
    return [path for path in found if not re.search(r"\b[A-Z]{3,}\b(?!\.md)", path.removesuffix(".md"))]


@pytest.mark.parametrize("path", sorted(set(paths(TEXT))))
def test_every_path_exists(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize("title", [title for title in SECTIONS if "path" in title or "promotion" in title])
def test_a_newcomers_path_is_six_small_files(title: str) -> None:
    steps = re.findall(r"(?ms)^\d\. (.*?)(?=^\d\. |\Z)", SECTIONS[title])
    assert len(steps) == 6
    for step in steps:
        files = [ROOT / path for path in paths(step) if (ROOT / path).is_file()]
        assert files, step
        assert all(len(file.read_text("utf-8").splitlines()) <= LONGEST for file in files)


def test_the_named_tests_exist() -> None:
    named = re.findall(r"pytest (\S+\.py)(?:::(\w+))?", TEXT)
    assert len(named) >= 2
    for file, name in named:
        assert f"def {name}" in (ROOT / file).read_text("utf-8") if name else (ROOT / file).exists()


def test_a_gate_that_is_added_by_the_recipe_is_read_judged_and_in_the_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    @value
    class QuietGate(GateConfig):
        required: bool = True

    def judge(config: QuietGate, case: Case) -> GateResult:
        return GateResult("quiet", PASSED if len(case.tags) == 1 else FAILED, "one tag goes", {})

    monkeypatch.setitem(GATES, "quiet", Gate(Boolean(QuietGate), "Only one tag goes.", judge))
    assert "quiet" in str(policy_of({"quiet": True}).repository("rocketseat/widget-server").promotions[0].gates)
    assert judged("quiet", case_of(gates={"quiet": True})).verdict == PASSED
    assert "Only one tag goes." in str(json_schema(GATES))


def test_a_command_that_is_added_by_the_recipe_is_listed_and_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMMANDS, "greet", Entry("setup.completion:completion", "Say hello."))
    monkeypatch.setitem(examples.EXAMPLES, "greet", ("tallyman greet bash",))
    help_text = CliRunner().invoke(app, ["--help"]).stdout
    assert "Say hello." in help_text
    assert "tallyman greet bash" in CliRunner().invoke(app, ["greet", "--help"]).stdout
    assert CliRunner().invoke(app, ["greet", "fish"]).exit_code == 0


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "functions").iterdir() if path.is_dir()))
def test_every_function_has_the_recipes_files(name: str) -> None:
    assert f'handler = sqs_handler("{name}")' in (ROOT / f"functions/{name}/app.py").read_text() or name == "reconcile"
    resources = template("template.yaml")["Resources"].values()
    code = [r["Properties"].get("CodeUri") for r in resources if "Properties" in r]
    assert f"functions/{name}/" in code
    assert list((ROOT / f"events/{name}").glob("*.json"))
    assert name in vars(Services)
    assert f"`{name}`" in (ROOT / "docs/architecture.md").read_text("utf-8")


@pytest.mark.parametrize("source", references.SOURCES, ids=lambda source: source.__name__)
def test_every_usage_source_declares_its_permissions_and_they_are_in_both_templates(source: Any) -> None:
    assert source.PERMISSIONS
    for name in ("template.yaml", "spoke.yaml"):
        text = (ROOT / name).read_text("utf-8")
        assert [permission for permission in source.PERMISSIONS if permission not in text] == []


def test_the_changelog_names_the_version_of_the_package() -> None:
    import tallyman

    titles = re.findall(r"(?m)^## (.+)$", (ROOT / "CHANGELOG.md").read_text("utf-8"))
    assert titles[0] == "Unreleased"
    assert titles[1] == tallyman.__version__


def test_every_decision_is_in_the_list_and_every_page_in_the_index() -> None:
    listed = (ROOT / "docs/decisions/README.md").read_text("utf-8")
    for page in sorted((ROOT / "docs/decisions").glob("[0-9]*.md")):
        assert f"({page.name})" in listed
        assert re.match(r"# \d{4}: ", page.read_text("utf-8"))
    index = (ROOT / "docs/README.md").read_text("utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "README.md" or f"({page.name})" in index, page.name


def test_the_workflow_runs_the_required_checks() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text("utf-8"))
    assert {"run": ".ci/run"} in workflow["jobs"]["run"]["steps"]
    assert workflow["permissions"] == {"contents": "read"}
    for file in [*(ROOT / ".github").rglob("*.yml"), ROOT / ".pre-commit-config.yaml"]:
        assert yaml.safe_load(file.read_text("utf-8"))
