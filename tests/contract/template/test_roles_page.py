"""docs/roles.md: each cell of the table agrees with the templates."""

import re
from pathlib import Path
from typing import Any

import pytest

from support.stacks.templates import FUNCTIONS, actions, hub, logical_id, of_type, spoke

PAGE = (Path(__file__).parents[3] / "docs/roles.md").read_text()
SPOKE = {
    "spoke-forward": "ForwardRole",
    "spoke-read": "ReadRole",
    "spoke-push": "PushRole",
    "spoke-remove": "RemoveRole",
    "spoke-roll-out": "RollOutRole",
    "spoke-people": "PeopleRole",
    "spoke-people-change": "PeopleChangeRole",
}


def rows() -> list[list[str]]:
    table = PAGE.split("## What each role may")[1].split("\n\n")[1]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


HEAD, _, *BODY = rows()
CELLS = [(row[0], row[1].strip("`"), role, cell) for row in BODY for role, cell in zip(HEAD[2:], row[2:], strict=True)]


def role(name: str) -> dict[str, Any]:
    if name in SPOKE:
        return of_type(spoke(), "AWS::IAM::Role")[SPOKE[name]]
    found: dict[str, Any] = hub()["Resources"][logical_id(name) + "Role"]["Properties"]
    return found


def test_the_table_has_every_role() -> None:
    assert set(HEAD[2:]) == set(FUNCTIONS) | set(SPOKE)
    assert set(SPOKE.values()) == set(of_type(spoke(), "AWS::IAM::Role"))


@pytest.mark.parametrize("power", {row[0]: None for row in BODY})
def test_each_role_has_exactly_the_permissions_of_its_row(power: str) -> None:
    for name, action, who, cell in CELLS:
        if name == power:
            assert cell in ("yes", "no")
            assert (action in actions(role(who))) == (cell == "yes"), f"{who}: {action}"


def test_every_action_of_the_table_exists() -> None:
    assert all(re.fullmatch(r"[a-z0-9]+:[A-Z]\w+", action) for _, action, _, _ in CELLS)
