"""What is sent and announced, to ourselves, to people and to programs; and who sent something to us."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from tallyman.domain.names import Registry
from tallyman.values import value


class Hints(Protocol):
    """Queues of hints between our own reactions."""

    def send(self, queue: str, body: Mapping[str, Any], delay: int = 0) -> None:
        """`queue`: verify, promote, commands or retention; `delay`: seconds, at most 900."""


class Notices(Protocol):
    """Words for people, on the stack's topic."""

    def publish(self, subject: str, text: str, attributes: Mapping[str, str]) -> None: ...


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

    def send(self, registry: Registry, nonce: str) -> None:
        """Puts a test event there."""

    def way(self, registry: Registry) -> Way: ...


class People(Protocol):
    """Who sent a command, by what SQS itself says."""

    def principal(self, sender_id: str, allowed: Sequence[str]) -> str | None:
        """The entry of `allowed` (`role/NAME`, `user/NAME`) that SenderId (`AROA…:session`) belongs to, or None."""
