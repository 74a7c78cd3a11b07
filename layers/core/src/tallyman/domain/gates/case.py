"""Input and output of gates: a candidate with its facts, and the gate's result."""

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
    """The verdict of one gate. `reason` is for people; `facts`: the JSON data that the verdict was made from; `until`:
    when time alone may change the verdict; `held`: a notice is sent (as for a soak); False: a fact is just not there
    yet."""

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
    """The release of a repository in an environment. `first_push`: the digest's first push to any environment; None:
    not known."""

    digest: Digest
    tags: tuple[str, ...]
    first_push: datetime | None


@value
class ImageFacts:
    """All that is known about an image. `facts`: those of its digest, oldest first; `platforms`, `indexes`: those of
    each platform image and each index beneath it, by digest; `pointing`: the digest that each tag points to now, None:
    none.

    `freezes`: those in force, by environment; `released`: by (environment, canonical name), None: nothing yet. Where an
    environment is missing in them, its state was not read, and a gate that needs it stays closed. `gone`: removed
    referrers, as (repository, digest). `findings`: complete lists of findings from the archive (rows, see
    `domain/images/findings.py`), by the digest of their object, where a fact has only the first.
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
        """Whether the referrer that the fact names was not removed."""
        return (Referred.parse(fact).repository, Referred.parse(fact).referrer) not in self.gone

    @property
    def is_index(self) -> bool | None:
        """Whether the digest is an index; None: not known."""
        for fact in self.facts:
            if fact.kind in (Kind.PUSHED, Kind.REPLICATED) and (index := Change.parse(fact).index) is not None:
                return index
        return None

    @property
    def platform_names(self) -> dict[Digest, str]:
        """The platform (`linux/arm64`) of each platform image, by digest."""
        return {child.digest: child.platform for child in children_of(self.facts) if child.platform}


@value
class Case:
    """One candidate: an image that may be promoted to one environment. `repository`: the canonical name; `tags`: those
    to promote; `promoted_at`: when all of them were promoted, None: they are not.
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
        """The repositories of the source environment, in the policy's order."""
        return self.source.repositories(self.repository)

    @property
    def source_places(self) -> frozenset[str]:
        """The same as text, the form in which facts name a referrer's repository."""
        return frozenset(map(str, self.source_repositories))

    def said_here(self, fact: Fact) -> bool:
        """Whether the fact is a person's command about this candidate. A refused command never counts."""
        said = Said.parse(fact)
        return (said.target, said.name) == (self.destination.name, self.repository) and not said.refused


class Gate(NamedTuple):
    """A gate that a policy may name: its parser, its description in one sentence, and its verdict.

    `overridable`: whether a promotion may list it under `overridable`.
    """

    shape: Shape[Any]
    description: str
    judge: Callable[[Any, Case], GateResult]
    overridable: bool = True
