"""The policy as a whole. The values of each key, and their parser, are in the module named after the key."""

from collections.abc import Mapping
from dataclasses import field, replace
from typing import Self

from tallyman.domain.names import Digest, EcrRegistry, Repository
from tallyman.domain.policy.environments import Environment
from tallyman.domain.policy.notices import NoticeRules
from tallyman.domain.policy.people import People
from tallyman.domain.policy.promotions import Promotion
from tallyman.domain.policy.repositories import RepositoryRule
from tallyman.domain.policy.tags import glob_matches
from tallyman.domain.policy.usage import UsageRules
from tallyman.errors import BadName
from tallyman.values import value

ANY_ROOTS = "any"
"""`Policy.roots` of a policy that was parsed without its trust roots: any roots may vouch for an identity."""


@value
class Policy:
    """A whole policy. `digest`: the SHA-256 of `raw`, the file's bytes; each decision names it.

    `roots`: the SHA-256 (`sha256:<hex>`) of the trust roots beside the policy, which alone vouch for identities, and
    the digest of Notation's trust stores (`notation:sha256:<hex>`), joined by a comma where there are both; None: there
    are none.

    The **first** entry of `repositories` that matches a repository's canonical name applies to it. A repository without
    an entry has the defaults: record, verify, watch scans, promote nothing.
    """

    environments: Mapping[str, Environment] = field(default_factory=dict)
    repositories: tuple[RepositoryRule, ...] = ()
    people: People = People()
    notices: NoticeRules = NoticeRules()
    usage: UsageRules = UsageRules()
    raw: bytes = field(default=b"", repr=False)
    source: str = "tallyman.yaml"
    warnings: tuple[str, ...] = ()
    roots: str | None = ANY_ROOTS
    digest: Digest = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", Digest.of(self.raw))

    def repository(self, name: str) -> RepositoryRule:
        """The rule for the repository with this canonical name."""
        return next((r for r in self.repositories if glob_matches(r.match, name)), RepositoryRule(match=name))

    def environment(self, name: str) -> Environment:
        """The environment with this name. Raises BadName that suggests the most similar name."""
        try:
            return self.environments[name]
        except KeyError:
            from difflib import get_close_matches  # only a mistake needs it, not every cold start

            near = get_close_matches(name, self.environments, 1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            defined = ", ".join(self.environments) or "none"
            raise BadName(f"unknown environment '{name}'; the policy ({self.source}) defines {defined}{hint}") from None

    def environment_of(self, repository: Repository) -> tuple[Environment | None, str]:
        """The environment that the repository belongs to, and its canonical name there; (None, its own name) where it
        belongs to none.

        Where one registry holds several environments, a repository belongs to the one whose `repository` has the
        most fixed characters: with dev `{name}` and prod `prod/{name}`, `prod/app` is prod's `app` and not dev's
        `prod/app`.
        """
        found = [
            (environment, canonical)
            for environment in self.environments.values()
            if repository.registry in environment.registries
            and (canonical := environment.canonical_name(repository.name))
        ]
        return max(found, key=lambda pair: pair[0].specificity, default=(None, repository.name))

    def promotions_out_of(self, repository: Repository) -> tuple[Promotion, ...]:
        """The promotions from the repository's environment, in the file's order; empty where it belongs to none."""
        environment, name = self.environment_of(repository)
        return self.promotions_from(environment.name, name) if environment else ()

    def promotions_from(self, environment: str, repository: str) -> tuple[Promotion, ...]:
        """The promotions from this environment of the repository with this canonical name, in the file's order."""
        return tuple(p for p in self.repository(repository).promotions if p.source == environment)

    def promotion(self, source: str, target: str, repository: str, tag: str) -> Promotion | None:
        """The first promotion from `source` to `target` that allows this tag; None: none does."""
        rules = self.promotions_from(source, repository)
        return next((p for p in rules if p.target == target and p.tags.allows(tag)), None)

    def is_target(self, environment: str, repository: str) -> bool:
        """Whether promotions fill the repository with this canonical name in this environment."""
        return any(p.target == environment for p in self.repository(repository).promotions)

    def registries(self) -> tuple[EcrRegistry, ...]:
        """Every registry of every environment once, in the file's order."""
        return tuple(dict.fromkeys(r for e in self.environments.values() for r in e.registries))

    def for_hub(self, hub: EcrRegistry) -> Self:
        """This policy; where it names no environment, with one called `main` that holds the hub's registry."""
        if self.environments:
            return self
        return replace(self, environments={"main": Environment("main", (hub,))})
