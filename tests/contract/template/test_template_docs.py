"""docs/settings.md = the parameters and variables of the templates."""

import re
from typing import Any

import pytest

from support.stacks.templates import FUNCTIONS, ROOT, build, hub, logical_id, of_type, spoke, text
from tallyman.domain.decide import CONFLICT
from tallyman.domain.gates import FAILED, WAITING

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


def operations(title: str) -> set[str]:
    """The names in the first column of a table of docs/operations.md."""
    page = (ROOT / "docs/operations.md").read_text("utf-8")
    found = re.search(rf"(?ms)^## {re.escape(title)}$(.*?)(?=^## |\Z)", page)
    assert found, title
    rows = re.findall(r"(?m)^\| (`[^|]*`) \| \S[^|]* \| \S[^|]* \|$", found[1])
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def test_the_operations_page_says_of_each_alarm_what_to_do() -> None:
    alarms = of_type(hub(), "AWS::CloudWatch::Alarm").values()
    assert operations("Alarms") == {text(a["AlarmName"]).removeprefix("${AWS::StackName}-") for a in alarms}


def test_the_operations_page_says_of_each_kind_of_notice_what_to_do() -> None:
    services = (ROOT / "layers/core/src/tallyman/services").rglob("*.py")
    sources = [source for path in services if "publish(" in (source := path.read_text())]
    told = {kind for source in sources for kind in re.findall(r'{"kind": "([a-z_-]+)"', source)}
    told |= {"override", "recall"} | {FAILED, CONFLICT, WAITING}  # kinds that are the name of a command, or a verdict
    assert operations("Notices") == told
