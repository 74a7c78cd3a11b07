"""Looks at the registries of an environment before a promotion: tags, settings, missing repositories."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tallyman.domain.decide import Decision
from tallyman.domain.history.details.base import new_fact
from tallyman.domain.history.details.decisions import Destination, TargetSeen
from tallyman.domain.history.facts import Kind
from tallyman.domain.names import Digest, Repository
from tallyman.domain.policy import Policy
from tallyman.errors import OutOfTime, TallymanError, TransientError, UnderWay
from tallyman.ports.clocks import Clock
from tallyman.ports.records import Ledger
from tallyman.ports.registries import ImageSource, RegistryView
from tallyman.services.promotion.creations import Creations
from tallyman.values import value

_NOTHING: Mapping[str, Any] = {"exists": False, "immutable": False, "mutable_tags": [], "tags": {}}
"""The record of a registry that did not answer, besides its error."""


@value
class Answers:
    """The answers of an environment's registries. `silent`: registries that did not answer, with the error; `tags`: the
    digest of each requested tag in the others, None: there is no such tag."""

    silent: Mapping[Repository, TallymanError]
    tags: Mapping[Repository, Mapping[str, str | None]]

    def tagged(self, digest: Digest) -> set[str]:
        """The tags that name this digest in some registry."""
        return {tag for tags in self.tags.values() for tag, there in tags.items() if there == digest}


@value
class Targets:
    """The target registries of promotions. Creates missing repositories as the policy says, and finishes abandoned
    creations."""

    policy: Policy
    registries: RegistryView
    source: ImageSource
    creations: Creations
    ledger: Ledger
    clock: Clock

    def look(self, decision: Decision) -> Answers:
        """Ask every registry of the environment and record the answers. A registry that fails does not stop the
        others.

        Cost: two calls a registry, in parallel, a read where the policy says who may pull or push there, and one write
        if the answers changed.
        """
        places = self.policy.environment(decision.target).repositories(decision.repository)
        with ThreadPoolExecutor(max_workers=min(8, len(places))) as pool:
            asked = dict(zip(places, pool.map(lambda p: self._ask(p, decision), places), strict=True))
        silent = {place: answer for place, answer in asked.items() if isinstance(answer, TallymanError)}
        answers = {
            place: {**_NOTHING, "error": str(answer)} if isinstance(answer, TallymanError) else answer
            for place, answer in asked.items()
        }
        self._write(decision, {str(place.registry): answer for place, answer in answers.items()})
        return Answers(silent, {place: answer["tags"] for place, answer in answers.items()})

    def _ask(self, place: Repository, decision: Decision) -> dict[str, Any] | TallymanError:
        try:
            settings = self.registries.settings(place)
            known = decision.target, decision.repository
            if settings is None or self.creations.is_unfinished(place, *known):
                created = self.creations.create(place, *known)
                settings = settings or created
            tags: dict[str, str | None] = dict.fromkeys(decision.tags)
            for detail in self.source.describe(place, decision.tags):
                tags.update({tag: str(detail.digest) for tag in detail.tags if tag in tags})
        except TallymanError as error:
            return error
        return {
            "exists": True,
            "immutable": settings.immutable,
            "mutable_tags": list(settings.mutable_tags),
            "tags": tags,
            "error": None,
        }

    def _write(self, decision: Decision, answers: dict[str, dict[str, Any]]) -> None:
        details = TargetSeen(decision.target, decision.repository, answers)
        kinds = (Kind.TARGET_SEEN, Kind.DELAYED, Kind.PARKED, Kind.REQUESTED)
        mine = [
            f
            for f in self.ledger.of_digest(decision.digest)
            if f.kind in kinds and Destination.parse(f) == Destination(decision.target, decision.repository)
        ]
        last = max(mine, key=lambda f: (f.seen, f.at, f.id), default=None)
        if last is not None and last.kind is Kind.TARGET_SEEN and TargetSeen.parse(last).dump() == details.dump():
            return
        key = (decision.digest, repr(details.dump()), last.id if last else None)
        self.ledger.append(new_fact(Kind.TARGET_SEEN, key, details, self.clock(), digest=decision.digest))


def worst(failures: Mapping[Repository, TallymanError]) -> TallymanError:
    """One error for several registries; its text names all of them. OutOfTime first, so that unfinished work continues
    at once; then a permanent error, then a transient one, then UnderWay."""
    text = "; ".join(f"{place.registry}: {error}" for place, error in failures.items())
    lasting = [e for e in failures.values() if not e.retryable]
    if any(isinstance(e, OutOfTime) for e in failures.values()):
        return OutOfTime(text)
    if lasting:
        return type(lasting[0])(text)
    waits = all(isinstance(e, UnderWay) for e in failures.values())
    return UnderWay(text) if waits else TransientError(text)
