"""The three templates as plain data, for tests that compare them with the code and the docs."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from tallyman_local.stack.template import load

ROOT = Path(__file__).resolve().parents[3]
Resource = dict[str, Any]

FUNCTIONS = {
    "record_push": "PushQueue",
    "verify_digest": "VerifyQueue",
    "verify_origin": "OriginQueue",
    "record_scan": "ScanQueue",
    "record_command": "CommandsQueue",
    "promote_image": "PromoteQueue",
    "apply_retention": "RetentionQueue",
    "roll_out": "RollOutQueue",
    "reconcile": None,
}


def logical_id(function: str) -> str:
    """`record_push` → `RecordPush`."""
    return function.title().replace("_", "")


@cache
def hub() -> dict[str, Any]:
    return load(ROOT / "template.yaml")


@cache
def spoke() -> dict[str, Any]:
    return load(ROOT / "spoke.yaml")


@cache
def build() -> dict[str, Any]:
    return load(ROOT / "build.yaml")


@cache
def chat() -> dict[str, Any]:
    return load(ROOT / "chat.yaml")


@cache
def page() -> dict[str, Any]:
    return load(ROOT / "page.yaml")


def of_type(template: dict[str, Any], kind: str) -> dict[str, Resource]:
    """The properties of the resources of a type, by logical id."""
    return {name: r["Properties"] for name, r in template["Resources"].items() if r["Type"] == kind}


def text(value: object) -> str:
    """A value with its intrinsic functions as one text: `!Sub a-${B}` → `a-${B}`, `!GetAtt A.Arn` → `${A.Arn}`."""
    if isinstance(value, dict) and len(value) == 1:
        name, argument = next(iter(value.items()))
        if name == "Ref":
            return f"${{{argument}}}"
        if name == "Fn::GetAtt":
            return f"${{{argument if isinstance(argument, str) else '.'.join(argument)}}}"
        if name == "Fn::Sub" and isinstance(argument, str):
            return argument
    return value if isinstance(value, str) else json.dumps(value)


def listed(value: object) -> list[Any]:
    """A list; a single value becomes a list of one."""
    return value if isinstance(value, list) else [value]


def attached(role: Resource, condition: str | None = None) -> list[str]:
    """The logical ids of the managed policies that are always attached to the hub's role; with a condition, those for
    it."""
    found = [each.get("Fn::If", [None, each]) for each in role.get("ManagedPolicyArns", [])]
    return [each[1]["Ref"] for each in found if each[0] == condition]


def statements(role: Resource) -> list[dict[str, Any]]:
    """All statements of a role's inline policies, and of the managed ones that are always attached; conditional ones as
    if the condition held."""
    documents = [policy["PolicyDocument"] for policy in role["Policies"]]
    documents += [hub()["Resources"][name]["Properties"]["PolicyDocument"] for name in attached(role)]
    return [statement for document in documents for statement in statements_of(document)]


def statements_of(document: Resource) -> list[dict[str, Any]]:
    """The statements of a policy's document; conditional ones as if the condition held."""
    return [s["Fn::If"][1] if "Fn::If" in s else s for s in listed(document["Statement"])]


def actions(role: Resource) -> set[str]:
    """All actions that a role allows."""
    return {action for s in statements(role) for action in listed(s["Action"])}
