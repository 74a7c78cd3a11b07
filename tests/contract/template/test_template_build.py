"""build.yaml and buildspec.yml: builds of one application, of one branch and tags, with few permissions."""

import json
import re
from typing import Any

import pytest
import yaml

from support.stacks.templates import ROOT, build, hub, listed, of_type, spoke, text

BUILD = build()["Resources"]
SPEC = yaml.safe_load((ROOT / "buildspec.yml").read_text())


def branches(statement: dict[str, Any]) -> list[dict[str, Any]]:
    """The branches of a condition: one statement or two."""
    return [s for s in statement["Fn::If"][1:] if "Effect" in s] if "Fn::If" in statement else [statement]


def granted(name: str) -> list[dict[str, Any]]:
    (policy,) = BUILD[name]["Properties"]["Policies"]
    return [s for statement in policy["PolicyDocument"]["Statement"] for s in branches(statement)]


def test_a_build_is_a_separate_stack_and_the_hub_knows_only_its_name() -> None:
    assert not [name for name in hub()["Resources"] if name.startswith("Build")]
    assert not [name for name in hub()["Parameters"] if name.startswith("Build")]
    assert all(r["Condition"] in ("Builds", "FromCodeCommit", "CreatesConnection") for r in BUILD.values())


def test_a_build_that_failed_raises_an_alarm_on_the_hubs_topic_where_no_rule_may_publish() -> None:
    """A topic's policy with a condition blocks EventBridge, and one without lets any rule publish."""
    statements = of_type(hub(), "AWS::SNS::TopicPolicy")["NoticesTopicPolicy"]["PolicyDocument"]["Statement"]
    allowed = [s["Principal"] for s in statements if s["Effect"] == "Allow"]
    assert allowed == [{"Service": "cloudwatch.amazonaws.com"}]
    for template in (hub(), spoke(), build()):
        for rule in of_type(template, "AWS::Events::Rule").values():
            assert not [t for t in rule["Targets"] if ":sns:" in text(t["Arn"]) or "Topic" in text(t["Arn"])]
    (alarm,) = of_type(build(), "AWS::CloudWatch::Alarm").values()
    assert (alarm["Namespace"], alarm["MetricName"]) == ("AWS/CodeBuild", "FailedBuilds")
    assert alarm["Dimensions"] == [{"Name": "ProjectName", "Value": {"Ref": "BuildProject"}}]
    topic = text(of_type(hub(), "AWS::SNS::Topic")["NoticesTopic"]["TopicName"])
    assert text(alarm["AlarmActions"][0]).endswith(":" + topic.replace("AWS::StackName", "HubStack"))


def test_a_build_reads_the_hubs_state_and_archive_by_their_names_in_the_hub() -> None:
    read = {s["Sid"]: text(s["Resource"]) for s in granted("BuildRole") if s["Sid"] in ("PolicyInForce", "Policies")}
    state = text(of_type(hub(), "AWS::DynamoDB::Table")["StateTable"]["TableName"])
    bucket = text(of_type(hub(), "AWS::S3::Bucket")["ArchiveBucket"]["BucketName"])
    assert read["PolicyInForce"].endswith(f":table/{state.replace('AWS::StackName', 'HubStack')}")
    assert read["Policies"].endswith(f":::{bucket.replace('AWS::StackName', 'HubStack')}/policies/*")


def test_customer_keys_and_signing_apply_to_builds_too() -> None:
    """A role without the hub's key can't read the policy; one without the images' key can't create a repository."""
    allowed = {s["Sid"]: s for s in granted("BuildRole")}
    assert (allowed["Key"]["Action"], allowed["Key"]["Resource"]) == ("kms:Decrypt", {"Ref": "KmsKeyArn"})
    assert allowed["ImagesKeys"]["Action"] == ["kms:CreateGrant", "kms:DescribeKey", "kms:RetireGrant"]
    assert (allowed["Sign"]["Action"], allowed["Sign"]["Resource"]) == (
        "signer:SignPayload",
        {"Ref": "SigningProfileArns"},
    )


def test_concurrent_builds_wait_instead_of_failing() -> None:
    (project,) = of_type(build(), "AWS::CodeBuild::Project").values()
    assert "ConcurrentBuildLimit" not in project
    assert project["QueuedTimeoutInMinutes"] == 480


def test_a_build_may_push_to_its_two_repositories_and_write_nothing_else() -> None:
    reading = ("Get", "BatchGet", "BatchCheck", "Describe", "List", "UseConnection", "GitPull")
    assert "Push" in {statement["Sid"] for statement in granted("BuildRole")}
    for statement in granted("BuildRole"):
        writes = [a for a in listed(statement["Action"]) if not a.split(":")[1].startswith(reading)]
        if statement["Sid"] == "Log":
            continue
        if statement["Sid"] in ("Key", "ImagesKeys", "Sign"):
            continue  # keys and profiles that the parameters name
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


def filled(pattern: Any, branch: str) -> str:
    """The webhook's pattern as CloudFormation resolves it for this branch."""
    if isinstance(pattern, str):
        return pattern
    text, names = pattern["Fn::Sub"]
    ((name, joined),) = names.items()
    between, parts = joined["Fn::Join"]
    assert parts == {"Fn::Split": [".", {"Ref": "BuildBranch"}]}
    return str(text.replace(f"${{{name}}}", between.join(branch.split("."))))


@pytest.mark.parametrize("branch", ["main", "release-1.0"])
def test_only_the_branch_and_tags_are_built_as_a_batch(branch: str) -> None:
    """The commit contains its buildspec: if any branch could run it, any branch could push promoted images."""
    (project,) = of_type(build(), "AWS::CodeBuild::Project").values()
    webhook = project["Triggers"]["Fn::If"][1]
    assert webhook["BuildType"] == "BUILD_BATCH"
    patterns = []
    for group in webhook["FilterGroups"]:
        filters = {f["Type"]: filled(f["Pattern"], branch) for f in group}
        assert set(filters) == {"EVENT", "HEAD_REF"}
        assert filters["EVENT"] == "PUSH"
        patterns.append(filters["HEAD_REF"])
    built = {ref for ref in REFS if any(re.search(pattern, ref) for pattern in patterns)}
    assert built == {f"refs/heads/{branch}", "refs/tags/v1.0.0"}
    assert build()["Parameters"]["BuildBranch"]["Default"] == "main"
    rules = of_type(build(), "AWS::Events::Rule")
    given = {
        name: json.loads(json.dumps(rule["EventPattern"]).replace(BRANCH, '"main"')) for name, rule in rules.items()
    }
    assert {name: pattern["detail"] for name, pattern in given.items()} == {
        "BuildOnPush": {**REFERENCES, "referenceType": ["branch"], "referenceName": ["main"]},
        "BuildOnTag": {**REFERENCES, "referenceType": ["tag"]},
    }


def test_a_build_of_a_git_tag_in_codecommit_gets_no_tags_of_a_branch() -> None:
    """Whoever may set tags could otherwise have any commit promoted as one of main, by a Git tag named main."""
    rules = of_type(build(), "AWS::Events::Rule")
    named = {name: text(rule["Targets"][0]["InputTransformer"]) for name, rule in rules.items()}
    assert [name for name, given in named.items() if "IMAGE_BRANCH" in given] == ["BuildOnPush"]
    assert rules["BuildOnPush"]["EventPattern"]["detail"]["referenceType"] == ["branch"]


REFERENCES = {"event": ["referenceCreated", "referenceUpdated"]}

REFS = (
    *("refs/heads/main", "refs/tags/v1.0.0", "refs/heads/main2", "refs/heads/feature", "refs/heads/x/refs/tags/v1"),
    *("refs/heads/release-1.0", "refs/heads/release-1x0"),
)
BRANCH = '{"Ref": "BuildBranch"}'


def test_only_the_connection_is_created_before_it_is_completed_and_named() -> None:
    """A project or webhook that is created with a pending connection fails the deployment."""
    conditions = build()["Conditions"]
    unnamed = {"Fn::Equals": [{"Ref": "BuildConnectionArn"}, ""]}
    afar = {"Condition": "FromAfar"}
    assert conditions["Builds"] == {"Fn::Or": [{"Condition": "FromCodeCommit"}, {"Condition": "ByWebhook"}]}
    assert conditions["ByWebhook"] == {"Fn::And": [afar, {"Fn::Not": [unnamed]}]}
    assert conditions["CreatesConnection"] == {"Fn::And": [afar, unnamed]}
    assert [name for name, r in BUILD.items() if r["Condition"] == "CreatesConnection"] == ["BuildConnection"]
    assert BUILD["BuildConnection"]["DeletionPolicy"] == "Retain"  # naming it removes it from the stack
    (project,) = of_type(build(), "AWS::CodeBuild::Project").values()
    connection = {"Type": "CODECONNECTIONS", "Resource": {"Ref": "BuildConnectionArn"}}
    assert project["Source"]["Auth"] == {"Fn::If": ["ByWebhook", connection, {"Ref": "AWS::NoValue"}]}
    assert "BuildConnectionArn=${BuildConnection}" in build()["Outputs"]["BuildNextStep"]["Value"]["Fn::Sub"]


def test_connections_of_both_arn_prefixes_and_no_others_are_allowed() -> None:
    (source,) = [s for s in granted("BuildRole") if any("onnections:" in a for a in listed(s["Action"]))]
    actions = ("GetConnection", "GetConnectionToken", "UseConnection")
    assert source["Action"] == [f"{p}:{a}" for p in ("codeconnections", "codestar-connections") for a in actions]
    assert source["Resource"] == {"Fn::Sub": "${BuildConnectionArn}"}
    pattern = build()["Parameters"]["BuildConnectionArn"]["AllowedPattern"]
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
    (project,) = of_type(build(), "AWS::CodeBuild::Project").values()
    names = {v["Name"] for v in project["Environment"]["EnvironmentVariables"]}
    text_of_spec = (ROOT / "buildspec.yml").read_text()
    assert all(name in text_of_spec for name in names)


def test_the_log_in_is_that_of_the_notes() -> None:
    login = 'aws ecr get-login-password --region "$AWS_REGION" | docker login --username AWS --password-stdin'
    assert any(login in command for command in SPEC["phases"]["pre_build"]["commands"])
