"""Translate SAM templates to CloudFormation, as AWS does, and take out what moto's CloudFormation lacks."""

import base64
import copy
import json
import logging
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import yaml

Json = dict[str, Any]

SERVERLESS = "AWS::Serverless-2016-10-31"
_EMPTY_ZIP = base64.b64encode(b"PK\5\6" + bytes(18)).decode()  # a zip file's end record alone


class BadTemplate(ValueError):
    """The template can't be read, translated or deployed; the message says where and why."""


if TYPE_CHECKING or not yaml.__with_libyaml__:
    from yaml import SafeLoader
else:
    from yaml import CSafeLoader as SafeLoader  # ten times as fast


class _Loader(SafeLoader):
    """A YAML loader that knows CloudFormation's short forms: `!Ref`, `!Sub`, `!GetAtt a.b`, `!If` …"""


def _short_form(loader: _Loader, suffix: str, node: yaml.Node) -> Json:
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
        if suffix == "GetAtt":
            value = str(value).split(".", 1)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)  # type: ignore[arg-type]
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _short_form)


def load(path: Path) -> Json:
    """Read a CloudFormation or SAM template. Raises BadTemplate."""
    try:
        document = copy.deepcopy(_parsed(path.read_text("utf-8")))
    except (OSError, yaml.YAMLError) as error:
        raise BadTemplate(f"{path}: {error}") from error
    if not isinstance(document, dict) or "Resources" not in document:
        raise BadTemplate(f"{path}: not a template: expected Resources")
    # YAML reads an unquoted 2010-09-09 as a date.
    document["AWSTemplateFormatVersion"] = "2010-09-09"
    return document


# Cached, as the translations below: a cloud deploys spoke.yaml in each registry, and tests start a hundred clouds.
@lru_cache(maxsize=4)
def _parsed(text: str) -> Any:
    return yaml.load(text, Loader=_Loader)


@dataclass
class Translated:
    """A template for moto's CloudFormation, and what the local cloud runs itself.

    `mappings`: the event source mappings, which are not in the template. `policies`: the resource policies. `code`,
    `layers`: the folder of each function and layer, relative to the template. All by logical id.
    """

    template: Json
    mappings: dict[str, Json] = field(default_factory=dict)
    policies: dict[str, Json] = field(default_factory=dict)
    code: dict[str, str] = field(default_factory=dict)
    layers: dict[str, str] = field(default_factory=dict)


# moto ignores these resources, but others in the template may refer to them; deploy.py applies those that it can.
POLICY_TYPES = ("AWS::SQS::QueuePolicy", "AWS::Events::EventBusPolicy", "AWS::SNS::TopicPolicy")


def translate(template: Json, *, region: str, parameters: dict[str, str]) -> Translated:
    """Translate SAM with AWS's own translator, offline, and replace what moto can't create. Raises BadTemplate."""
    return copy.deepcopy(_translated(json.dumps(template), region, json.dumps(parameters, sort_keys=True)))


@lru_cache(maxsize=8)
def _translated(source: str, region: str, values: str) -> Translated:
    result = Translated(json.loads(source))
    transforms = result.template.get("Transform") or []
    if transforms == SERVERLESS or SERVERLESS in transforms:
        _take_folders(result)
        result.template = _sam(result.template, region, json.loads(values))
    for name, resource in list(result.template["Resources"].items()):
        properties = resource.setdefault("Properties", {})
        match resource["Type"]:
            case "AWS::Lambda::EventSourceMapping":
                result.mappings[name] = result.template["Resources"].pop(name)
            case "AWS::Lambda::Function":
                properties["Code"] = {"ZipFile": "# runs from the checkout"}
            case "AWS::Lambda::LayerVersion":
                properties["Content"] = {"ZipFile": _EMPTY_ZIP}
            case "AWS::IAM::Role":
                _without_aws_policies(properties)
            case kind if kind in POLICY_TYPES:
                result.policies[name] = resource
    result.template = _queue_urls(result.template)
    return result


def _take_folders(result: Translated) -> None:
    """Note the folders of functions and layers, and replace them by S3 URIs: the translator accepts nothing else."""
    for name, resource in result.template["Resources"].items():
        properties = resource.setdefault("Properties", {})
        if resource["Type"] == "AWS::Serverless::Function":
            shared = result.template.get("Globals", {}).get("Function", {})
            result.code[name] = str(properties.get("CodeUri", shared.get("CodeUri")) or ".")
            properties["CodeUri"] = "s3://local/function"
        elif resource["Type"] == "AWS::Serverless::LayerVersion":
            result.layers[name] = str(properties.get("ContentUri", "."))
            properties["ContentUri"] = "s3://local/layer"


def _sam(template: Json, region: str, parameters: dict[str, str]) -> Json:
    # Imported here: it takes 0.3 s, and plain CloudFormation does not need it.
    from samtranslator.model.exceptions import InvalidDocumentException
    from samtranslator.parser.parser import Parser
    from samtranslator.translator.translator import Translator

    logging.getLogger("samtranslator").setLevel(logging.ERROR)
    defaults = {
        name: str(value["Default"]) for name, value in template.get("Parameters", {}).items() if "Default" in value
    }
    values = {**defaults, **parameters, "AWS::Region": region, "AWS::Partition": "aws"}
    # A real session would read the user's own AWS configuration, and fail on a profile that does not exist.
    translator = Translator({}, Parser(), boto_session=SimpleNamespace(region_name=region))
    try:
        translated: Json = translator.translate(template, values, get_managed_policy_map=dict)
    except InvalidDocumentException as error:
        raise BadTemplate("; ".join(cause.message for cause in error.causes)) from error
    return translated


def _without_aws_policies(properties: Json) -> None:
    """Remove AWS's managed policies from a role: moto takes seconds to load them, and nothing here checks them."""
    kept = [arn for arn in properties.get("ManagedPolicyArns", []) if "iam::aws:policy" not in json.dumps(arn)]
    properties["ManagedPolicyArns"] = kept


def _queue_urls(node: Any) -> Any:
    """Replace `GetAtt Queue.QueueUrl`, which moto lacks, by `Ref Queue`, which has the same value."""
    if isinstance(node, dict):
        target = node.get("Fn::GetAtt")
        if isinstance(target, str):
            target = target.split(".", 1)
        if isinstance(target, list) and len(target) == 2 and target[1] == "QueueUrl":
            return {"Ref": target[0]}
        return {key: _queue_urls(value) for key, value in node.items()}
    return [_queue_urls(value) for value in node] if isinstance(node, list) else node
