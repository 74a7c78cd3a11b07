"""docs/policy.md agrees with the code."""

import re
from pathlib import Path
from typing import Any

from tallyman.adapters.files.policy_file import loads
from tallyman.domain.gates import GATES
from tallyman.domain.policy import json_schema
from tallyman.domain.policy.notices import KINDS
from tallyman_cli.setup.policy import summary

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/policy.md").read_text()


def keys(schema: Any) -> set[str]:
    if isinstance(schema, list):
        return {key for item in schema for key in keys(item)}
    if not isinstance(schema, dict):
        return set()
    return set(schema.get("properties", ())).union(*(keys(inner) for inner in schema.values()))


def test_the_example_is_valid_and_uses_every_key() -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert loads(example.encode()).warnings == ()
    severities = {"medium", "low", "informational", "undefined"}
    commands = {"approve", "override", "freeze", "recall", "letters"}
    missing = {key for key in keys(json_schema(GATES)) if not re.search(rf"\b{key}:", example)}
    assert missing == severities | commands | (set(KINDS) - {"waiting"})


def test_every_key_is_explained() -> None:
    prose = re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL)
    code = " ".join(re.findall(r"`([^`]+)`", prose))
    assert {key for key in keys(json_schema(GATES)) if not re.search(rf"\b{key}\b", code)} == set()


def test_the_severities_shown_are_the_defaults() -> None:
    rows = re.findall(r"(?m)^\| `(low|medium|high)` \| (.*) \|$", PAGE)
    assert {kind: level for level, kinds in rows for kind in re.findall(r"`([^`]+)`", kinds)} == KINDS


def test_the_shown_check_is_the_real_output() -> None:
    shown = re.search(r"\$ tallyman policy check (examples/\S+)\n(.*?)```", PAGE, re.DOTALL)
    assert shown is not None
    assert summary(loads((ROOT / shown[1]).read_bytes(), shown[1])) == shown[2].rstrip()
