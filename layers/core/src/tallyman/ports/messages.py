"""Messages: hints between functions, dead letters, notices for people, events for programs; and who sent a command."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from tallyman.domain.events.letters import Letter
from tallyman.domain.names import EcrRegistry
from tallyman.values import value

LONGEST_DELAY = 900
"""The most seconds for which SQS holds a message back."""


class Hints(Protocol):
    """The queues for hints between the functions."""

    def send(self, queue: str, body: Mapping[str, Any], delay: int = 0) -> None:
        """Send a hint. `queue`: verify, origin, promote, retention, commands or roll_out; `delay`: seconds, at most
        LONGEST_DELAY."""


class LetterReader(Protocol):
    """The stack's dead-letter queues, for reading."""

    def opened(self, queue: str, most: int = 1000) -> AbstractContextManager[Iterator[Letter]]:
        """The letters of `queue`, one of BOXES: each once, at most `most`. Letters that were read are invisible to
        others until the block ends, or for a minute. One call per ten letters."""


class Letters(LetterReader, Protocol):
    """The dead-letter queues, for moving letters."""

    def send_again(self, letter: Letter) -> None:
        """Send the body to the queue that the letter came from. Raises BadInput where that is not known."""

    def remove(self, letter: Letter) -> None:
        """Remove the letter from its dead-letter queue, within the block of `opened`."""


class Notices(Protocol):
    """Notices for people, on the stack's SNS topic."""

    def publish(self, subject: str, text: str, attributes: Mapping[str, str]) -> None:
        """Publish a notice. `attributes`: those of the SNS message, on which subscriptions can filter."""


class Channels(Notices, Protocol):
    """Notices, and messages to chat channels."""

    def post(self, channel: str, message: Mapping[str, Any]) -> None:
        """Send a message in the form that the chat takes. Raises NotFound: no such channel."""


class Announcements(Protocol):
    """Events for programs, on the stack's bus."""

    def emit(self, detail_type: str, detail: Mapping[str, Any]) -> None:
        """Put an event with this detail-type on the bus."""


@value
class Way:
    """The rule that forwards events out of a registry's account. `enabled` None: the rule does not exist.
    `undelivered`: the number of events that it could not forward."""

    rule: str
    enabled: bool | None
    undelivered: int


class RegistryBuses(Protocol):
    """The default event buses, on which ECR puts the events of its registries."""

    def send(self, registry: EcrRegistry, nonce: str) -> None:
        """Put a test event on the bus of the registry's account and region."""

    def way(self, registry: EcrRegistry) -> Way:
        """The state of the rule that forwards the registry's events."""


class People(Protocol):
    """The sender of a command, as SQS reports it."""

    def principal(self, sender_id: str, allowed: Sequence[str]) -> str | None:
        """The entry of `allowed` (`role/NAME`, `user/NAME`) to which the SenderId (`AROA…:session`) belongs; None: to
        none of them."""
