"""What is sent and announced, to ourselves, to people and to programs; and who sent something to us."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from tallyman.domain.events.letters import Letter
from tallyman.domain.names import EcrRegistry
from tallyman.values import value


class Hints(Protocol):
    """Queues of hints between our own reactions."""

    def send(self, queue: str, body: Mapping[str, Any], delay: int = 0) -> None:
        """`queue`: verify, origin, promote, commands or retention; `delay`: seconds, at most 900."""


class LetterReader(Protocol):
    """The stack's dead-letter queues, for those who only look."""

    def opened(self, queue: str, most: int = 1000) -> AbstractContextManager[Iterator[Letter]]:
        """The letters of one of BOXES, each once, at most `most`. Nobody else sees those that were read until the
        block ends, or for a minute. A call for ten letters."""


class Letters(LetterReader, Protocol):
    """The dead-letter queues, for whoever moves what is in them."""

    def send_again(self, letter: Letter) -> None:
        """Sends the body to the queue that the letter came from. Raises BadInput where nothing says which."""

    def remove(self, letter: Letter) -> None:
        """Removes it from its dead-letter queue, while that is open."""


class Notices(Protocol):
    """Words for people, on the stack's topic."""

    def publish(self, subject: str, text: str, attributes: Mapping[str, str]) -> None: ...


class Channels(Notices, Protocol):
    """The same, and chat channels beside it."""

    def post(self, channel: str, message: Mapping[str, Any]) -> None:
        """A message in the form that the chat takes. NotFound where there is no such channel."""


class Announcements(Protocol):
    """Events for programs, on the stack's bus."""

    def emit(self, detail_type: str, detail: Mapping[str, Any]) -> None: ...


@value
class Way:
    """How events leave a registry's account. `enabled` None: the rule is not there. `undelivered`: events that could
    not be sent on."""

    rule: str
    enabled: bool | None
    undelivered: int


class RegistryBuses(Protocol):
    """The default buses, on which ECR puts the events of its registries."""

    def send(self, registry: EcrRegistry, nonce: str) -> None:
        """Puts a test event there."""

    def way(self, registry: EcrRegistry) -> Way: ...


class People(Protocol):
    """Who sent a command, by what SQS itself says."""

    def principal(self, sender_id: str, allowed: Sequence[str]) -> str | None:
        """The entry of `allowed` (`role/NAME`, `user/NAME`) that SenderId (`AROA…:session`) belongs to, or None."""
