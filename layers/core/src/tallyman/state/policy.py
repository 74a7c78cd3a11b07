"""The policy in force: the one that the functions were deployed with."""

from datetime import datetime
from typing import ClassVar

from tallyman.domain.names import Digest
from tallyman.domain.policy import ANY_ROOTS
from tallyman.state.base import StateValue
from tallyman.state.items import ItemKind, Key
from tallyman.values import value

KEY: Key = ("POLICY", "in-force")


@value
class PolicyInForce(StateValue):
    """The policy's digest in the archive, since when it is in force, and the SHA-256 of the trust roots beside it
    (`any`: an earlier version did not record it)."""

    SPARSE: ClassVar = frozenset({"roots"})
    digest: Digest
    at: datetime
    roots: str | None = ANY_ROOTS


POLICY = ItemKind(PolicyInForce, "POLICY", "in-force", "the policy in force")
