"""Send hints to SQS queues, and messages that can't be handled to a dead-letter queue."""

import re
from collections.abc import Mapping
from typing import Any

from tallyman.adapters.dynamodb.codec import to_json
from tallyman.adapters.errors.translate import translated
from tallyman.domain.permissions import permissions
from tallyman.errors import BadInput
from tallyman.ports.messages import LONGEST_DELAY

MAX_BODY = 256 * 1024
"""Bytes of a message. SQS takes 1 MiB where the queue is set to it; hints are far smaller."""

_MAX_ATTRIBUTE = 1024
_NOT_ALLOWED = "[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]"
"""Characters that SQS refuses in bodies and attributes: those that XML 1.0 does not allow."""


class SqsHints:
    """Sends hints. `queues`: the URL of each queue by the name that `send` takes."""

    PERMISSIONS: tuple[str, ...] = permissions("sqs:SendMessage")

    def __init__(self, client: Any, queues: Mapping[str, str]) -> None:
        self._client, self._queues = client, dict(queues)

    def send(self, queue: str, body: Mapping[str, Any], delay: int = 0) -> None:
        if queue not in self._queues:
            raise BadInput(
                f"this function sends no hints to the queue '{queue}': TALLYMAN_{queue.upper()}_QUEUE is not set"
            )
        if not 0 <= delay <= LONGEST_DELAY:
            raise BadInput(f"a hint's delay is 0 to {LONGEST_DELAY} seconds, not {delay}")
        text = to_json(body, f"a hint for the queue '{queue}'")
        if len(text) > MAX_BODY:
            raise BadInput(f"a hint for the queue '{queue}' is {len(text)} bytes; at most {MAX_BODY} fit")
        with translated(f"send a hint to the queue '{queue}'"):
            self._client.send_message(QueueUrl=self._queues[queue], MessageBody=text, DelaySeconds=delay)


class DeadLetters:
    """The dead-letter queue of this function's own queue, for messages that no retry can handle."""

    PERMISSIONS: tuple[str, ...] = permissions("sqs:SendMessage")

    def __init__(self, client: Any, url: str) -> None:
        self._client, self._url = client, url

    def send(self, body: str, reason: str, error: str, function: str, source: str = "") -> None:
        """Send the original body with attributes that say why it can't be handled: `reason` in words, `error` the kind
        of error, `function` which function failed, `source` the name of the queue that the message came from."""
        attributes = {"Reason": reason, "Error": error, "Function": function} | ({"Source": source} if source else {})
        with translated("send a message to the dead-letter queue"):
            self._client.send_message(
                QueueUrl=self._url,
                MessageBody=re.sub(_NOT_ALLOWED, "\ufffd", body) or " ",
                MessageAttributes={
                    name: {"DataType": "String", "StringValue": _attribute(value)} for name, value in attributes.items()
                },
            )


def _attribute(value: str) -> str:
    """The value as SQS accepts it: allowed characters only, not empty, at most 1,024 bytes."""
    text = re.sub(_NOT_ALLOWED, "\ufffd", value).strip()
    return text.encode()[:_MAX_ATTRIBUTE].decode(errors="ignore") or "(none)"
