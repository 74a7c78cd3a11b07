"""The progress of rollouts of releases."""

from datetime import datetime
from typing import Any, ClassVar

from tallyman.domain.names import Digest
from tallyman.state.base import StateValue
from tallyman.state.items import ItemKind, Key
from tallyman.values import value


@value
class MovedService(StateValue):
    """A service in one registry's account and region that was moved, or is being moved. `before`, `moved`: JSON data by
    which the adapter moves it back and waits for it; `said`: its state in its own words; `back`: after a failure
    `done`, or why it could not be moved back."""

    SPARSE: ClassVar = frozenset({"image", "said", "back"})
    registry: str
    service: str
    part: str | None
    before: Any
    moved: Any
    since: datetime
    image: str | None = None
    said: str | None = None
    back: str | None = None

    @property
    def key(self) -> tuple[str, str, str | None]:
        """What identifies a step of a rollout: registry, service, and its container or alias."""
        return self.registry, self.service, self.part


@value
class RolloutState(StateValue):
    """A rollout. `status`: running, done or failed; `moving`: the service that is being moved; `not_before`: when the
    next registry may start; `reason`: why it failed; `said`: what it waits for; `at`: when this was written; `next_at`:
    when the next check is due; `unsteady`: services that earlier rollouts left neither moved nor moved back."""

    SPARSE: ClassVar = frozenset({"unsteady"})
    release: str
    digest: Digest
    status: str
    moving: MovedService | None = None
    moved: tuple[MovedService, ...] = ()
    not_before: datetime | None = None
    reason: str | None = None
    said: str | None = None
    at: datetime | None = None
    next_at: datetime | None = None
    unsteady: tuple[MovedService, ...] = ()

    @property
    def entries(self) -> tuple[MovedService, ...]:
        """The services that were moved, and last the one that is moving."""
        return (*self.moved, self.moving) if self.moving else self.moved


def partition(environment: str) -> str:
    """The partition of an environment's rollouts; sort key: the repository."""
    return f"RO#{environment}"


def key(environment: str, repository: str) -> Key:
    """The key of one rollout."""
    return partition(environment), repository


ROLLOUTS = ItemKind(RolloutState, "RO#<environment>", "repository", "the progress of a rollout")
