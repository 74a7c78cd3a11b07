"""Input and output of a function that a queue invokes: one message, and the outcome of handling it."""

from datetime import datetime
from enum import StrEnum

from tallyman.domain.text import visible
from tallyman.ports.clocks import Deadline
from tallyman.values import value


@value
class Message:
    """One message of a queue. `sender`: its SenderId, set by SQS; `sent`: when SQS received it; `left`: returns the
    seconds that are left to handle it; `queue`: the name of its queue."""

    body: str
    sender: str
    sent: datetime
    left: Deadline
    queue: str = ""


class OutcomeKind(StrEnum):
    """The result of handling a message. Each value is the name of a metric, on which alarms are set."""

    HANDLED = "Handled"
    DEAD_LETTER = "DeadLetter"
    """The message can never succeed; it is in the dead-letter queue with its reason."""
    REFUSED = "RetentionRefused"
    """A retention run removed nothing, because it would have removed too much or lacked data."""
    OVERRIDE = "Override"
    """A person opened a closed gate."""


@value
class Outcome:
    """How the handling of a message ended; `text` is one line for the log. `copied`: the bytes of the layers that were
    uploaded, in each registry; a dead letter has none."""

    kind: OutcomeKind
    text: str
    copied: int = 0

    @property
    def shown(self) -> str:
        """The text with escapes for control characters: it may hold names and reasons of other systems."""
        return visible(self.text)

    @classmethod
    def handled(cls, text: str) -> "Outcome":
        """The outcome HANDLED, with this text."""
        return cls(OutcomeKind.HANDLED, text)
