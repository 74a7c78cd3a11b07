"""Quotas on request: rates of operations, and how many images and repositories there may be.

Off by default. A rate is a token bucket per account, region and operation that holds one second's worth, as AWS
throttles its APIs; `/v2/` counts against the operation that it stands for (every manifest PUT is a PutImage).
"""

import threading
from collections.abc import Callable, Mapping
from datetime import datetime

from tallyman.domain.names import EcrRegistry
from tallyman_local.ecr import errors, model
from tallyman_local.ecr.errors import EcrError

#: Counts rather than rates.
IMAGES, REPOSITORIES = "ImagesPerRepository", "RepositoriesPerRegistry"


class BadQuota(ValueError):
    """A quota of nothing that has one, or no number above zero."""


def names() -> list[str]:
    """Everything that can have a quota."""
    return sorted([*model.service().operation_names, IMAGES, REPOSITORIES])


class Quotas:
    """`limits` maps a name to calls per second, or to a count. Raises BadQuota for a name or number that is none."""

    def __init__(self, limits: Mapping[str, float], clock: Callable[[], datetime]) -> None:
        for name, limit in limits.items():
            if name not in names():
                raise BadQuota(f"{name}: no operation of ECR's API, nor {IMAGES} or {REPOSITORIES}")
            if not limit > 0:
                raise BadQuota(f"{name}: expected a number above 0, not {limit:g}")
        self._limits, self._clock = dict(limits), clock
        self._buckets: dict[tuple[EcrRegistry, str], tuple[float, float]] = {}
        self._lock = threading.Lock()

    def spend(self, registry: EcrRegistry, operation: str) -> None:
        """Count one call. Raises ThrottlingException."""
        if (rate := self._limits.get(operation)) is None:
            return
        most, now = max(1.0, rate), self._clock().timestamp()
        with self._lock:
            left, at = self._buckets.get((registry, operation), (most, now))
            left = min(most, left + max(0.0, now - at) * rate)
            throttled = left < 1
            self._buckets[registry, operation] = (left if throttled else left - 1, now)
        if throttled:
            raise errors.throttled()

    def count(self, name: str, present: Callable[[], int], what: str) -> None:
        """Raises LimitExceededException if as many as the quota are present; asks only where there is one."""
        limit = self._limits.get(name)
        if limit is not None and present() >= limit:
            raise EcrError("LimitExceededException", f"{what} has reached the maximum of {limit:g}")
