"""The roles of template.yaml and spoke.yaml have exactly the permissions that their functions need."""

import json
from typing import Any
from unittest.mock import MagicMock

import pytest

from support.stacks.templates import (
    FUNCTIONS,
    ROOT,
    actions,
    attached,
    hub,
    listed,
    logical_id,
    of_type,
    spoke,
    statements,
    statements_of,
    text,
)
from tallyman.adapters.aws.check_functions import LambdaChecks
from tallyman.adapters.aws.clients import Clients
from tallyman.adapters.aws.registry_buses import EventBridgeBuses
from tallyman.adapters.aws.rollouts import LambdaRollOuts
from tallyman.adapters.ecr.replication import EcrImageReplication
from tallyman.adapters.ecr.settings import EcrSettings
from tallyman.bootstrap import REACTIONS, sweeping
from tallyman.bootstrap.adapters import Adapters
from tallyman.bootstrap.services import Services, retention_inputs
from tallyman.domain.names import EcrRegistry
from tallyman.services.reconcile.reconcile import Parts
from tallyman.settings import Settings

READ_ONLY = ("Describe", "Get", "List", "BatchGet", "BatchCheck")
# Permissions of the runtime itself, whatever the adapters are: logs, traces, and the function's own queue.
RUNTIME = {"logs:CreateLogStream", "logs:PutLogEvents", "xray:PutTelemetryRecords", "xray:PutTraceSegments"}
POLLING = {"sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"}
# AWS defines no resource types for these actions.
EVERYWHERE = {
    "ecr:GetAuthorizationToken",
    "xray:PutTelemetryRecords",
    "xray:PutTraceSegments",
    "cloudtrail:LookupEvents",
    "ecs:ListClusters",
    "ecs:ListTasks",  # of container instances; tasks on Fargate have none
    "lambda:ListFunctions",
    "batch:DescribeJobDefinitions",
    "ecr:DescribeRegistry",
    "ecs:DescribeTaskDefinition",
    "ecs:ListServices",  # takes a cluster only as a condition
    "eks:ListClusters",
    "inspector2:BatchGetAccountStatus",
    "inspector2:ListCoverage",
    "inspector2:ListFindings",
}


def role(function: str) -> dict[str, Any]:
    found: dict[str, Any] = hub()["Resources"][logical_id(function) + "Role"]["Properties"]
    return found


def writes(granted: set[str], service: str) -> set[str]:
    names = {a.removeprefix(f"{service}:") for a in granted if a.startswith(f"{service}:")}
    return {name for name in names if not name.startswith(READ_ONLY)}


def of_people() -> list[dict[str, Any]]:
    """The statements of the policy for people."""
    return statements_of(hub()["Resources"]["PeoplePolicy"]["Properties"]["PolicyDocument"])


def roles() -> dict[str, dict[str, Any]]:
    return of_type(hub(), "AWS::IAM::Role") | {f"spoke {n}": r for n, r in of_type(spoke(), "AWS::IAM::Role").items()}


def test_each_function_has_its_own_role_that_only_lambda_may_assume() -> None:
    assert set(of_type(hub(), "AWS::IAM::Role")) == {logical_id(name) + "Role" for name in FUNCTIONS}
    for name in FUNCTIONS:
        (statement,) = role(name)["AssumeRolePolicyDocument"]["Statement"]
        assert statement["Principal"] == {"Service": "lambda.amazonaws.com"}
        assert attached(role(name)) == ["FunctionsPolicy"]


@pytest.mark.parametrize("name", sorted(roles()))
def test_no_action_has_a_wildcard_and_star_resources_are_unavoidable(name: str) -> None:
    for statement in statements(roles()[name]):
        assert statement["Effect"] == "Allow"
        assert not [a for a in listed(statement["Action"]) if "*" in a]
        if "*" in listed(statement["Resource"]):
            assert set(listed(statement["Action"])) <= EVERYWHERE


@pytest.mark.parametrize("name", FUNCTIONS)
def test_nobody_may_update_or_delete_in_the_ledger(name: str) -> None:
    for statement in statements(role(name)):
        if any("LedgerTable" in json.dumps(r) for r in listed(statement["Resource"])):
            assert set(listed(statement["Action"])) <= {
                "dynamodb:PutItem",
                "dynamodb:GetItem",
                "dynamodb:BatchGetItem",
                "dynamodb:Query",
                "dynamodb:ConditionCheckItem",
            }


@pytest.mark.parametrize("name", FUNCTIONS)
def test_only_promote_image_may_push_and_only_apply_retention_may_delete_an_image(name: str) -> None:
    written = writes(actions(role(name)), "ecr")
    assumed = json.dumps([s["Resource"] for s in statements(role(name)) if s["Action"] == "sts:AssumeRole"])
    if name == "promote_image":
        assert written - {"StartImageScan"} == {
            "CompleteLayerUpload",
            "CreateRepository",
            "InitiateLayerUpload",
            "PutImage",
            "SetRepositoryPolicy",
            "UploadLayerPart",
        }
        assert "spoke-push" in assumed
    elif name == "apply_retention":
        assert written - {"StartImageScan"} == {"BatchDeleteImage", "UpdateImageStorageClass"}
        assert "spoke-push" not in assumed
    else:
        assert written <= {"StartImageScan"}
        assert "spoke-push" not in assumed
    assert ("spoke-remove" in assumed) is (name == "apply_retention")


def test_no_role_can_empty_the_archive() -> None:
    for name in FUNCTIONS:
        assert {a for a in actions(role(name)) if a.startswith("s3:")} <= {
            "s3:GetObject",
            "s3:PutObject",
            "s3:ListBucket",
        }


def test_a_function_assumes_only_roles_of_its_own_stack() -> None:
    for name in FUNCTIONS:
        for statement in statements(role(name)):
            if "sts:AssumeRole" in listed(statement["Action"]):
                for resource in listed(statement["Resource"]):
                    assert ":iam::*:role/${AWS::StackName}-spoke-" in text(resource)


def test_only_roll_out_updates_services_and_only_those_in_the_parameters() -> None:
    for template, roles_of in ((hub(), [f"{logical_id(name)}Role" for name in FUNCTIONS]), (spoke(), ["RollOutRole"])):
        for name in roles_of:
            for statement in statements(of_type(template, "AWS::IAM::Role")[name]):
                moved = {"ecs:UpdateService", "lambda:UpdateFunctionCode", "iam:PassRole"} & set(
                    listed(statement["Action"])
                )
                if moved:
                    assert name == "RollOutRole"
                    assert text(statement["Resource"]).startswith("${RollOut")


def trusted(spoke_role: str) -> set[str]:
    """The hub functions that a spoke's role trusts."""
    (statement,) = of_type(spoke(), "AWS::IAM::Role")[spoke_role]["AssumeRolePolicyDocument"]["Statement"]
    assert text(statement["Principal"]["AWS"]) == "arn:${AWS::Partition}:iam::${HubAccount}:root"
    prefix, suffix = "arn:${AWS::Partition}:iam::${HubAccount}:role/${HubStack}-", "-${HubRegion}"
    arns = {text(arn) for arn in listed(statement["Condition"]["ArnLike"]["aws:PrincipalArn"])}
    assert all(arn.startswith(prefix) and arn.endswith(suffix) for arn in arns)
    return {arn.removeprefix(prefix).removesuffix(suffix).replace("-", "_") for arn in arns}


def test_a_spokes_role_trusts_exactly_the_functions_that_may_assume_it() -> None:
    for power, logical in (
        ("read", "ReadRole"),
        ("push", "PushRole"),
        ("remove", "RemoveRole"),
        ("roll-out", "RollOutRole"),
    ):
        may = {
            name
            for name in FUNCTIONS
            if any(f"-spoke-{power}" in json.dumps(s["Resource"]) for s in statements(role(name)))
        }
        assert trusted(logical) == may


def test_the_names_in_a_spokes_trust_are_the_names_of_the_hubs_roles() -> None:
    for name in FUNCTIONS:
        assert text(role(name)["RoleName"]) == f"${{AWS::StackName}}-{name.replace('_', '-')}-${{AWS::Region}}"


def test_every_spoke_role_requires_the_organization_if_one_is_given() -> None:
    for name in ("ReadRole", "PushRole", "RemoveRole", "RollOutRole", "PeopleRole", "PeopleChangeRole"):
        (statement,) = of_type(spoke(), "AWS::IAM::Role")[name]["AssumeRolePolicyDocument"]["Statement"]
        condition = statement["Condition"]["StringEquals"]["Fn::If"]
        assert condition == [
            "HasOrganization",
            {"aws:PrincipalOrgID": {"Ref": "OrganizationId"}},
            {"Ref": "AWS::NoValue"},
        ]


def test_each_spoke_role_has_only_the_writes_of_its_kind() -> None:
    found = {n: writes(actions(r), "ecr") for n, r in of_type(spoke(), "AWS::IAM::Role").items()}
    assert found["ForwardRole"] == set()
    assert found["ReadRole"] <= {"StartImageScan"}
    assert "BatchDeleteImage" not in found["PushRole"]
    assert found["RemoveRole"] == {"BatchDeleteImage", "UpdateImageStorageClass"}


def test_a_spokes_role_has_the_functions_permissions_on_the_hubs_registry() -> None:
    read = {a for a in actions(of_type(spoke(), "AWS::IAM::Role")["ReadRole"]) if not a.startswith("sts:")}
    wanted = set().union(*(actions(role(name)) for name in FUNCTIONS if name not in ("promote_image", "roll_out")))
    services = ("ecr:", "cloudtrail:", "ecs:", "eks:", "lambda:", "batch:", "inspector2:")
    removing = {"ecr:BatchDeleteImage", "ecr:UpdateImageStorageClass"}  # in its own role
    wanted -= set(LambdaChecks.PERMISSIONS)  # called with the function's own role, in every account
    wanted |= set(EcrImageReplication.PERMISSIONS)  # used by promote_image only
    assert read == {a for a in wanted if a.startswith(services)} - removing | set(EventBridgeBuses.PERMISSIONS)
    moving = ("ecs:", "lambda:", "iam:")
    assert actions(of_type(spoke(), "AWS::IAM::Role")["RollOutRole"]) == {
        a for a in actions(role("roll_out")) if a.startswith(moving)
    } | {a for a in LambdaRollOuts.PERMISSIONS if a.startswith("ecr:")}
    push = of_type(spoke(), "AWS::IAM::Role")["PushRole"]
    assert writes(actions(push), "ecr") == writes(actions(role("promote_image")), "ecr") - {"StartImageScan"}


def unmade() -> Adapters:
    """Adapters that are created on first use, and connect to nothing."""
    names: dict[str, Any] = {
        **dict.fromkeys(("ledger_table", "state_table", "archive_bucket", "notices_topic", "bus"), "name"),
        **dict.fromkeys(
            ("verify_queue", "origin_queue", "promote_queue", "retention_queue", "roll_out_queue", "dead_letters"),
            "url",
        ),
    }
    settings = Settings(
        stack="tallyman",
        hub=EcrRegistry("111111111111", "us-east-2"),
        policy=ROOT / "layers/policy/tallyman.yaml",
        **names,
    )
    return Adapters(settings, MagicMock(spec=Clients))


def permissions(adapters: Adapters) -> set[str]:
    """The declared permissions of the adapters that were created."""
    made = [adapter for key, adapter in vars(adapters).items() if key != "clients"]
    return {action for adapter in made for action in getattr(adapter, "PERMISSIONS", ())}


def declared(name: str) -> set[str]:
    """The permissions of the adapters that bootstrap wires into a function: only those it uses are created."""
    adapters = unmade()
    services = Services(adapters)
    (sweeping if name == "reconcile" else REACTIONS[name])(services)
    if name == "reconcile":  # its parts are created on first use
        parts = [part for part, made in vars(Parts).items() if isinstance(made, property)]
        assert all(getattr(services, part) is not None for part in parts)
        assert len(parts) == 6
    if FUNCTIONS[name]:
        assert adapters.dead_letters is not None
    found = permissions(adapters)
    # Spokes' roles are for registries and their buses; a function that needs a role also calls a registry.
    return found | (set(Clients.PERMISSIONS) if any(a.startswith("ecr:") for a in found) else set())


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_role_allows_exactly_what_the_functions_adapters_declare(name: str) -> None:
    runtime = RUNTIME | (POLLING if FUNCTIONS[name] else set())
    assert actions(role(name)) == declared(name) | runtime


def test_people_may_read_the_inputs_of_retention_plan_and_native(monkeypatch: pytest.MonkeyPatch) -> None:
    adapters = unmade()
    retention_inputs(adapters, adapters.policy)
    assert adapters.lifecycle is not None
    allowed = {a for s in of_people() for a in listed(s["Action"])}
    layers = {"ecr:BatchCheckLayerAvailability", "ecr:GetDownloadUrlForLayer"}  # a plan reads no bytes of layers
    needed = {a for a in permissions(adapters) if not a.startswith(("dynamodb:", "s3:"))} - layers
    assert {"ecr:GetLifecyclePolicy", "ecr:DescribeRegistry", "ecs:ListTasks"} <= needed
    assert needed - allowed == set()


def test_people_may_use_the_customer_key_as_the_functions_may() -> None:
    (conditional,) = [
        s["Fn::If"]
        for s in hub()["Resources"]["PeoplePolicy"]["Properties"]["PolicyDocument"]["Statement"]
        if "Fn::If" in s
    ]
    assert conditional[0] == "HasKey"
    assert conditional[1:2] == hub()["Resources"]["KeyPolicy"]["Properties"]["PolicyDocument"]["Statement"]


PERMISSIONS_OF_SCANS = {"ecr:DescribeImageScanFindings", "ecr:StartImageScan", "inspector2:ListFindings"}


def test_the_roles_of_people_in_spokes_have_the_permissions_of_the_commands_adapters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    adapters = unmade()
    retention_inputs(adapters, adapters.policy)
    assert adapters.lifecycle is not None
    assert adapters.view is not None
    assert adapters.guards is not None
    of_functions = {"ecr:BatchCheckLayerAvailability", *PERMISSIONS_OF_SCANS}
    reading = {a for a in permissions(adapters) if not a.startswith(("dynamodb:", "s3:"))} - of_functions
    roles = of_type(spoke(), "AWS::IAM::Role")
    assert actions(roles["PeopleRole"]) == reading
    assert not writes(reading, "ecr")
    changing = unmade()
    assert changing.target is not None
    assert changing.remover is not None
    keys = {"kms:CreateGrant", "kms:DescribeKey", "kms:RetireGrant"}
    mends = set(EcrSettings.PERMISSIONS)  # of `audit --fix`
    assert actions(roles["PeopleChangeRole"]) == permissions(changing) - {"ecr:BatchDeleteImage"} | keys | mends
    assert not any(mends & actions(role(name)) - {"ecr:SetRepositoryPolicy"} for name in FUNCTIONS)


def test_a_role_of_people_trusts_roles_of_the_hubs_account_that_its_own_parameter_names() -> None:
    for name, parameter in (("PeopleRole", "PeopleRoles"), ("PeopleChangeRole", "PeopleChangeRoles")):
        (statement,) = of_type(spoke(), "AWS::IAM::Role")[name]["AssumeRolePolicyDocument"]["Statement"]
        assert text(statement["Principal"]["AWS"]) == "arn:${AWS::Partition}:iam::${HubAccount}:root"
        assert statement["Condition"]["ArnLike"] == {"aws:PrincipalArn": {"Ref": parameter}}
        assert spoke()["Parameters"][parameter]["Default"] == ""
    assert spoke()["Resources"]["PeopleRole"]["Condition"] == "CreatesPeopleRole"
    assert spoke()["Resources"]["PeopleChangeRole"]["Condition"] == "CreatesPeopleChangeRole"


def test_only_people_may_assume_the_roles_of_people() -> None:
    (asked,) = [s for s in of_people() if s["Action"] == "sts:AssumeRole"]
    names = {text(spoke()["Resources"][r]["Properties"]["RoleName"]) for r in ("PeopleRole", "PeopleChangeRole")}
    assert {text(r).rpartition("/")[2] for r in asked["Resource"]} == {
        n.replace("${HubStack}", "${AWS::StackName}") for n in names
    }
    assert not [name for name in FUNCTIONS if "spoke-people" in json.dumps(role(name))]


def test_image_keys_are_used_only_through_ecr_by_roles_that_create_repositories() -> None:
    policy = hub()["Resources"]["ImagesKeyPolicy"]
    holders = [n for n, r in of_type(hub(), "AWS::IAM::Role").items() if "ImagesKeyPolicy" in json.dumps(r)]
    assert holders == ["PromoteImageRole"]
    assert attached(role("promote_image"), "HasImagesKeys") == ["ImagesKeyPolicy"]
    found = list(policy["Properties"]["PolicyDocument"]["Statement"])
    for name in of_type(spoke(), "AWS::IAM::Role"):
        keys = [s for s in statements(of_type(spoke(), "AWS::IAM::Role")[name]) if s.get("Sid") == "ImagesKeys"]
        creates = "ecr:CreateRepository" in actions(of_type(spoke(), "AWS::IAM::Role")[name])
        assert len(keys) == creates
        found += keys
    assert len(found) == 3
    for statement in found:
        assert statement["Action"] == ["kms:CreateGrant", "kms:DescribeKey", "kms:RetireGrant"]
        assert statement["Resource"] == {"Ref": "ImagesKeyArns"}
        assert text(statement["Condition"]["StringLike"]["kms:ViaService"]) == "ecr.*.${AWS::URLSuffix}"


def test_our_own_reads_never_count_as_pulls() -> None:
    readers = {name for name in FUNCTIONS if "ecr:BatchGetImage" in actions(role(name))}
    excluded = {text(p["PrincipalArn"]) for p in of_type(hub(), "AWS::ECR::PullTimeUpdateExclusion").values()}
    assert excluded == {f"${{{logical_id(name)}Role.Arn}}" for name in readers}
    # in other regions of the hub's account functions read with the same roles, which the spoke knows by name
    named = {
        (each.get("Condition"), text(principal(each)).rpartition("role/")[2])
        for each in spoke()["Resources"].values()
        if each["Type"] == "AWS::ECR::PullTimeUpdateExclusion"
    }
    own = {("InHubAccount", f"${{HubStack}}-{name.replace('_', '-')}-${{HubRegion}}") for name in readers}
    others = {
        ("InOtherAccount", "${HubStack}-spoke-read"),
        ("PushesElsewhere", "${HubStack}-spoke-push"),
        ("PeopleReadElsewhere", "${HubStack}-spoke-people"),
        ("PeopleChangeElsewhere", "${HubStack}-spoke-people-change"),
    }
    assert named == own | others


def principal(exclusion: dict[str, Any]) -> object:
    """The principal that an exclusion of spoke.yaml names. A role of its own stack is a reference, so that
    CloudFormation creates it first."""
    named = exclusion["Properties"]["PrincipalArn"]
    if "Fn::If" not in named:
        return named
    condition, made, there = named["Fn::If"]
    referred = spoke()["Resources"][text(made)[2:-1].removesuffix(".Arn")]
    assert referred["Condition"] == condition
    assert text(there).endswith(text(referred["Properties"]["RoleName"]))
    return there


def test_every_role_that_reads_manifests_is_excluded_from_last_pull_times() -> None:
    readers = {n for n, r in of_type(spoke(), "AWS::IAM::Role").items() if "ecr:BatchGetImage" in actions(r)}
    # Lambda checks that roll_out may read an image, and pulls it itself
    readers -= {"RollOutRole"}
    names = {text(spoke()["Resources"][n]["Properties"]["RoleName"]) for n in readers}
    excluded = [r for r in spoke()["Resources"].values() if r["Type"] == "AWS::ECR::PullTimeUpdateExclusion"]
    assert names <= {text(principal(each)).rpartition("role/")[2] for each in excluded}
