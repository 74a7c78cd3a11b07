"""Decisions about an image, and the answers of its targets."""

from collections.abc import Mapping, Sequence
from typing import Any

from tallyman.domain.history.details.base import Details
from tallyman.values import value


@value
class Destination(Details):
    """The target environment and canonical repository in any fact of a promotion."""

    target: str | None = None
    name: str | None = None


@value
class Decided(Details):
    """Details of decided. `gates`: {name, verdict, reason, facts} of each. `policy`: the digest of the policy. `until`:
    when time alone may change the decision."""

    target: str
    source: str
    name: str
    tags: Sequence[str]
    verdict: str
    policy: str
    until: str | None
    gates: Sequence[Mapping[str, Any]]

    @property
    def candidate(self) -> tuple[str, str, str]:
        """Repository, source and target of the promotion."""
        return self.name, self.source, self.target

    @property
    def deciding(self) -> Mapping[str, Any] | None:
        """The first gate that failed, else the first that waits; None: none does."""
        return next((g for v in ("failed", "waiting") for g in self.gates if g["verdict"] == v), None)


@value
class TargetSeen(Details):
    """Details of target_seen. `registries`: by registry {exists, immutable, mutable_tags, tags: {tag: digest or None},
    error}."""

    target: str
    name: str
    registries: Mapping[str, Mapping[str, Any]]
