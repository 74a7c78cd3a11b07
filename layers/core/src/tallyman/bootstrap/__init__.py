"""Wires adapters into services: the only room that imports both. Handlers start here, the command line in `people`."""

from collections.abc import Callable, Mapping
from typing import Any

from tallyman.adapters.aws.sqs import DeadLetters
from tallyman.bootstrap.adapters import Adapters
from tallyman.bootstrap.services import Services
from tallyman.errors import TallymanError
from tallyman.ports.clocks import Deadline
from tallyman.ports.reactions import Message, Outcome, OutcomeKind
from tallyman.settings import Settings
from tallyman.values import value

React = Callable[[Message], Outcome]
Sweep = Callable[[Mapping[str, Any], str, Deadline], dict[str, Any]]


@value
class Reaction:
    """The reaction to a queue: a message that can never succeed goes to the dead-letter queue with its reason."""

    function: str
    react: React
    dead_letters: DeadLetters

    def __call__(self, message: Message) -> Outcome:
        """Handle one message. Raises retryable errors, and any exception that is not a TallymanError."""
        try:
            return self.react(message)
        except TallymanError as error:
            if error.retryable:
                raise
            reason = type(error).__name__
            self.dead_letters.send(message.body, str(error), reason, self.function, message.queue)
            return Outcome(OutcomeKind.DEAD_LETTER, f"dead letter: {reason}: {error}")


def reaction(function: str, settings: Settings | None = None) -> Reaction:
    """The reaction of a function, with real adapters. Reads the policy and makes the first clients; opens no
    connection."""
    adapters = started(function, settings)
    return Reaction(function, REACTIONS[function](Services(adapters)), adapters.dead_letters)


def reconciler(settings: Settings | None = None) -> Sweep:
    """The function that functions/reconcile calls: `(event, request id, deadline)` to a report (see
    `Reconcile.run`)."""
    return sweeping(Services(started("reconcile", settings)))


def started(function: str, settings: Settings | None = None) -> Adapters:
    """Adapters with the clients that nearly every message needs; the others are made at their first operation.

    These clients are made at import, because Lambda gives a start more processor time than a message at our memory
    size.
    """
    adapters = Adapters(settings or Settings.from_environment())
    for service in ("dynamodb",) if function == "record_command" else ("dynamodb", "ecr"):
        adapters.clients.get(service)
    return adapters


def _record_push(services: Services) -> React:
    service = services.record_push
    return lambda message: Outcome.handled(service.handle(message.body, message.sent))


def _verify_digest(services: Services) -> React:
    service = services.verify_digest
    return lambda message: Outcome.handled(service.handle(message.body, message.left))


def _verify_origin(services: Services) -> React:
    service = services.verify_origin
    return lambda message: Outcome.handled(service.handle(message.body, message.left))


def _record_scan(services: Services) -> React:
    service = services.record_scan
    return lambda message: Outcome.handled(service.handle(message.body))


def _record_command(services: Services) -> React:
    service = services.record_command
    return lambda message: service.handle(message.body, message.sender, message.sent)


def _promote_image(services: Services) -> React:
    return _by_policy(services, services.promote_image.handle)


def _apply_retention(services: Services) -> React:
    return _by_policy(services, services.apply_retention.handle)


def _by_policy(services: Services, handle: Callable[[str, Deadline], Outcome]) -> React:
    """The reaction of a service that acts by the policy, which is published before its first message."""
    policy = services.policy_in_force

    def react(message: Message) -> Outcome:
        policy.ensure()
        return handle(message.body, message.left)

    return react


def _roll_out(services: Services) -> React:
    service = services.roll_out
    return lambda message: Outcome.handled(service.handle(message.body))


def sweeping(services: Services) -> Sweep:
    """The service behind functions/reconcile."""
    policy, service = services.policy_in_force, services.reconcile

    def run(event: Mapping[str, Any], request: str, left: Deadline) -> dict[str, Any]:
        policy.ensure()
        return service.run(event, request, left)

    return run


REACTIONS: Mapping[str, Callable[[Services], React]] = {
    "record_push": _record_push,
    "verify_digest": _verify_digest,
    "verify_origin": _verify_origin,
    "record_scan": _record_scan,
    "record_command": _record_command,
    "promote_image": _promote_image,
    "apply_retention": _apply_retention,
    "roll_out": _roll_out,
}
"""The functions that react to messages, each with what builds its reaction. `reconcile` runs on a schedule."""
