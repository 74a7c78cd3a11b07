"""What runs images, and moving it to others, in one account and region."""

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from tallyman.domain.names import EcrRegistry
from tallyman.domain.policy import Service, UsageRules
from tallyman.domain.usage import Use
from tallyman.values import value

if TYPE_CHECKING:  # only retention uses it, and its import is that of all of `domain.retention`
    from tallyman.domain.retention.inputs import Reading


class Usage(Protocol):
    """What runs images, in one account and region."""

    def running(self, registry: EcrRegistry) -> Iterator[Use]:
        """Everything that runs an image now, wherever the image comes from. Raises where a source can't be read: what
        it would have reported is then not known."""


class UsageReadings(Protocol):
    """Everything that could need an image, in one account and region."""

    def readings(self, registry: EcrRegistry, at: datetime, rules: UsageRules) -> "list[Reading]":
        """One for each source, read now (`at`); what can't be read is a reading with an error, never an exception.
        `rules`: which clusters are left out."""


@value
class Moving:
    """How a service that was moved is doing: `done` None: not known yet. `reason`: in the service's own words."""

    done: bool | None
    reason: str = ""


class RollOuts(Protocol):
    """Moving what runs, in one account and region. Each method may be repeated."""

    def current(self, registry: EcrRegistry, service: Service) -> str:
        """What it runs now, as `move` and `back` take it: a task definition, or a version of a function."""

    def architecture(self, registry: EcrRegistry, service: Service) -> str | None:
        """The one architecture (amd64, arm64) that it takes; None: it takes an index."""

    def move(self, registry: EcrRegistry, service: Service, image: str) -> str:
        """Lets it run the image, by its address with a digest; what `settled` is asked about."""

    def settled(self, registry: EcrRegistry, service: Service, moved: str) -> Moving: ...

    def back(self, registry: EcrRegistry, service: Service, before: str) -> None:
        """Lets it run again what `current` returned."""
