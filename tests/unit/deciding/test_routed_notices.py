"""Notices by the policy: severities, routes to chat channels by environment, and the messages of a channel."""

import json
from typing import Any

import pytest

from support.fakes.ports import FakeNotices
from tallyman.adapters.files.policy_file import loads
from tallyman.domain.policy import Policy
from tallyman.domain.policy.notices import KINDS, NoticeRules, Severity
from tallyman.domain.policy.reading import PolicyProblem
from tallyman.services.shared.notices import LONGEST, RoutedNotices
from tallyman_cli.setup.policy import as_data, summary

ENVIRONMENTS = (
    "environments: {dev: {registries: [111111111111/us-east-2]}, prod: {registries: [222222222222/us-east-2]}}\n"
)
RULES = """
notices:
  page: https://tally.example.com/
  severity: {waiting: high}
  routes:
    - {to: releases, environments: [prod]}
    - {to: security, kinds: [stowaway, recall]}
    - {to: pager, at_least: high}
    - {to: releases, kinds: [conflict]}
"""
NAME = "rocketseat/widget-server"


def parsed(text: str) -> Policy:
    return loads(text.encode())


def routed(text: str = RULES, missing: tuple[str, ...] = ()) -> tuple[RoutedNotices, FakeNotices]:
    fake = FakeNotices(missing=missing)
    return RoutedNotices(parsed(ENVIRONMENTS + text), fake), fake


def channels(kind: str, environment: str | None, text: str = RULES) -> tuple[str, ...]:
    return parsed(ENVIRONMENTS + text).notices.channels(kind, environment)


def test_channels_are_chosen_by_environment_kind_and_severity_each_once() -> None:
    assert channels("failed", "dev") == ()
    assert channels("failed", "prod") == ("releases",)
    assert channels("conflict", "prod") == ("releases", "pager")
    assert channels("stowaway", "dev") == ("security", "pager")
    assert channels("waiting", "dev") == ("pager",)  # by its severity in the policy
    assert channels("failed", "dev", "notices: {routes: [{to: all}]}") == ("all",)


def test_a_notice_without_an_environment_goes_to_every_environments_channels() -> None:
    notices, fake = routed()
    notices.publish("gone", "gone", {"kind": "recall"})
    assert [channel for channel, _ in fake.posted] == ["releases", "security", "pager"]
    fake.posted.clear()
    notices.publish("sweep", "sweep", {"kind": "sweep_failed", "environment": "-"})
    assert [channel for channel, _ in fake.posted] == ["releases"]


def test_without_routes_only_the_severity_is_added() -> None:
    notices, fake = routed("")
    notices.publish("s", "t", {"kind": "failed", "environment": "prod"})
    assert fake.published == [("s", "t", {"kind": "failed", "environment": "prod", "severity": "medium"})]
    assert fake.posted == []


def test_a_message_has_the_chats_format_with_a_link_to_the_page() -> None:
    notices, fake = routed()
    notices.publish("app is held", "app is held: soak", {"kind": "failed", "environment": "prod", "repository": NAME})
    link = f"https://tally.example.com/repository/prod/{NAME}"
    ((_, message),) = fake.posted
    assert (message["version"], message["source"]) == ("1.0", "custom")
    assert message["content"]["textType"] == "client-markdown"
    assert message["content"]["title"].endswith("app is held")
    assert message["content"]["nextSteps"] == [f"Look: {link}"]
    assert message["content"]["keywords"] == ["medium", "failed", "prod"]
    assert message["metadata"]["threadId"] == f"prod/{NAME}"
    json.dumps(message)
    assert fake.published[0][1] == f"app is held: soak\nPage: {link}"


def test_hostile_text_creates_no_mention_link_or_markup() -> None:
    notices, fake = routed()
    evil = "<!channel> <http://evil.example|here> [x](http://evil.example) *b* `c` & _i_"
    notices.publish(evil, evil, {"kind": "failed", "environment": "prod", "repository": NAME})
    ((_, message),) = fake.posted
    for text in (message["content"]["title"], message["content"]["description"], message["metadata"]["summary"]):
        assert "<" not in text
        assert "](" not in text
        assert "*" not in text
        assert "`" not in text
    assert evil in fake.published[0][1]  # mail gets it unchanged


def test_characters_that_reverse_or_hide_text_are_shown_in_a_channel() -> None:
    notices, fake = routed()
    notices.publish("app \u202eis held", "passed \x1b[2K\u2066\nand more", {"kind": "failed", "environment": "prod"})
    ((_, message),) = fake.posted
    assert message["content"]["title"].endswith(r"app \u202eis held")
    assert message["metadata"]["summary"] == r"app \u202eis held"
    assert message["content"]["description"] == "passed \\x1b[2K\\u2066\nand more"


def test_a_long_notice_is_cut_only_for_channels() -> None:
    notices, fake = routed()
    notices.publish("s", "x" * 10_000, {"kind": "failed", "environment": "prod"})
    ((_, message),) = fake.posted
    assert LONGEST < len(message["content"]["description"]) < LONGEST + 100
    assert "x" * 10_000 in fake.published[0][1]


def test_a_missing_channel_is_named_and_does_not_stop_the_notice() -> None:
    notices, fake = routed(missing=("security",))
    notices.publish("s", "t", {"kind": "stowaway", "environment": "prod"})
    assert [channel for channel, _ in fake.posted] == ["releases", "pager"]
    ((_, text, attributes),) = fake.published
    assert "The channel security did not get this: there is no channel security" in text
    assert attributes["severity"] == "high"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{routes: [{environments: [prod]}]}", "'to' is missing"),
        ("{routes: [{to: Releases}]}", "a channel: at most 30"),
        ("{routes: [{to: a, environments: [prd]}]}", "an environment of this policy (dev, prod)"),
        ("{routes: [{to: a, environments: []}]}", "at least 1"),
        ("{routes: [{to: a, kinds: [stowaways]}]}", "did you mean 'stowaway'"),
        ("{routes: [{to: a, at_least: critical}]}", "low or medium or high"),
        ("{severity: {stowed: low}}", "unknown key 'stowed'"),
        ("{page: http://tally.example.com}", "an address such as https://"),
        ('{page: "https://tally.example.com/?q=1"}', "an address such as https://"),
    ],
)
def test_errors_in_routes_are_named(text: str, message: str) -> None:
    with pytest.raises(PolicyProblem) as problem:
        parsed(f"{ENVIRONMENTS}notices: {text}\n")
    assert message in str(problem.value)


def test_the_check_of_a_policy_lists_routes() -> None:
    shown = summary(parsed(ENVIRONMENTS + RULES))
    assert "  releases    every notice of prod, low and above\n" in shown
    assert "  security    stowaway, recall, low and above\n" in shown
    assert "  waiting is high\n  link to https://tally.example.com" in shown
    assert "notices" not in summary(parsed(ENVIRONMENTS))
    assert json.loads(json.dumps(as_data(parsed(ENVIRONMENTS + RULES))))["notices"]["routes"][0]["to"] == "releases"


def test_an_unknown_kind_of_notice_is_still_sent() -> None:
    rules: Any = NoticeRules()
    assert rules.severity_of("new") is Severity.MEDIUM
    assert {rules.severity_of(kind) for kind in KINDS} == set(Severity)
