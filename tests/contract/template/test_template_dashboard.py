"""The dashboard and the saved queries: metrics that are emitted, queues that exist, messages that are logged."""

import json
import re
from typing import Any

import pytest

from support.stacks.templates import hub
from tallyman import runtime
from tallyman.ports.reactions import OutcomeKind

RESOURCES = hub()["Resources"]
BY_ENVIRONMENT = {name for name, _ in runtime.BY_ENVIRONMENT.values()}
OURS = {str(kind) for kind in OutcomeKind} | set(runtime.ALARMED.values()) | BY_ENVIRONMENT | {"CopiedBytes"}


def body() -> Any:
    """The dashboard with a name in place of each reference."""
    text = RESOURCES["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    return json.loads(re.sub(r"\$\{([^}]+)\}", lambda match: match[1], text))


def metrics() -> list[list[Any]]:
    """Every metric of every widget, in order."""
    widgets = [w["properties"] for w in body()["widgets"] if w["type"] == "metric"]
    return [metric for widget in widgets for metric in widget["metrics"]]


def test_the_dashboard_shows_only_metrics_that_are_emitted() -> None:
    named = [m for m in metrics() if isinstance(m[0], str)]
    assert {m[1] for m in named if m[0] == "Tallyman"} <= OURS
    assert any(m[:4] == ["Tallyman", "CopiedBytes", "service", "promote_image"] for m in named)
    expressions = " ".join(m[0]["expression"] for m in metrics() if isinstance(m[0], dict))
    searched = set(re.findall(r'MetricName="(\w+)"', expressions))
    assert searched == BY_ENVIRONMENT


def test_every_queue_and_every_function_is_on_it() -> None:
    shown = {str(part) for m in metrics() for part in m}
    for name, resource in RESOURCES.items():
        if resource["Type"] == "AWS::SQS::Queue" and name != "UndeliveredQueue":
            assert f"{name}.QueueName" in shown, name
        if resource["Type"] == "AWS::Serverless::Function":
            assert name in shown, name
            assert any(name in str(m) for m in metrics() if m[:2] == ["AWS/Lambda", "Errors"])


def test_widgets_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for widget in body()["widgets"]:
        cells = {
            (x, y)
            for x in range(widget["x"], widget["x"] + widget["width"])
            for y in range(widget["y"], widget["y"] + widget["height"])
        }
        assert not cells & taken, widget["properties"].get("title")
        assert widget["x"] + widget["width"] <= 24
        taken |= cells


@pytest.mark.parametrize("name", [n for n, r in RESOURCES.items() if r["Type"] == "AWS::Logs::QueryDefinition"])
def test_saved_queries_read_existing_log_groups(name: str) -> None:
    properties = RESOURCES[name]["Properties"]
    groups = [ref["Ref"] for ref in properties["LogGroupNames"]]
    assert groups
    assert all(RESOURCES[group]["Type"] == "AWS::Logs::LogGroup" for group in groups)
    assert properties["Name"]["Fn::Sub"].startswith("${AWS::StackName}/")
