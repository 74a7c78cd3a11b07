"""Routes notices by the policy: adds the severity, and sends each to the topic and to the chat channels of its
routes."""

from collections.abc import Mapping
from typing import Any

from tallyman.domain.policy import Policy
from tallyman.domain.text import LINES, visible
from tallyman.errors import TallymanError
from tallyman.ports.messages import Channels
from tallyman.values import value

LONGEST = 3000
"""The most characters of a notice in a channel; the topic gets the whole text."""
_MARKUP = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "*": "\u2217", "_": "_\u200b", "`": "\u02cb", "]": "]\u200b"}
_NOT_MARKUP = str.maketrans(_MARKUP)
"""Names and reasons come from outside: in Slack and Teams they must not become mentions, links or emphasis."""


@value
class RoutedNotices:
    """`Notices` over the topic and the channels."""

    policy: Policy
    channels: Channels

    def publish(self, subject: str, text: str, attributes: Mapping[str, str]) -> None:
        """Send the notice once to each channel of its routes, then to the topic, with the reasons of channels that
        failed. A failed channel does not stop the others, and is not tried again."""
        rules, kind = self.policy.notices, attributes.get("kind", "")
        environment = attributes.get("environment")
        environment = None if environment == "-" else environment  # "-": a repository in no environment
        link = rules.link(environment, attributes.get("repository"))
        severity = rules.severity_of(kind)
        failed = []
        for channel in rules.channels(kind, environment):
            try:
                self.channels.post(channel, chat_message(subject, text, {**attributes, "severity": severity}, link))
            except TallymanError as error:
                failed.append(f"The channel {channel} did not get this: {error}")
        more = [*failed, f"Page: {link}"] if link else failed
        self.channels.publish(subject, "\n".join([text, *more]), {**attributes, "severity": severity.value})


def chat_message(subject: str, text: str, attributes: Mapping[str, str], link: str | None) -> dict[str, Any]:
    """A custom notification for Amazon Q Developer in chat applications. Messages about the same repository and
    environment form a thread."""
    signs = {"high": "\U0001f534", "medium": "\U0001f7e0", "low": "\U0001f535"}
    severity, place = attributes["severity"], [attributes.get("environment", ""), attributes.get("repository", "")]
    subject, text = visible(subject), visible(text, LINES)
    shown = text if len(text) <= LONGEST else f"{text[:LONGEST].rstrip()} … (the topic has all of it)"
    named = "/".join(filter(None, place))
    return {
        "version": "1.0",
        "source": "custom",
        "content": {
            "textType": "client-markdown",
            "title": f"{signs[severity]} {subject.translate(_NOT_MARKUP)}",
            "description": shown.translate(_NOT_MARKUP),
            "nextSteps": [f"Look: {link}"] if link else [],
            "keywords": [each for each in (severity, attributes.get("kind", ""), place[0]) if each],
        },
        "metadata": {
            "threadId": (named or attributes.get("kind", "tallyman"))[:200],
            "summary": subject.translate(_NOT_MARKUP)[:200],
            "eventType": attributes.get("kind", "notice"),
            "relatedResources": [named] if named else [],
        },
    }
