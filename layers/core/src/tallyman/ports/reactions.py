"""What a function is given, and what it answers: one message of a queue, and the outcome of handling it."""

from datetime import datetime
from enum import StrEnum

from tallyman.domain.text import visible
from tallyman.ports.clocks import Deadline
from tallyman.values import value


@value
class Message:
    """One message of a queue. `sender`: SQS's SenderId, set by SQS itself; `sent`: when SQS took it; `left`: how many
    seconds work on it may still take; `queue`: the name of the queue that it came from."""

    body: str
    sender: str
    sent: datetime
    left: Deadline
    queue: str = ""


class OutcomeKind(StrEnum):
    """What became of a message; metrics and alarms go by it. The value is the name of a metric."""

    HANDLED = "Handled"
    DEAD_LETTER = "DeadLetter"
    """It can never succeed, and is in the dead-letter queue with its reason."""
    REFUSED = "RetentionRefused"
    """A retention run that removed nothing, because it would have removed too much or knew too little."""
    OVERRIDE = "Override"
    """A person opened a gate that was closed."""


@value
class Outcome:
    """How the handling of a message ended; `text` is one line for the log."""

    kind: OutcomeKind
    text: str

    @property
    def shown(self) -> str:
        """The text with control characters shown as escapes: it may hold names and reasons from outside."""
        return visible(self.text)

    @classmethod
    def handled(cls, text: str) -> "Outcome":
        """The message was handled; nothing more is counted."""
        return cls(OutcomeKind.HANDLED, text)
