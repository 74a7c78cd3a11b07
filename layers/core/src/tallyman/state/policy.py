"""The policy in force: the one that the functions were deployed with."""

from collections.abc import Mapping
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
    (`any`: an earlier version did not record it). `places`: the repositories of each environment, as text; `renamed`:
    the name that environments got which an earlier policy called otherwise."""

    SPARSE: ClassVar = frozenset({"roots", "places", "renamed"})
    digest: Digest
    at: datetime
    roots: str | None = ANY_ROOTS
    places: Mapping[str, str] | None = None
    renamed: Mapping[str, str] | None = None

    def former(self, environment: str) -> tuple[str, ...]:
        """The names that the environment had before, at any time."""
        found: dict[str, None] = {}
        waiting = [environment]
        while waiting:
            now = waiting.pop()
            fresh = [old for old, new in (self.renamed or {}).items() if new == now and old not in found]
            found.update(dict.fromkeys(fresh))
            waiting += fresh
        return tuple(name for name in found if name != environment)


POLICY = ItemKind(PolicyInForce, "POLICY", "in-force", "the policy in force")
