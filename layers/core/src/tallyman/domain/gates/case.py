"""What a gate gets and what it answers."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from datetime import datetime
from typing import Any, NamedTuple

from tallyman.domain.history.details.changes import Change, children_of
from tallyman.domain.history.details.commands import Said
from tallyman.domain.history.details.referrers import Referred
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.names import Digest, Repository
from tallyman.domain.policy import Environment, Policy, Promotion
from tallyman.domain.policy.shapes import Shape
from tallyman.values import value

PASSED, WAITING, FAILED = "passed", "waiting", "failed"


@value
class GateResult:
    """`reason` is for people; `facts` are plain JSON data that the verdict rests on; `until`: when time alone may
    change a `waiting`; `held`: worth telling people (a soak), not just a fact that has not come in yet."""

    name: str
    verdict: str
    reason: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    until: datetime | None = None
    held: bool = False


@value
class Freeze:
    """A freeze in force: of one repository (canonical name), or (None) of the whole environment."""

    repository: str | None
    at: datetime
    by: str
    because: str


@value
class Released:
    """What an environment runs of a repository. `first_push`: of the digest, wherever; None: not known."""

    digest: Digest
    tags: tuple[str, ...]
    first_push: datetime | None


@value
class ImageFacts:
    """All that is known of an image: the facts of its digest, oldest first; those of each platform image beneath it
    (`platforms`; empty where it is not an index) and of each index beneath it (`indexes`); what tags point to now
    (`pointing`, None: to nothing).

    `freezes`: those in force, by environment; `released`: by (environment, canonical name), None: nothing yet. An
    environment that is not among them was not asked, and a gate that needs the answer stays closed. `gone`: referrers
    that were removed since, as (repository, digest). `findings`: whole lists of findings from the archive (rows, see
    `domain/images/findings.py`), by the digest of their object, where a fact holds only a part.
    """

    digest: Digest
    facts: tuple[Fact, ...]
    platforms: Mapping[Digest, tuple[Fact, ...]] = field(default_factory=dict)
    pointing: Mapping[tuple[Repository, str], Digest | None] = field(default_factory=dict)
    indexes: Mapping[Digest, tuple[Fact, ...]] = field(default_factory=dict)
    freezes: Mapping[str, tuple[Freeze, ...]] = field(default_factory=dict)
    released: Mapping[tuple[str, str], Released | None] = field(default_factory=dict)
    gone: frozenset[tuple[str, str]] = frozenset()
    findings: Mapping[str, tuple[Mapping[str, Any], ...]] = field(default_factory=dict)

    def of(self, *kinds: Kind) -> Iterator[Fact]:
        """The facts of these kinds, oldest first."""
        return (fact for fact in self.facts if fact.kind in kinds)

    def still_refers(self, fact: Fact) -> bool:
        """Whether the fact's referrer is still where it was."""
        return (Referred.parse(fact).repository, Referred.parse(fact).referrer) not in self.gone

    @property
    def is_index(self) -> bool | None:
        """Whether the digest is an index; None where no fact says."""
        for fact in self.facts:
            if fact.kind in (Kind.PUSHED, Kind.REPLICATED) and (index := Change.parse(fact).index) is not None:
                return index
        return None

    @property
    def platform_names(self) -> dict[Digest, str]:
        """`linux/arm64` of each platform image, by digest."""
        return {child.digest: child.platform for child in children_of(self.facts) if child.platform}


@value
class Case:
    """One image that may be promoted to one environment. `repository`: the name in the policy's words, before renaming.

    `promoted_at`: when all its tags were promoted there, None: they were not.
    """

    policy: Policy
    promotion: Promotion
    repository: str
    image: ImageFacts
    tags: tuple[str, ...]
    now: datetime
    promoted_at: datetime | None = None

    @property
    def source(self) -> Environment:
        return self.policy.environment(self.promotion.source)

    @property
    def destination(self) -> Environment:
        return self.policy.environment(self.promotion.target)

    @property
    def source_repositories(self) -> tuple[Repository, ...]:
        """Where the image may come from, in the policy's order."""
        name = self.source.repository_name(self.repository)
        return tuple(Repository(registry, name) for registry in self.source.registries)

    def said_here(self, fact: Fact) -> bool:
        """Whether a person said it about this candidate. A refused command never counts."""
        said = Said.parse(fact)
        return (said.target, said.name) == (self.destination.name, self.repository) and not said.refused


class Gate(NamedTuple):
    """A gate that a policy may name: how it is read, in one sentence what it asks for, how it judges.

    `overridable`: whether a promotion may list it under `overridable`.
    """

    shape: Shape[Any]
    description: str
    judge: Callable[[Any, Case], GateResult]
    overridable: bool = True
