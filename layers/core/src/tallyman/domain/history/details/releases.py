"""Releases and rollouts of environments, and stowaways in them."""

from collections.abc import Mapping, Sequence
from typing import Any

from tallyman.domain.history.details.base import Details
from tallyman.values import value


@value
class Released(Details):
    """Details of released; also the detail of the event `Image Released`. `images`: the address by digest in each
    registry. `change`: `promotion` or `roll_back`; `decision`: {id, policy, gates} of the decision that allowed it;
    `by`, `because`: who asked for a roll-back, and why."""

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
    """Details of rolled_back: a person's request to roll back was carried out. `request`: its id."""

    environment: str
    name: str
    request: str


@value
class RolledOut(Details):
    """Details of rolled_out. `outcome`: a service (registry, service, and its part) was `moved` or `failed`; `done`
    without a service: the rollout is finished. `release`: the id of the release."""

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
    """Details of stowaway: the environment that holds the image without a promotion."""

    environment: str
