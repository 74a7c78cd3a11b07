"""Optional quotas: rates of operations, and the number of images and repositories.

Off by default. A rate is a token bucket per account, region and operation that holds the calls of one second, as AWS
throttles its APIs. Requests to `/v2/` count as the operation that they correspond to (each PUT of a manifest is a
PutImage).
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
    """A quota with an unknown name, or without a number above zero."""


def names() -> list[str]:
    """The names of all quotas."""
    return sorted([*model.service().operation_names, IMAGES, REPOSITORIES])


class Quotas:
    """`limits`: calls per second, or a count, by name. Raises BadQuota for an unknown name or an invalid number."""

    def __init__(self, limits: Mapping[str, float], clock: Callable[[], datetime]) -> None:
        for name, limit in limits.items():
            if name not in names():
                raise BadQuota(f"{name}: expected an operation of ECR's API, {IMAGES} or {REPOSITORIES}")
            if not limit > 0:
                raise BadQuota(f"{name}: expected a number above 0, not {limit:g}")
        self._limits, self._clock = dict(limits), clock
        self._buckets: dict[tuple[EcrRegistry, str], tuple[float, float]] = {}
        self._lock = threading.Lock()

    def spend(self, registry: EcrRegistry, operation: str) -> None:
        """Count one call. Raises ThrottlingException beyond the rate."""
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
        """Raise LimitExceededException where the quota is used up. `present`, the number there is, is called only
        where there is such a quota."""
        limit = self._limits.get(name)
        if limit is not None and present() >= limit:
            raise EcrError("LimitExceededException", f"{what} has reached the maximum of {limit:g}")
