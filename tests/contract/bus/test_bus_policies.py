"""Resource policies are evaluated as IAM evaluates them."""

from types import SimpleNamespace
from typing import Any

import pytest

from tallyman_local.ecr.policies import allows
from tallyman_local.events import schedules
from tallyman_local.events.schedules import is_due

ALLOW = {"Effect": "Allow", "Principal": {"AWS": "222222222222"}, "Action": "events:PutEvents", "Resource": "arn:bus"}
ASK: dict[str, Any] = {"action": "events:PutEvents", "resource": "arn:bus", "account": "222222222222"}


@pytest.mark.parametrize(
    ("change", "allowed"),
    [
        ({}, True),
        ({"Principal": "*"}, True),
        ({"Principal": {"AWS": "*"}}, True),
        ({"Principal": {"AWS": ["333333333333", "arn:aws:iam::222222222222:root"]}}, True),
        ({"Principal": {"AWS": "333333333333"}}, False),
        ({"Principal": {"Service": "events.amazonaws.com"}}, False),
        ({"Action": ["events:*"]}, True),
        ({"Action": "events:PutRule"}, False),
        ({"Resource": "arn:other"}, False),
        ({"Condition": {"StringEquals": {"events:source": ["aws.ecr", "aws.inspector2"]}}}, True),
        ({"Condition": {"StringEquals": {"events:source": "aws.s3"}}}, False),
        ({"Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-1"}}}, False),
        ({"Condition": {"StringEqualsIfExists": {"aws:PrincipalOrgID": "o-1"}}}, True),
        ({"Condition": {"ForAllValues:StringLike": {"events:source": "aws.*"}}}, True),
        ({"Condition": {"ArnNotLike": {"events:source": "aws.*"}}}, False),
        ({"Condition": {"Null": {"events:source": "true"}}}, False),
        ({"Condition": {"DateLessThan": {"events:source": "2030"}}}, False),
        ({"Effect": "Deny"}, False),
    ],
)
def test_a_statement_allows_or_not(change: dict[str, Any], allowed: bool) -> None:
    assert allows([{**ALLOW, **change}], **ASK, context={"events:source": "aws.ecr"}) is allowed


def test_a_denial_wins() -> None:
    assert not allows([ALLOW, {**ALLOW, "Effect": "Deny"}], **ASK)
    assert not allows([], **ASK)


@pytest.mark.parametrize(
    ("expression", "minute", "due"),
    [
        ("rate(15 minutes)", 45, True),
        ("rate(15 minutes)", 46, False),
        ("rate(1 hour)", 120, True),
        ("rate(1 day)", 1440 * 3, True),
        ("rate(1 day)", 1440 * 3 + 60, False),
        ("cron(0/15 * * * ? *)", 29_000_025, True),
        ("cron(0/15 * * * ? *)", 29_000_026, False),
        ("cron(20 21 19 FEB ? 2025)", 29_000_000, True),
        ("cron(20 21 ? * MON-FRI *)", 29_000_000, True),  # a Wednesday
        ("cron(20 21 ? * SAT,SUN *)", 29_000_000, False),
    ],
)
def test_a_schedule_is_due(expression: str, minute: int, due: bool) -> None:
    assert is_due(expression, minute) is due


def test_an_invalid_schedule_is_an_error() -> None:
    with pytest.raises(ValueError, match="every day"):
        is_due("every day", 0)


@pytest.mark.parametrize("expression", ["rate(0 minutes)", "cron(0/0 * * * ? *)", "every day"])
def test_a_rule_with_an_invalid_schedule_does_not_stop_the_others(
    monkeypatch: pytest.MonkeyPatch, expression: str
) -> None:
    bad, good = (SimpleNamespace(name=n, scheduled_expression=e, state="ENABLED", targets=[{"Arn": n, "Input": "{}"}])
                 for n, e in (("bad", expression), ("good", "rate(1 minute)")))  # fmt: skip
    buses = {"default": SimpleNamespace(rules={"bad": bad, "good": good})}
    monkeypatch.setattr(schedules, "events_backends", {"1": {"r": SimpleNamespace(event_buses=buses)}})
    invoked: list[str] = []
    fired = schedules.Schedules("1", "r", lambda arn, body: invoked.append(arn)).fire(5)
    assert (fired, invoked) == (1, ["good"])
