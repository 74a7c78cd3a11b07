"""docs/settings.md = the parameters and variables of the templates."""

import re
from typing import Any

import pytest

from support.stacks.templates import FUNCTIONS, ROOT, build, hub, logical_id, spoke

SETTINGS = (ROOT / "docs/settings.md").read_text("utf-8")


TEMPLATES = {"template.yaml": hub(), "spoke.yaml": spoke(), "build.yaml": build()}


def section(title: str) -> str:
    found = re.search(rf"(?ms)^## {re.escape(title)}$(.*?)(?=^## |\Z)", SETTINGS)
    assert found, title
    return found[1]


@pytest.mark.parametrize(
    ("name", "template"), [("template.yaml", hub()), ("spoke.yaml", spoke()), ("build.yaml", build())]
)
def test_the_settings_page_lists_every_parameter_with_its_default(name: str, template: dict[str, Any]) -> None:
    rows = re.findall(r"(?m)^\| `(\w+)` \| (?:`([^`]*)`)? ?\|", section(f"Parameters of {name}"))
    assert dict(rows) == {key: str(p.get("Default", "")) for key, p in template["Parameters"].items()}


def test_the_settings_page_names_every_variable_of_the_functions() -> None:
    variables = set(hub()["Globals"]["Function"]["Environment"]["Variables"])
    for function in FUNCTIONS:
        variables |= set(hub()["Resources"][logical_id(function)]["Properties"]["Environment"]["Variables"])
    ours = {name for name in variables if name.startswith("TALLYMAN_")}
    assert ours <= set(re.findall(r"`(TALLYMAN_[A-Z_]+)`", section("Environment of the functions")))
