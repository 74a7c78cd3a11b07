"""Results of verifications."""

from collections.abc import Mapping, Sequence
from typing import Any

from tallyman.domain.history.details.base import Details
from tallyman.values import value


@value
class Verified(Details):
    """Details of verified. `level`: `presence` or `content`. `checks`: {name, verdict, reason, tag} of each. `request`:
    the id of the person's request. `platforms`, `labels`: those of the image."""

    verdict: str
    level: str | None = None
    checks: Sequence[Mapping[str, Any]] = ()
    request: str | None = None
    platforms: Sequence[Mapping[str, Any]] = ()
    labels: Mapping[str, str] | None = None


@value
class Unreadable(Details):
    """Details of unreadable: why the image's manifest can't be read."""

    reason: str
