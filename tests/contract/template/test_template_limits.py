"""CloudFormation's and IAM's limits of a template after the transform; cfn-lint is part of `make check`."""

import json
import re
from typing import Any

import pytest

from support.stacks.templates import ROOT, build, chat, hub, page, spoke
from tallyman_local.stack.template import translate

LONGEST = {"stack": "s" * 30, "region": "ap-southeast-2", "account": "1" * 12}
PLAIN = {"spoke.yaml": spoke(), "build.yaml": build(), "chat.yaml": chat(), "page.yaml": page()}


def transformed() -> dict[str, Any]:
    """The hub as CloudFormation gets it: the transform's output with its event source mappings."""
    given = {
        "KmsKeyArn": "arn:aws:kms:us-east-2:111111111111:key/1",
        "SubnetIds": "subnet-1",
        "SecurityGroupIds": "sg-1",
    }
    done = translate(hub(), region="us-east-2", parameters=given)
    resources = {**done.template["Resources"], **done.mappings}
    return {**done.template, "Resources": resources}


TEMPLATES = {"template.yaml": transformed(), **PLAIN}


def filled(node: Any) -> str:
    """A policy as text, with each reference at its maximum length."""
    text = json.dumps(node, separators=(",", ":"))
    text = re.sub(
        r'\{"Fn::(?:GetAtt|Sub)":\s*(?:\[[^]]*\]|"((?:[^"\\]|\\.)*)")\}', lambda m: f'"{m[1] or "x" * 90}"', text
    )
    text = text.replace("${AWS::StackName}", LONGEST["stack"]).replace("${AWS::Region}", LONGEST["region"])
    return re.sub(r"\$\{AWS::AccountId\}", LONGEST["account"], text)


def test_only_the_hub_has_a_transform_and_its_template_stays_under_2400_lines() -> None:
    assert len((ROOT / "template.yaml").read_text().splitlines()) < 2400
    assert hub()["Transform"] == "AWS::Serverless-2016-10-31"
    assert not [name for name, template in PLAIN.items() if "Transform" in template]


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_is_within_the_limits_of_cloudformation(name: str) -> None:
    template = TEMPLATES[name]
    assert len(template["Resources"]) <= 500
    assert len(template.get("Parameters", {})) <= 200
    assert len(template.get("Outputs", {})) <= 200
    assert len(json.dumps(template)) <= 1_000_000
    assert len(template["Description"]) <= 1024
    for parameter in template.get("Parameters", {}).values():
        assert len(parameter.get("Description", "")) <= 4000
    for logical_id in template["Resources"]:
        assert re.fullmatch(r"[A-Za-z0-9]{1,255}", logical_id)


@pytest.mark.parametrize("name", PLAIN)
def test_templates_deployed_by_hand_are_small_enough_without_a_bucket(name: str) -> None:
    assert len((ROOT / name).read_bytes()) <= 51_200


@pytest.mark.parametrize("name", TEMPLATES)
def test_policies_are_within_the_limits_of_iam(name: str) -> None:
    for logical_id, resource in TEMPLATES[name]["Resources"].items():
        properties = resource["Properties"]
        if resource["Type"] == "AWS::IAM::Role":
            assert len(filled(properties["AssumeRolePolicyDocument"])) <= 2048, logical_id
            assert sum(len(filled(p["PolicyDocument"])) for p in properties.get("Policies", ())) <= 10_240, logical_id
            assert len(properties.get("ManagedPolicyArns", [])) <= 10
        if resource["Type"] == "AWS::IAM::ManagedPolicy":
            assert len(filled(properties["PolicyDocument"])) <= 6144, logical_id


def test_make_check_lints_every_template() -> None:
    templates = {path.name for path in ROOT.glob("*.yaml") if "AWSTemplateFormatVersion" in path.read_text("utf-8")}
    linted = re.search(r"bin/cfn-lint (.+)", (ROOT / "Makefile").read_text("utf-8"))
    assert linted
    assert set(linted[1].split()) == templates == set(TEMPLATES)
