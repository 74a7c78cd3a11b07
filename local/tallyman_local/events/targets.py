"""Targets of EventBridge's rules: their input, and the queues among them."""

import copy
import json
from typing import Any

from moto.events.models import EventTemplateParser, Rule
from moto.sqs.models import Queue, sqs_backends

from tallyman_local.ecr.policies import allows, statements
from tallyman_local.moto import calls as moto_calls

Event = dict[str, Any]
Json = dict[str, Any]


class Undeliverable(Exception):
    """A target did not accept an event. `code`, `message`: EventBridge's error for the dead letter."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


def send(arn: str, body: str, rule: Rule, attributes: dict[str, str] | None = None) -> None:
    """Send to a queue as EventBridge does. Raises Undeliverable where there is no queue, or its policy does not allow
    the rule."""
    _, _, _, region, account, name = arn.split(":", 5)
    queue: Queue | None = sqs_backends[account][region].queues.get(name)
    if queue is None:
        raise Undeliverable("RESOURCE_NOT_FOUND", f"Queue {arn} does not exist.")
    context = {"aws:SourceArn": rule.arn, "aws:SourceAccount": rule.account_id}
    service = "events.amazonaws.com"
    if not allows(statements(queue.policy), action="sqs:SendMessage", resource=arn, service=service, context=context):
        raise Undeliverable("NO_PERMISSIONS", f"The policy of {arn} does not let rule {rule.arn} send to it.")
    token = moto_calls.SENDER.set("AIDAEVENTBRIDGELOCAL")
    try:
        sqs_backends[account][region].send_message(
            name,
            body,
            message_attributes={
                key: {"DataType": "String", "StringValue": value} for key, value in (attributes or {}).items()
            },
        )
    finally:
        moto_calls.SENDER.reset(token)


def input_of(target: Json, event: Event) -> str:
    """The target's input: the event, a part of it, a constant, or the output of a transformer."""
    if "Input" in target:
        return str(target["Input"])
    if path := target.get("InputPath"):
        part: Any = event
        for key in path.removeprefix("$").strip(".").split("."):
            part = part.get(key) if key else part
        return json.dumps(part)
    if transformer := target.get("InputTransformer"):
        made = EventTemplateParser.parse(
            input_template=transformer.get("InputTemplate"),
            input_paths_map=transformer.get("InputPathsMap", {}),
            event={**copy.deepcopy(event), "ingestion-time": event["time"]},
        )
        return made if isinstance(made, str) else json.dumps(made)
    return json.dumps(event)
