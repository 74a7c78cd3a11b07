"""What the hub noted about itself."""

from typing import ClassVar

from tallyman.domain.history.details.base import Details
from tallyman.domain.policy import ANY_ROOTS
from tallyman.values import value


@value
class Missed(Details):
    """Of missed: how many events of a repository (`<registry>/<name>`) were never delivered."""

    count: int
    repository: str


@value
class InForce(Details):
    """Of policy: the digest of the policy that came into force, and the SHA-256 of the trust roots beside it (`any`: an
    earlier version did not say)."""

    SPARSE: ClassVar = frozenset({"roots"})
    policy: str
    roots: str | None = ANY_ROOTS
