"""Notices for people on SNS, events for programs on EventBridge."""

import re
from collections.abc import Mapping
from typing import Any

from tallyman.adapters.dynamodb.codec import to_json
from tallyman.adapters.errors.codes import CODES
from tallyman.adapters.errors.translate import translated
from tallyman.domain.permissions import permissions
from tallyman.domain.text import LINES, visible
from tallyman.errors import BadInput, Unreachable

SOURCE = "tallyman"
"""The `source` of Tallyman's own events."""

_MAX_SUBJECT = 100
_MAX_TEXT = 200_000
_NOT_PRINTABLE = r"[^\x20-\x7e]+"


class SnsNotices:
    """Publishes to the stack's topic."""

    PERMISSIONS: tuple[str, ...] = permissions("sns:Publish")

    def __init__(self, client: Any, topic: str) -> None:
        self._sns, self._topic = client, topic

    def publish(self, subject: str, text: str, attributes: Mapping[str, str]) -> None:
        """SNS takes subjects of at most 100 printable ASCII characters; a longer one is cut. Unprintable characters of
        the text become escapes, because it holds names and reasons from outside."""
        text = visible(text, LINES)
        with translated("publish a notice"):
            self._sns.publish(
                TopicArn=self._topic,
                Subject=subject_of(subject),
                Message=text.encode()[:_MAX_TEXT].decode(errors="ignore") or subject_of(subject),
                MessageAttributes={
                    name: {"DataType": "String", "StringValue": value}
                    for name, value in attributes.items()
                    if value  # SNS refuses empty ones
                },
            )

    def post(self, channel: str, message: Mapping[str, Any]) -> None:
        """Publish to the topic of a channel, `<stack>-chat-<channel>` (chat.yaml)."""
        topic = f"{self._topic.removesuffix('-notices')}-chat-{channel}"
        with translated(f"publish to the channel {channel}"):
            self._sns.publish(TopicArn=topic, Message=to_json(message, f"a message to the channel {channel}"))


class BusAnnouncements:
    """Puts events on the stack's bus."""

    PERMISSIONS: tuple[str, ...] = permissions("events:PutEvents")

    def __init__(self, client: Any, bus: str) -> None:
        self._events, self._bus = client, bus

    def emit(self, detail_type: str, detail: Mapping[str, Any]) -> None:
        """One PutEvents."""
        text = to_json(detail, f"the event '{detail_type}'")
        if len(text) > _MAX_TEXT:
            raise BadInput(f"the event '{detail_type}' is {len(text)} bytes; EventBridge takes 256 KB")
        entry = {"Source": SOURCE, "DetailType": detail_type, "Detail": text, "EventBusName": self._bus}
        put_event(self._events, entry, f"put the event '{detail_type}' on the bus {self._bus}")


def put_event(client: Any, entry: Mapping[str, str], what: str) -> None:
    """One PutEvents of one entry. An answer 200 with a failed entry is an error too."""
    with translated(what):
        answer = client.put_events(Entries=[entry])
    entries = answer.get("Entries") or []
    if answer.get("FailedEntryCount") is None and not any(entry.get("EventId") for entry in entries):
        raise Unreachable(f"{what}: the answer does not say that the event was accepted")
    if answer.get("FailedEntryCount"):
        failed: Mapping[str, str] = next((e for e in entries if e.get("ErrorCode")), {})
        kind = CODES.get(str(failed.get("ErrorCode")), Unreachable)
        raise kind(f"{what}: {failed.get('ErrorMessage', 'it was not accepted')} ({failed.get('ErrorCode')})")


def subject_of(text: str) -> str:
    """At most 100 printable ASCII characters, not empty, not starting with a space."""
    plain = re.sub(_NOT_PRINTABLE, " ", text.replace("…", "...").replace("→", "->").replace("—", "-"))
    plain = " ".join(plain.split())
    return (plain if len(plain) <= _MAX_SUBJECT else plain[: _MAX_SUBJECT - 3].rstrip() + "...") or "Tallyman"
