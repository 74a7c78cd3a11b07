"""The examples for CI: valid by their systems' schemas, with existing commands, and without access keys."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.stacks.templates import ROOT
from tallyman_cli.main import app

GITHUB = ROOT / "examples/github-actions/build.yml"
GITLAB = ROOT / "examples/gitlab-ci/.gitlab-ci.yml"
SCHEMAS = [
    (GITHUB, "vendor.github-workflows", ("runs-on:", "run-on:")),
    (GITLAB, "vendor.gitlab-ci", ("before_script:", "before-script:")),
]


class _Yaml12(yaml.SafeLoader):
    """In YAML 1.2 `on` is a string, not a boolean."""


_Yaml12.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def load(path: Any) -> Any:
    return yaml.load(path.read_text("utf-8"), Loader=_Yaml12)


def problems(schema: str, path: Path) -> str:
    """The errors of check-jsonschema with its bundled schema; it uses no network. Empty: the file is valid."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.mark.parametrize(("path", "schema", "wrong"), SCHEMAS, ids=["github", "gitlab"])
def test_the_file_is_valid_by_the_schema_of_its_system(path: Path, schema: str, wrong: Any, tmp_path: Path) -> None:
    assert problems(schema, path) == ""
    broken = tmp_path / path.name
    broken.write_text(path.read_text("utf-8").replace(*wrong))
    assert "Schema validation errors were encountered" in problems(schema, broken)


def test_github_asks_for_a_token_and_builds_both_platforms_natively_before_it_joins_them() -> None:
    workflow = load(GITHUB)
    assert workflow["permissions"] == {"contents": "read", "id-token": "write"}
    assert workflow["jobs"]["platform"]["strategy"]["matrix"]["runner"] == ["ubuntu-24.04", "ubuntu-24.04-arm"]
    assert workflow["jobs"]["join"]["needs"] == "platform"


@pytest.mark.parametrize("path", [GITHUB, GITLAB], ids=["github", "gitlab"])
def test_examples_have_no_keys_and_only_existing_commands(path: Any) -> None:
    import typer

    text = path.read_text("utf-8")
    assert "SECRET" not in text.upper().replace("SECRETS.", "SECRET")
    command: Any = typer.main.get_command(app)
    known = {name for name, _ in command.commands.items()}
    used = set(re.findall(r"tallyman (build|tag|[a-z]+) ", text.replace("pip install", "")))
    assert used
    assert used <= known
    options = {o for p in command.commands["build"].params for o in p.opts}
    for line in re.findall(r"tallyman build (.*(?:\n {10,}--.*)?)", text):
        assert set(re.findall(r"--[a-z]+", line)) <= options


@pytest.mark.parametrize("path", [GITHUB, GITLAB], ids=["github", "gitlab"])
def test_the_whole_history_is_fetched(path: Any) -> None:
    assert re.search(r'fetch-depth: 0|GIT_DEPTH: "0"', path.read_text("utf-8"))
