"""What environments run, and what was found in them."""

from collections.abc import Mapping, Sequence
from typing import Any

from tallyman.domain.history.details.base import Details
from tallyman.values import value


@value
class Released(Details):
    """Of released; also the detail of the event `Image Released`. `images`: the address in each registry. `change`:
    `promotion` or `roll_back`; `decision`: {id, policy, gates} that it rests on; `by`, `because`: of a roll-back."""

    id: str
    environment: str
    repository: str
    digest: str
    tags: Sequence[str]
    images: Mapping[str, str]
    previous: str | None
    policy: str
    at: str
    change: str = "promotion"
    decision: Mapping[str, Any] | None = None
    by: str | None = None
    because: str | None = None


@value
class RolledBack(Details):
    """Of rolled_back: the request of a person, carried out."""

    environment: str
    name: str
    request: str


@value
class RolledOut(Details):
    """Of rolled_out: a target (registry, service, part) was `moved` or `failed`, or (no target) all is `done`."""

    repository: str
    release: str
    registry: str | None
    service: str | None
    part: str | None
    outcome: str
    reason: str | None
    before: str | None = None
    image: str | None = None


@value
class Stowaway(Details):
    """Of stowaway: the environment that the image is in without a promotion."""

    environment: str
