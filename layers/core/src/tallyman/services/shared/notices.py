"""Notices by the policy: each gets its severity, and goes to the chat channels whose routes take it."""

from collections.abc import Mapping
from typing import Any

from tallyman.domain.policy import Policy
from tallyman.errors import TallymanError
from tallyman.ports.messages import Channels
from tallyman.values import value

LONGEST = 3000
"""Characters of a notice that a channel gets; the topic gets all of it."""
_MARKUP = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "*": "\u2217", "_": "_\u200b", "`": "\u02cb", "]": "]\u200b"}
_NOT_MARKUP = str.maketrans(_MARKUP)
"""Names and reasons come from outside: in Slack and Teams they are text, no mention, no link, no emphasis."""


@value
class RoutedNotices:
    """`Notices` over the topic and the channels."""

    policy: Policy
    channels: Channels

    def publish(self, subject: str, text: str, attributes: Mapping[str, str]) -> None:
        """To each channel once, then to the topic, which also gets what a channel did not: with the reason. A channel
        that fails keeps the notice from nobody else, and is not tried again."""
        rules, kind = self.policy.notices, attributes.get("kind", "")
        environment = attributes.get("environment")
        environment = None if environment == "-" else environment  # a sweep of a place in no environment
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
    """The custom notification that Amazon Q Developer in chat applications takes. Messages of one repository and
    environment make a thread."""
    signs = {"high": "\U0001f534", "medium": "\U0001f7e0", "low": "\U0001f535"}
    severity, place = attributes["severity"], [attributes.get("environment", ""), attributes.get("repository", "")]
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
