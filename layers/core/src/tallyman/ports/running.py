"""Usage of images, and rollouts, in one account and region."""

from datetime import datetime
from typing import Protocol

from tallyman.domain.names import EcrRegistry
from tallyman.domain.policy import Service, UsageRules
from tallyman.domain.usage import Reading
from tallyman.values import value


class UsageReadings(Protocol):
    """Everything that may need an image, in one account and region."""

    def readings(self, registry: EcrRegistry, at: datetime, rules: UsageRules) -> list[Reading]:
        """A reading of each source, taken now (`at`); a source that can't be read gives a reading with an error, never
        an exception. `rules`: which clusters are left out."""


@value
class Moving:
    """The state of a service that is being moved. `done` None: not known yet; `reason`: in the service's own words."""

    done: bool | None
    reason: str = ""


class RollOuts(Protocol):
    """Moves services to another image, in one account and region. Each method may be repeated."""

    def current(self, registry: EcrRegistry, service: Service) -> str:
        """What the service runs now, as `back` takes it: a task definition, or a version of a function."""

    def architecture(self, registry: EcrRegistry, service: Service) -> str | None:
        """The only architecture (amd64, arm64) that the service can run; None: it takes an index."""

    def move(self, registry: EcrRegistry, service: Service, image: str) -> str:
        """Make the service run the image, an address with a digest; return what `settled` takes as `moved`."""

    def settled(self, registry: EcrRegistry, service: Service, moved: str) -> Moving:
        """The state of the service after `move` returned `moved`."""

    def back(self, registry: EcrRegistry, service: Service, before: str) -> None:
        """Make the service run again what `current` returned."""
