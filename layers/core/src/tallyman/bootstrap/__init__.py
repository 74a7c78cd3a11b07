"""Wires adapters into services: the only place that knows both. Handlers start here, the command line in `people`."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from tallyman.adapters.aws.sqs import DeadLetters
from tallyman.bootstrap.adapters import Adapters
from tallyman.bootstrap.services import SERVICES, reconcile
from tallyman.errors import TallymanError
from tallyman.ports.clocks import Deadline
from tallyman.settings import Settings
from tallyman.values import value

MARGIN = 10.0
"""Seconds of a run that work leaves for writing down how far it came."""


@value
class Reaction:
    """A service at its queue: what will never succeed goes to the dead-letter queue with its reason, and is done."""

    function: str
    service: Any
    dead_letters: DeadLetters

    def __call__(self, body: str, *handed: object) -> str:
        """The word for the log. Raises what is worth another try; anything unforeseen is."""
        try:
            outcome: str = self.service.handle(body, *handed)
            return outcome
        except TallymanError as error:
            if error.retryable:
                raise
            self.dead_letters.send(body, str(error), type(error).__name__, self.function)
            return f"dead letter: {type(error).__name__}: {error}"


def reaction(function: str, settings: Settings | None = None) -> Reaction:
    """The reaction of a function, wired for real. Reads the policy and makes its first clients; opens no connection."""
    adapters = started(function, settings)
    return Reaction(function, SERVICES[function](adapters), adapters.dead_letters)


def reconciler(settings: Settings | None = None) -> Any:
    """What functions/reconcile runs: `run(event, request id, deadline)`, wired for real."""
    return reconcile(started("reconcile", settings)).run


def started(function: str, settings: Settings | None = None) -> Adapters:
    """Adapters with the clients that nearly every message needs; the others are made at their first operation.

    Those two are better made at import: a start on Lambda has more processor than a message at our memory size.
    """
    adapters = Adapters(settings or Settings.from_environment())
    for service in ("dynamodb",) if function == "record_command" else ("dynamodb", "ecr"):
        adapters.clients.get(service)
    return adapters


def deadline(remaining_millis: Callable[[], int]) -> Deadline:
    """The seconds that work may use, from what Lambda says is left of the run."""
    return lambda: remaining_millis() / 1000 - MARGIN


def sent(timestamp: str | None) -> datetime:
    """When SQS took a message, from its attribute SentTimestamp (milliseconds since 1970)."""
    return datetime.fromtimestamp(int(timestamp or 0) / 1000, UTC)
