"""docs/gates.md agrees with the code: every gate has a section, and every policy line there is valid."""

import re
from pathlib import Path

import pytest
import yaml

from support.fakes.gate_cases import policy_of
from tallyman.domain.gates import GATES
from tallyman.domain.policy.gates import overridable_gates

PAGE = (Path(__file__).parents[3] / "docs/gates.md").read_text("utf-8")
SECTIONS = dict(re.findall(r"(?ms)^## (\w+)\n(.*?)(?=^## |\Z)", PAGE))
ALWAYS = ("tags", "recalled", "freeze", "target")


def test_every_gate_has_a_section_and_a_row() -> None:
    assert set(SECTIONS) == {*GATES, *ALWAYS, "Overrides", "People"}
    rows = dict(re.findall(r"(?m)^\| `(\w+)` \|.*\| (yes|no) \|$", PAGE))
    assert {name for name, may in rows.items() if may == "yes"} == set(overridable_gates(GATES))
    assert set(rows) == {*GATES, *ALWAYS}


@pytest.mark.parametrize("name", [*GATES, "Overrides"])
def test_the_policy_lines_of_a_gate_are_valid(name: str) -> None:
    blocks = [yaml.safe_load(text) for text in re.findall(r"(?ms)^```yaml\n(.*?)^```", SECTIONS[name])]
    assert blocks
    for block in blocks:
        promotion = block["promotions"][0] if "promotions" in block else block
        policy = policy_of(promotion["gates"], promotion.get("overridable", ()))
        assert policy.warnings == ()
        assert name == "Overrides" or name in policy.repositories[0].promotions[0].gates


@pytest.mark.parametrize("name", [*GATES, *ALWAYS])
def test_every_gate_has_a_worked_example(name: str) -> None:
    text = SECTIONS[name]
    assert "```" in text or name == "target"
    assert any(word in text for word in ("waiting", "failed", "refused"))
