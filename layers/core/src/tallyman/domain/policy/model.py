"""The policy itself. What each of its keys holds, and how it is read, is in a module named after the key."""

import hashlib
from collections.abc import Mapping
from dataclasses import field, replace
from typing import Self

from tallyman.domain.names import Digest, EcrRegistry
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
"""Of a policy that was not read beside its trust roots: whichever vouched for an identity."""
IMPLIED_ENVIRONMENT = "main"  # the hub's registry, where a policy names no environment


@value
class Policy:
    """A whole policy. `digest` is the SHA-256 of `raw`, the file's bytes; decisions carry it.

    `roots`: SHA-256 (`sha256:<hex>`) of the trust roots beside it, which alone vouch for identities, and the digest of
    Notation's trust stores (`notation:sha256:<hex>`), with a comma between them where there are both; None: there
    are none.

    A repository follows the **first** entry of `repositories` that matches its canonical name; one that none
    matches follows the defaults: record, verify, watch scans, promote nothing.
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
        object.__setattr__(self, "digest", Digest("sha256:" + hashlib.sha256(self.raw).hexdigest()))

    def repository(self, name: str) -> RepositoryRule:
        """The rule of the repository of this canonical name."""
        return next((r for r in self.repositories if glob_matches(r.match, name)), RepositoryRule(match=name))

    def environment(self, name: str) -> Environment:
        """The environment of this name; raises BadName, with the nearest name that there is."""
        try:
            return self.environments[name]
        except KeyError:
            from difflib import get_close_matches  # only a mistake needs it, not every cold start

            near = get_close_matches(name, self.environments, 1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            defined = ", ".join(self.environments) or "none"
            raise BadName(f"unknown environment '{name}'; the policy ({self.source}) defines {defined}{hint}") from None

    def environments_of(self, registry: EcrRegistry, repository: str) -> tuple[tuple[Environment, str], ...]:
        """The environments that this repository of this registry belongs to, each with its canonical name.

        Where one registry holds several environments, a repository belongs to the one whose `repository` has the
        most fixed characters: with dev `{name}` and prod `prod/{name}`, `prod/app` is prod's `app` and not dev's
        `prod/app`. So there is one or none.
        """
        found = [
            (environment, canonical)
            for environment in self.environments.values()
            if registry in environment.registries and (canonical := environment.canonical_name(repository))
        ]
        return tuple(sorted(found, key=lambda pair: -pair[0].specificity)[:1])

    def promotions_from(self, environment: str, repository: str) -> tuple[Promotion, ...]:
        """The promotions out of this environment of the repository of this canonical name, in the file's order."""
        return tuple(p for p in self.repository(repository).promotions if p.source == environment)

    def promotion(self, source: str, target: str, repository: str, tag: str) -> Promotion | None:
        """The first promotion from source to target whose tags let this tag in."""
        rules = self.promotions_from(source, repository)
        return next((p for p in rules if p.target == target and p.tags.allows(tag)), None)

    def is_target(self, environment: str, repository: str) -> bool:
        """Whether a promotion fills this environment for the repository of this canonical name."""
        return any(p.target == environment for p in self.repository(repository).promotions)

    def registries(self) -> tuple[EcrRegistry, ...]:
        """Every registry of every environment once, in the file's order."""
        return tuple(dict.fromkeys(r for e in self.environments.values() for r in e.registries))

    def accounts(self) -> tuple[str, ...]:
        """The account of every registry once, in the file's order."""
        return tuple(dict.fromkeys(registry.account for registry in self.registries()))

    def for_hub(self, hub: EcrRegistry) -> Self:
        """This policy; where it names no environment, with one called `main` that is the hub's registry."""
        if self.environments:
            return self
        return replace(self, environments={IMPLIED_ENVIRONMENT: Environment(IMPLIED_ENVIRONMENT, (hub,))})
