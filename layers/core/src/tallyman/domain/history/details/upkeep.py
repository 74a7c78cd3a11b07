"""Facts about the hub itself: missed events, the policy in force."""

from typing import ClassVar

from tallyman.domain.history.details.base import Details
from tallyman.domain.policy import ANY_ROOTS
from tallyman.values import value


@value
class Missed(Details):
    """Details of missed: how many events of a repository (`<registry>/<name>`) were never delivered."""

    count: int
    repository: str


@value
class InForce(Details):
    """Details of policy: the digest of the policy that came into force, and the SHA-256 of the trust roots beside it
    (`any`: an earlier version did not record it)."""

    SPARSE: ClassVar = frozenset({"roots"})
    policy: str
    roots: str | None = ANY_ROOTS
