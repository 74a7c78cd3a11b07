"""The examples for CI: valid by the rules of their systems, with commands that there are, and without keys."""

import re
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from tallyman_cli.main import app
from templates import ROOT

GITHUB = ROOT / "examples/github-actions/build.yml"
GITLAB = ROOT / "examples/gitlab-ci/.gitlab-ci.yml"

# Of the systems' own schemas (json.schemastore.org/github-workflow.json; gitlab.com, ci.json) what these files use:
# each key that stands here may stand there, with that type, and nothing else may.
STEP = {
    "type": "object",
    "additionalProperties": False,
    "oneOf": [{"required": ["uses"]}, {"required": ["run"]}],
    "properties": {
        "uses": {"type": "string", "pattern": r"^[\w-]+/[\w-]+@v\d+$"},
        "run": {"type": "string"},
        "with": {"type": "object"},
        "env": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}
WORKFLOW = {
    "type": "object",
    "required": ["on", "jobs"],
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string"},
        "on": {"type": "object", "properties": {"push": {"type": "object"}}},
        "permissions": {"type": "object", "additionalProperties": {"enum": ["read", "write", "none"]}},
        "jobs": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "required": ["runs-on", "steps"],
                "additionalProperties": False,
                "properties": {
                    "runs-on": {"type": "string"},
                    "needs": {"type": "string"},
                    "strategy": {"type": "object", "required": ["matrix"]},
                    "steps": {"type": "array", "minItems": 1, "items": STEP},
                },
            },
        },
    },
}
LINES = {"type": "array", "items": {"type": "string"}}
PIPELINE = {
    "type": "object",
    "additionalProperties": {
        "type": "object",
        "required": ["script"],
        "additionalProperties": False,
        "properties": {
            "image": {"type": "string"},
            "services": LINES,
            "variables": {"type": "object", "additionalProperties": {"type": "string"}},
            "id_tokens": {
                "type": "object",
                "additionalProperties": {"type": "object", "required": ["aud"], "additionalProperties": False,
                                         "properties": {"aud": {"type": "string"}}},
            },
            "before_script": LINES,
            "script": LINES,
            "rules": {"type": "array", "items": {"type": "object", "required": ["if"]}},
        },
    },
}  # fmt: skip


class _Yaml12(yaml.SafeLoader):
    """`on` is a word there, no truth."""


_Yaml12.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def load(path: Any) -> Any:
    return yaml.load(path.read_text("utf-8"), Loader=_Yaml12)


@pytest.mark.parametrize(("path", "schema"), [(GITHUB, WORKFLOW), (GITLAB, PIPELINE)], ids=["github", "gitlab"])
def test_the_file_is_valid(path: Any, schema: dict[str, Any]) -> None:
    problems = [f"{list(e.absolute_path)}: {e.message}" for e in Draft202012Validator(schema).iter_errors(load(path))]
    assert problems == []


def test_github_asks_for_a_token_and_builds_both_platforms_natively_before_it_joins_them() -> None:
    workflow = load(GITHUB)
    assert workflow["permissions"] == {"contents": "read", "id-token": "write"}
    assert workflow["jobs"]["platform"]["strategy"]["matrix"]["runner"] == ["ubuntu-24.04", "ubuntu-24.04-arm"]
    assert workflow["jobs"]["join"]["needs"] == "platform"


@pytest.mark.parametrize("path", [GITHUB, GITLAB], ids=["github", "gitlab"])
def test_no_keys_and_only_commands_that_there_are(path: Any) -> None:
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
