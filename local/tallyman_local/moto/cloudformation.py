"""Let moto's CloudFormation read JSON as JSON, leave `AWS::NoValue` out of lists, and give log groups and buses the
values that AWS gives them."""

import json
from typing import Any

from moto.cloudformation import parsing
from moto.cloudformation.models import Stack
from moto.events.models import EventBus
from moto.logs.models import LogGroup

_moto_parse_template = Stack.parse_template
_moto_clean_json = parsing.clean_json
_moto_log_group_attribute = LogGroup.get_cfn_attribute


def _parse_template(text: str) -> dict[str, Any]:
    """moto's, which reads JSON with a YAML parser too: that takes a second for our templates."""
    parsed: dict[str, Any] = json.loads(text) if text.lstrip().startswith("{") else _moto_parse_template(text)
    return parsed


def clean_json(given: Any, resources: parsing.ResourceMap) -> Any:
    """moto's, which keeps a null in a list where a template has `AWS::NoValue`."""
    if isinstance(given, list):
        return [cleaned for each in given if (cleaned := clean_json(each, resources)) is not None]
    return _moto_clean_json(given, resources)


def _log_group_attribute(group: LogGroup, name: str) -> str:
    """moto's; in CloudFormation the `Arn` of a log group ends with `:*`, for its streams."""
    found = str(_moto_log_group_attribute(group, name))
    return f"{found}:*" if name == "Arn" else found


parsing.clean_json = clean_json
Stack.parse_template = staticmethod(_parse_template)
LogGroup.get_cfn_attribute = _log_group_attribute
EventBus.physical_resource_id = property(lambda bus: bus.name)  # the value of `Ref`, which moto's bus lacks
