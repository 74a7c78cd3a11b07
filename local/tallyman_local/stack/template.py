"""The project's SAM template, translated as AWS would and made fit for moto's CloudFormation."""

import base64
import io
import json
import logging
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import yaml

Json = dict[str, Any]

SERVERLESS = "AWS::Serverless-2016-10-31"


class BadTemplate(ValueError):
    """The template can't be read or translated; says where and why."""


if TYPE_CHECKING or not yaml.__with_libyaml__:
    from yaml import SafeLoader
else:
    from yaml import CSafeLoader as SafeLoader  # a tenth of the time


class _Loader(SafeLoader):
    """YAML with CloudFormation's short forms: `!Ref`, `!Sub`, `!GetAtt a.b`, `!If` …"""


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
    """A CloudFormation or SAM template as plain data. Raises BadTemplate."""
    try:
        document = yaml.load(path.read_text("utf-8"), Loader=_Loader)
    except (OSError, yaml.YAMLError) as error:
        raise BadTemplate(f"{path}: {error}") from error
    if not isinstance(document, dict) or "Resources" not in document:
        raise BadTemplate(f"{path}: no template: expected Resources")
    # 2010-09-09 unquoted is a date to YAML.
    document["AWSTemplateFormatVersion"] = "2010-09-09"
    return document


@dataclass
class Translated:
    """A template as CloudFormation takes it, and what was taken out of it for moto."""

    template: Json
    mappings: dict[str, Json] = field(default_factory=dict)
    policies: dict[str, Json] = field(default_factory=dict)
    code: dict[str, str] = field(default_factory=dict)
    layers: dict[str, str] = field(default_factory=dict)


# Kept in the template (others may refer to them) though moto does nothing with them; deploy.py applies some.
POLICY_TYPES = ("AWS::SQS::QueuePolicy", "AWS::Events::EventBusPolicy", "AWS::SNS::TopicPolicy")


def translate(template: Json, *, region: str, parameters: dict[str, str]) -> Translated:
    """SAM to CloudFormation with AWS's own translator, offline, then without what moto can't do.

    `code` and `layers` say which folder (relative to the template, as written there) each function and
    layer comes from; `mappings` are the event source mappings, `policies` the resource policies.
    """
    result = Translated(json.loads(json.dumps(template)))
    if template.get("Transform") == SERVERLESS or SERVERLESS in (template.get("Transform") or []):
        _take_folders(result)
        result.template = _sam(result.template, region, parameters)
    for name, resource in list(result.template["Resources"].items()):
        properties = resource.setdefault("Properties", {})
        match resource["Type"]:
            case "AWS::Lambda::EventSourceMapping":
                result.mappings[name] = result.template["Resources"].pop(name)
            case "AWS::Lambda::Function":
                properties["Code"] = {"ZipFile": "# runs from the checkout"}
            case "AWS::Lambda::LayerVersion":
                properties["Content"] = {"ZipFile": _empty_zip()}
            case "AWS::IAM::Role":
                _without_aws_policies(properties)
            case kind if kind in POLICY_TYPES:
                result.policies[name] = resource
    result.template = _queue_urls(result.template)
    return result


def _take_folders(result: Translated) -> None:
    """Folders become S3 addresses, which is all that the translator accepts."""
    for name, resource in result.template["Resources"].items():
        properties = resource.setdefault("Properties", {})
        if resource["Type"] == "AWS::Serverless::Function":
            folder = properties.get("CodeUri", _global(result.template, "CodeUri"))
            result.code[name] = str(folder or ".")
            properties["CodeUri"] = "s3://local/function"
        elif resource["Type"] == "AWS::Serverless::LayerVersion":
            result.layers[name] = str(properties.get("ContentUri", "."))
            properties["ContentUri"] = "s3://local/layer"


def _global(template: Json, name: str) -> Any:
    return template.get("Globals", {}).get("Function", {}).get(name)


def _sam(template: Json, region: str, parameters: dict[str, str]) -> Json:
    # Imported here: 0.3 s that a test of a plain template does not pay.
    from samtranslator.model.exceptions import InvalidDocumentException
    from samtranslator.parser.parser import Parser
    from samtranslator.translator.translator import Translator

    logging.getLogger("samtranslator").setLevel(logging.ERROR)
    defaults = {
        name: str(value["Default"]) for name, value in template.get("Parameters", {}).items() if "Default" in value
    }
    values = {**defaults, **parameters, "AWS::Region": region, "AWS::Partition": "aws"}
    # A real session would read the user's own AWS set-up, and fail on a profile that is not there.
    translator = Translator({}, Parser(), boto_session=SimpleNamespace(region_name=region))
    try:
        translated: Json = translator.translate(template, values, get_managed_policy_map=dict)
    except InvalidDocumentException as error:
        raise BadTemplate("; ".join(cause.message for cause in error.causes)) from error
    return translated


def _without_aws_policies(properties: Json) -> None:
    """moto knows AWS's managed policies only after loading all of them, seconds; no one here asks for them."""
    kept = [arn for arn in properties.get("ManagedPolicyArns", []) if "iam::aws:policy" not in json.dumps(arn)]
    properties["ManagedPolicyArns"] = kept


def _queue_urls(node: Any) -> Any:
    """`GetAtt Queue.QueueUrl`, which moto lacks, is what `Ref` gives."""
    if isinstance(node, dict):
        target = node.get("Fn::GetAtt")
        if isinstance(target, str):
            target = target.split(".", 1)
        if isinstance(target, list) and len(target) == 2 and target[1] == "QueueUrl":
            return {"Ref": target[0]}
        return {key: _queue_urls(value) for key, value in node.items()}
    return [_queue_urls(value) for value in node] if isinstance(node, list) else node


def _empty_zip() -> str:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w"):
        pass
    return base64.b64encode(data.getvalue()).decode()
