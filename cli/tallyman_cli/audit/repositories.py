"""Repositories that differ from the policy, and who besides promotions can push there."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, cached_property, partial
from itertools import islice
from typing import Any

from tallyman.adapters.ecr.settings import EcrSettings
from tallyman.domain.history.facts import Kind
from tallyman.domain.images.details import RepositorySettings
from tallyman.domain.names import EcrRegistry, Repository
from tallyman.domain.policy import glob_matches
from tallyman.domain.policy.environments import Environment
from tallyman.domain.push_protection import LAMBDA, PULL, PUSH, PUSH_ACTIONS, normal
from tallyman.errors import TallymanError
from tallyman.ports.registries import Replication
from tallyman.services.promotion.creations import pushers_of, settings_of
from tallyman.state import guards
from tallyman.state.guards import GUARDS
from tallyman_cli.audit.finding import Finding, unread
from tallyman_cli.doctor.replication import held, judged
from tallyman_cli.doctor.repositories import NO_CLEAN_UP, as_list, open_to_all, removes_old_images, statements
from tallyman_cli.registry.creation import differences, in_words, policy_for
from tallyman_cli.shared.context import Stack
from tallyman_cli.shared.listings import Listing, listing

_WHY = {
    "immutable": "a tag that can be moved names another image from one day to the next",
    "mutable_tags": "other tags can be moved than the policy says",
    "encryption": "images lie there under another key than the policy says",
    "kms_key": "images lie there under another key than the policy says",
    "scan_on_push": "nobody looks for vulnerabilities when something is pushed",
}
_NEW = "ECR sets this on creation only: create a new repository and copy the images (tallyman copy)"
_OURS = frozenset({PULL, LAMBDA, PUSH})
_LOOKED_AT = 500
"""Newest facts of a repository that are searched for its last change of settings."""


@dataclass(frozen=True)
class Repositories:
    """Compares the repositories of every environment with the policy. `setter` sets what `--fix` may set; `say` takes
    remarks on what is allowed and may not be meant.

    Cost: a listing for each registry; for each repository of an environment its policy, its lifecycle policy, and
    the replication of its registry."""

    stack: Stack
    replication: Replication
    setter: EcrSettings
    say: Callable[[str], None]
    _kept: dict[Repository, None] = field(default_factory=dict)

    def findings(self) -> Iterator[Finding]:
        """The findings of every registry. What can't be read is a finding; the others go on."""
        for registry in self.stack.policy.registries():
            try:
                yield from self._registry(registry)
            except TallymanError as error:
                yield unread(f"the repositories of {registry}", str(registry), error)
        if kept := [str(place) for place in self._kept]:
            more = f" and {len(kept) - 3} more" if len(kept) > 3 else ""
            self.say(f"{', '.join(kept[:3])}{more}: {NO_CLEAN_UP}")
        for environment in self.stack.policy.environments.values():
            if environment.replicas:
                yield from self._replicas(environment)

    @cached_property
    def as_list(self) -> Listing:
        return listing(self.stack.registries)

    @cached_property
    def _lifecycle_of(self) -> Callable[[Repository], str | None]:
        return cache(self.stack.lifecycle)

    def _replicas(self, environment: Environment) -> Iterator[Finding]:
        """Whether ECR replicates what the policy leaves to it."""
        first, policy = environment.registries[0], self.stack.policy
        try:
            there = held(policy, environment, self.as_list(first))
            found = judged(policy, environment, self.replication.rules(first), there)
        except TallymanError as error:
            yield unread(f"the replication of {first}", str(first), error)
            return
        if found.todo:
            why = "promotions wait for a registry that ECR does not replicate to"
            yield Finding("replication", found.found, str(first), None, why, found.todo)

    def _registry(self, registry: EcrRegistry) -> Iterator[Finding]:
        for found in self.as_list(registry):
            place = found.repository
            environment, name = self.stack.policy.environment_of(place)
            if environment is None:
                continue
            for check in (self._settings, self._policy, self._lifecycle, self._replication):
                try:
                    yield from check(found, environment.name, name)
                except TallymanError as error:
                    yield unread(f"{place}", str(place), error)

    def _settings(self, found: RepositorySettings, environment: str, name: str) -> Iterator[Finding]:
        place = found.repository
        wanted = settings_of(self.stack.policy.repository(name).create, place)
        for each in differences(wanted, found):
            setting = each["setting"]
            mend = None
            if setting in ("immutable", "mutable_tags"):
                mend = partial(self.setter.set_mutability, wanted)
            elif setting == "scan_on_push":
                mend = partial(self.setter.set_scanning, wanted)
            yield Finding(
                f"setting_{setting}",
                f"{setting} is {in_words(each['found'])}, the policy wants {in_words(each['wanted'])} in {environment}",
                str(place),
                self._changed(place),
                _WHY[setting],
                "tallyman audit --fix, or change `create` in the policy" if mend else _NEW,
                mend,
            )

    def _changed(self, place: Repository) -> datetime | None:
        facts = islice(self.stack.ledger.of_repository(place), _LOOKED_AT)
        return next((fact.at for fact in facts if fact.kind is Kind.SETTINGS_CHANGED), None)

    def _policy(self, found: RepositorySettings, environment: str, name: str) -> Iterator[Finding]:
        """What the repository policy lacks of what creation would set, and whom else it lets in."""
        place, push = found.repository, pushers_of(self.stack.policy, environment, name)
        wanted = policy_for(self.stack, environment, name, place)
        text = self.stack.guards.policy(place)
        there = statements(text)
        if wanted is not None and (lacks := _lacking(wanted["Statement"], there)):
            noted = GUARDS.get(self.stack.state, guards.key(place))
            problem = self.stack.push_problem(place, push) if push is not None else None
            others = [s for s in there if s.get("Sid") not in _OURS]
            document = {**wanted, "Statement": [*wanted["Statement"], *others]}
            yield Finding(
                "open_to_pushes" if problem else "repository_policy",
                problem or f"the repository's policy lacks {', '.join(lacks)} or has them changed",
                str(place),
                noted.since if noted else self._changed(place),
                "others than promotions can push there" if problem else "whoever should pull may not be able to",
                "tallyman audit --fix: other statements of the policy stay",
                partial(self.setter.set_policy, place, document),
            )
        if open_to_all(text):
            yield Finding(
                "open_to_all",
                "the repository's policy lets everybody in",
                str(place),
                self._changed(place),
                "anybody with an AWS account can use it",
                "remove that statement from the repository's policy",
            )
        for principal in sorted(_pushers(there)) if self.stack.policy.is_target(environment, name) else ():
            yield Finding(
                "others_push",
                f"the repository's policy lets {principal} push",
                str(place),
                self._changed(place),
                f"only promotions fill {environment}: what comes another way is a stowaway",
                "remove that statement, or set create.push: tallyman-only",
            )

    def _lifecycle(self, found: RepositorySettings, environment: str, name: str) -> Iterator[Finding]:
        """ECR's own lifecycle policy in a target. A repository whose images nothing removes is noted for a remark."""
        place = found.repository
        if self.stack.policy.is_target(environment, name) and self._lifecycle_of(place) is not None:
            yield Finding(
                "lifecycle_policy",
                "ECR's own lifecycle policy removes images there",
                str(place),
                self._changed(place),
                "it removes images without checking releases, rollbacks and running tasks",
                "let `retention` of the policy do it: tallyman retention plan; then aws ecr delete-lifecycle-policy",
            )
        elif not removes_old_images(self.stack.policy, place, self._lifecycle_of):
            self._kept[place] = None

    def _replication(self, found: RepositorySettings, environment: str, name: str) -> Iterator[Finding]:
        reached = self.replication.removal_reaches(found.repository)
        if reached:
            yield Finding(
                "delete_replication",
                f"a removal here removes in {', '.join(map(str, reached))} too (deleteReplication)",
                str(found.repository),
                None,
                "an image that is still needed there is removed with the one here",
                "switch deleteReplication off in the registry's replication rule",
            )


def _lacking(wanted: list[dict[str, Any]], there: list[dict[str, Any]]) -> list[str]:
    found = {each.get("Sid"): normal(each) for each in there}
    return [each["Sid"] for each in wanted if found.get(each["Sid"]) != normal(each)]


def _pushers(there: list[dict[str, Any]]) -> set[str]:
    """The principals that some statement allows to push."""
    found: set[str] = set()
    for each in there:
        if each.get("Effect") == "Allow" and _is_about_pushes(each):
            if "NotPrincipal" in each:
                found.add("everybody but some")
            principal = each.get("Principal", [])
            kinds = principal.values() if isinstance(principal, dict) else [principal]
            found |= {str(name) for kind in kinds for name in as_list(kind)}
    return found


def _is_about_pushes(statement: dict[str, Any]) -> bool:
    """Whether the statement covers an action of a push. IAM's actions are patterns, in which case does not count."""

    def named(patterns: Any, action: str) -> bool:
        return any(glob_matches(str(pattern).lower(), action.lower()) for pattern in as_list(patterns))

    if "NotAction" in statement:
        return any(not named(statement["NotAction"], action) for action in PUSH_ACTIONS)
    return any(named(statement.get("Action", []), action) for action in PUSH_ACTIONS)
