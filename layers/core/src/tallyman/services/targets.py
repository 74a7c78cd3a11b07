"""Looks at the registries of an environment before a promotion: what is there, what may be set, what is missing."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tallyman.domain.decide import Decision
from tallyman.domain.facts import Fact, Kind, Via, fact_id
from tallyman.domain.images import RepositorySettings
from tallyman.domain.names import Repository
from tallyman.domain.policy import Create, Policy, Runs
from tallyman.domain.policy.model import Push
from tallyman.domain.times import whole_millis
from tallyman.domain.values import dataclass
from tallyman.errors import Passing, TallymanError
from tallyman.ports import Clock, ImageSource, ImageTarget, Ledger, RegistryView


@dataclass(frozen=True, slots=True)
class Targets:
    """The target registries of promotions. Creates a repository that is missing, as the policy says."""

    policy: Policy
    registries: RegistryView
    source: ImageSource
    target: ImageTarget
    ledger: Ledger
    clock: Clock

    def look(self, decision: Decision) -> dict[Repository, TallymanError]:
        """Asks every registry of the environment and writes the answers down; those that did not answer, with why.

        Cost: two calls a registry, all at once, and one write if the answers are news. A registry that refuses to
        answer (no permission) raises: that is no matter of time.
        """
        places = self.policy.environment(decision.target).repositories(decision.repository)
        with ThreadPoolExecutor(max_workers=min(8, len(places))) as pool:
            answers = dict(zip(places, pool.map(lambda p: self._ask(p, decision), places), strict=True))
        self._write(decision, {str(place.registry): answer for place, answer in answers.items()})
        return {place: Passing(answer["error"]) for place, answer in answers.items() if answer["error"]}

    def _ask(self, place: Repository, decision: Decision) -> dict[str, Any]:
        answer: dict[str, Any] = {"exists": False, "immutable": False, "mutable_tags": [], "tags": {}, "error": None}
        try:
            settings = self.registries.settings(place)
            if settings is None:
                settings = self._create(place, decision)
            tags = dict.fromkeys(decision.tags)
            for detail in self.source.describe(place, decision.tags):
                tags.update({tag: str(detail.digest) for tag in detail.tags if tag in tags})
        except Passing as error:
            return answer | {"error": str(error)}
        return answer | {
            "exists": True,
            "immutable": settings.immutable,
            "mutable_tags": list(settings.mutable_tags),
            "tags": tags,
        }

    def _create(self, place: Repository, decision: Decision) -> RepositorySettings:
        create = self.policy.repository(decision.repository).create
        settings = settings_of(create, place)
        push = pushers_of(self.policy, decision.target, decision.repository)
        functions = moves_functions(self.policy, decision.target, decision.repository)
        self.target.create(settings, create.pull, push, functions)
        return settings

    def _write(self, decision: Decision, answers: dict[str, dict[str, Any]]) -> None:
        detail = {"to": decision.target, "name": decision.repository, "registries": answers}
        kinds = (Kind.TARGET_SEEN, Kind.DELAYED, Kind.PARKED, Kind.REQUESTED)
        mine = [
            f
            for f in self.ledger.of_digest(decision.digest)
            if f.kind in kinds and f.detail.get("to") == decision.target and f.detail.get("name") == decision.repository
        ]
        last = max(mine, key=lambda f: (f.seen, f.at, f.id), default=None)
        if last is not None and last.kind is Kind.TARGET_SEEN and dict(last.detail) == detail:
            return
        now = whole_millis(self.clock())
        fact = Fact(
            kind=Kind.TARGET_SEEN,
            id=fact_id(Kind.TARGET_SEEN, decision.digest, repr(detail), last.id if last else None),
            at=now,
            seen=now,
            via=Via.RECONCILED,
            digest=decision.digest,
            detail=detail,
        )
        self.ledger.append(fact)


def pushers_of(policy: Policy, environment: str, repository: str) -> tuple[str, ...] | None:
    """Who besides ourselves may push there, as `role/NAME`; None: the policy leaves that to IAM."""
    create = policy.repository(repository).create
    if create.push is not Push.TALLYMAN_ONLY or not policy.is_target(environment, repository):
        return None
    return (create.break_glass,) if create.break_glass else ()


def moves_functions(policy: Policy, environment: str, repository: str) -> bool:
    """Whether a release of the repository moves Lambda functions there: Lambda has to be let pull then."""
    rollout = policy.environment(environment).rollout
    return any(s.runs is Runs.LAMBDA and s.repository == repository for s in (rollout.services if rollout else ()))


def settings_of(create: Create, place: Repository) -> RepositorySettings:
    """The settings that the policy wants for this repository."""
    return RepositorySettings(
        repository=place,
        immutable=create.immutable,
        mutable_tags=create.mutable_tags if create.immutable else (),
        encryption=create.encryption,
        kms_key=create.kms_key,
        scan_on_push=create.scan_on_push,
    )
