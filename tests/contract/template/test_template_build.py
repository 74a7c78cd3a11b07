"""The build stage of template.yaml and buildspec.yml: there only when asked for, and with few rights."""

import json
import re
from typing import Any

import pytest
import yaml

from support.stacks.templates import ROOT, hub, listed, of_type, text
from tallyman_local.stack.template import load

BUILD = {name: r for name, r in hub()["Resources"].items() if name.startswith("Build")}
SPEC = yaml.safe_load((ROOT / "buildspec.yml").read_text())


def branches(statement: dict[str, Any]) -> list[dict[str, Any]]:
    """A statement, or both of a condition."""
    return [s for s in statement["Fn::If"][1:] if "Effect" in s] if "Fn::If" in statement else [statement]


def granted(name: str) -> list[dict[str, Any]]:
    (policy,) = BUILD[name]["Properties"]["Policies"]
    return [s for statement in policy["PolicyDocument"]["Statement"] for s in branches(statement)]


def test_nothing_of_the_build_stage_is_there_unless_asked_for() -> None:
    assert hub()["Parameters"]["BuildSource"]["Default"] == "none"
    assert all(r["Condition"] in ("Builds", "BuildsFromCodeCommit", "CreatesConnection") for r in BUILD.values())
    used = json.dumps([r for n, r in hub()["Resources"].items() if n not in BUILD and n != "NoticesTopicPolicy"])
    assert not any(f'"{name}"' in used or f"{name}." in used for name in BUILD)


def test_a_build_may_push_to_its_two_repositories_and_write_nothing_else() -> None:
    reading = ("Get", "BatchGet", "BatchCheck", "Describe", "List", "UseConnection", "GitPull")
    for statement in granted("BuildRole"):
        writes = [a for a in listed(statement["Action"]) if not a.split(":")[1].startswith(reading)]
        if statement["Sid"] == "Log":
            continue
        if writes:
            assert statement["Sid"] == "Push"
            prefix = "arn:${AWS::Partition}:ecr:${AWS::Region}:${AWS::AccountId}:repository/${BuildRepository}"
            assert [text(r) for r in statement["Resource"]] == [prefix, f"{prefix}-parts"]
            assert not any("Delete" in a for a in writes)
        assert not [a for a in listed(statement["Action"]) if "*" in a]
        assert statement["Resource"] != "*" or statement["Action"] == "ecr:GetAuthorizationToken"


@pytest.mark.parametrize("name", ["BuildRole", "BuildBatchRole", "BuildStartRole"])
def test_the_builds_roles_are_for_services_of_this_account_alone(name: str) -> None:
    (statement,) = BUILD[name]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Condition"] == {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}
    assert statement["Principal"]["Service"] in ("codebuild.amazonaws.com", "events.amazonaws.com")


def test_every_push_is_built_as_a_batch() -> None:
    (project,) = of_type(hub(), "AWS::CodeBuild::Project", build=True).values()
    webhook = project["Triggers"]["Fn::If"][1]
    assert webhook["BuildType"] == "BUILD_BATCH"
    assert webhook["FilterGroups"] == [[{"Type": "EVENT", "Pattern": "PUSH"}]]
    (rule,) = [r for n, r in of_type(hub(), "AWS::Events::Rule", build=True).items() if n == "BuildOnPush"]
    assert rule["EventPattern"]["detail"]["referenceType"] == ["branch", "tag"]


def test_nothing_but_the_connection_is_made_before_it_is_completed_and_named() -> None:
    """A project or webhook that is made with a pending connection fails the whole deployment."""
    conditions = hub()["Conditions"]
    unnamed = {"Fn::Equals": [{"Ref": "BuildConnectionArn"}, ""]}
    afar = {"Condition": "BuildsFromAfar"}
    assert conditions["Builds"] == {"Fn::Or": [{"Condition": "BuildsFromCodeCommit"}, {"Condition": "BuildsByWebhook"}]}
    assert conditions["BuildsByWebhook"] == {"Fn::And": [afar, {"Fn::Not": [unnamed]}]}
    assert conditions["CreatesConnection"] == {"Fn::And": [afar, unnamed]}
    assert [name for name, r in BUILD.items() if r["Condition"] == "CreatesConnection"] == ["BuildConnection"]
    assert BUILD["BuildConnection"]["DeletionPolicy"] == "Retain"  # naming it takes it out of the stack
    (project,) = of_type(hub(), "AWS::CodeBuild::Project", build=True).values()
    connection = {"Type": "CODECONNECTIONS", "Resource": {"Ref": "BuildConnectionArn"}}
    assert project["Source"]["Auth"] == {"Fn::If": ["BuildsByWebhook", connection, {"Ref": "AWS::NoValue"}]}
    assert "BuildConnectionArn=${BuildConnection}" in hub()["Outputs"]["BuildNextStep"]["Value"]["Fn::Sub"]


def test_a_connection_of_either_prefix_may_be_used_and_no_other() -> None:
    (source,) = [s for s in granted("BuildRole") if any("onnections:" in a for a in listed(s["Action"]))]
    actions = ("GetConnection", "GetConnectionToken", "UseConnection")
    assert source["Action"] == [f"{p}:{a}" for p in ("codeconnections", "codestar-connections") for a in actions]
    assert source["Resource"] == {"Fn::Sub": "${BuildConnectionArn}"}
    pattern = hub()["Parameters"]["BuildConnectionArn"]["AllowedPattern"]
    for prefix in ("codeconnections", "codestar-connections"):
        assert re.match(pattern, f"arn:aws:{prefix}:us-east-2:111111111111:connection/1f-2a")
    assert not re.match(pattern, "arn:aws:codeconnections:us-east-2:111111111111:connection/*")


def test_platforms_are_built_natively_and_joined_last() -> None:
    graph = {each["identifier"]: each for each in SPEC["batch"]["build-graph"]}
    assert graph["amd64"]["env"]["type"] == "LINUX_CONTAINER"
    assert graph["arm64"]["env"]["type"] == "ARM_CONTAINER"
    assert graph["join"]["depend-on"] == ["amd64", "arm64"]
    assert set(SPEC["env"]["variables"]["BUILD_PLATFORMS"].split(",")) == set(graph) - {"join"}


def test_the_buildspecs_variables_are_those_that_the_project_sets() -> None:
    (project,) = of_type(hub(), "AWS::CodeBuild::Project", build=True).values()
    names = {v["Name"] for v in project["Environment"]["EnvironmentVariables"]}
    text_of_spec = (ROOT / "buildspec.yml").read_text()
    assert all(name in text_of_spec for name in names)


def test_the_log_in_is_the_one_of_the_notes() -> None:
    login = 'aws ecr get-login-password --region "$AWS_REGION" | docker login --username AWS --password-stdin'
    assert any(login in command for command in SPEC["phases"]["pre_build"]["commands"])


def test_the_template_with_a_build_stage_still_loads() -> None:
    assert load(ROOT / "template.yaml")["Rules"]["BuildNeedsItsParameters"]["Assertions"]
