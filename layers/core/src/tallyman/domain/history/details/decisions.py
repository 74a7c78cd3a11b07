"""What was decided about an image, and what its targets said."""

from collections.abc import Mapping, Sequence
from typing import Any

from tallyman.domain.history.details.base import Details
from tallyman.values import value


@value
class Destination(Details):
    """Where a fact of a promotion leads, whatever its kind: the environment and the canonical repository."""

    target: str | None = None
    name: str | None = None


@value
class Decided(Details):
    """Of decided. `gates`: {name, verdict, reason, facts} of each. `policy`: the digest of the policy. `until`: when
    time alone may change it."""

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
        """Repository, source and target: the promotion that it is about."""
        return self.name, self.source, self.target

    @property
    def deciding(self) -> Mapping[str, Any] | None:
        """The first gate that failed, else the first that waits."""
        return next((g for v in ("failed", "waiting") for g in self.gates if g["verdict"] == v), None)


@value
class TargetSeen(Details):
    """Of target_seen: by registry {exists, immutable, mutable_tags, tags: {tag: digest or None}, error}."""

    target: str
    name: str
    registries: Mapping[str, Mapping[str, Any]]
