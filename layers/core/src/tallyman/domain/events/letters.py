"""Letters: messages in the stack's dead-letter queues, why they are there, and the queue that they came from."""

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime

from tallyman.domain.events.commands import COMMANDS, LETTERS
from tallyman.domain.images.documents import loads
from tallyman.values import value

FUNCTIONS: Mapping[str, str] = {
    "push": "record_push",
    "verify": "verify_digest",
    "origin": "verify_origin",
    "scan": "record_scan",
    "commands": "record_command",
    "promote": "promote_image",
    "retention": "apply_retention",
    "roll-out": "roll_out",
}
"""The stack's queues, by their names without the stack's, and the function that each feeds."""
UNDELIVERED = "undelivered"
"""The queue of the events that EventBridge could not deliver to one of the others."""
BOXES = (*FUNCTIONS, UNDELIVERED)
"""What is called a queue in commands about letters: its dead-letter queue, or that of undelivered events."""


@value
class Letter:
    """One letter. `queue` is one of BOXES; `source` the queue that it came from, None where nothing says that.

    `reason`, `error`, `function`: why it can't be handled, of letters that a function put there; an undelivered event
    has EventBridge's words. None: SQS moved it there, after a function failed on it again and again. `sent`: when it
    became a letter, or of one that SQS moved: when the message was first sent. `handle`: what SQS removes it by.
    """

    id: str
    queue: str
    body: str
    sent: datetime
    reason: str | None = None
    error: str | None = None
    function: str | None = None
    source: str | None = None
    handle: str = field(default="", repr=False)

    @property
    def command(self) -> Mapping[str, object] | None:
        """The person's command that it holds, None where it is none. SQS's word for who sent it is lost with a replay,
        and that is what a command is checked by: it has to be sent again by the person."""
        if self.source != "commands":
            return None
        try:
            found = loads(self.body)
        except ValueError:
            return {}
        known = isinstance(found, dict) and found.get("command") in (*COMMANDS, *LETTERS)
        return found if known else {}


def source_of(
    queue: str, stack: str, named: str | None = None, arn: str | None = None, function: str | None = None
) -> str | None:
    """The queue that a letter came from: the one that the letter names (`named`), or SQS or EventBridge (`arn`), or
    the function's, or the one that the dead-letter queue belongs to."""
    names = [named, (arn or "").rpartition(":")[2], next((q for q, f in FUNCTIONS.items() if f == function), None)]
    for name in [*(name.removeprefix(f"{stack}-") for name in names if name), queue]:
        if name in FUNCTIONS:
            return name
    return None
