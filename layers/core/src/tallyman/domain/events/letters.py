"""Letters: messages in the stack's dead-letter queues, with the reason and the queue that they came from."""

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime

from tallyman.domain.events.commands import COMMANDS
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
"""The function that each of the stack's queues invokes, by the queue's name without the stack's."""
UNDELIVERED = "undelivered"
"""The queue of events that EventBridge could not deliver to one of the others."""
BOXES = (*FUNCTIONS, UNDELIVERED)
"""The names of queues in commands about letters: each stands for its dead-letter queue, the last for itself."""


@value
class Letter:
    """One letter. `queue` is one of BOXES; `source`: the queue that the message came from; None: not known.

    `reason`, `error`, `function`: why the message can't be handled, as the function that put it there stated; for an
    undelivered event, as EventBridge stated. None: SQS moved it, after a function failed on it several times. `sent`:
    when it became a letter; where SQS moved it, when the message was first sent. `handle`: SQS's receipt handle, which
    removes it.
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
        """The person's command that the letter holds ({}: one that can't be read); None: it came from another queue.
        A replay would lose the SenderId by which a command is checked: its sender has to send it again."""
        if self.source != "commands":
            return None
        try:
            found = loads(self.body)
        except ValueError:
            return {}
        known = isinstance(found, dict) and found.get("command") in COMMANDS
        return found if known else {}


def source_of(
    queue: str, stack: str, named: str | None = None, arn: str | None = None, function: str | None = None
) -> str | None:
    """The queue that a letter came from; None: not known. The first of these that is a queue of the stack: the one that
    the letter names (`named`), the one that SQS or EventBridge names (`arn`), the one that invokes `function`, and the
    one that the dead-letter queue belongs to."""
    names = [named, (arn or "").rpartition(":")[2], next((q for q, f in FUNCTIONS.items() if f == function), None)]
    for name in [*(name.removeprefix(f"{stack}-") for name in names if name), queue]:
        if name in FUNCTIONS:
            return name
    return None
