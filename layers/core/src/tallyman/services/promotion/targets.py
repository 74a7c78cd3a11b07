"""Looks at the registries of an environment before a promotion: what is there, what may be set, what is missing."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tallyman.domain.decide import Decision
from tallyman.domain.history.details.decisions import Destination, TargetSeen
from tallyman.domain.history.facts import Fact, Kind, Via, fact_id
from tallyman.domain.names import Digest, Repository
from tallyman.domain.policy import Policy
from tallyman.domain.times import whole_millis
from tallyman.errors import OutOfTime, TallymanError, TransientError, UnderWay
from tallyman.ports.clocks import Clock
from tallyman.ports.records import Ledger
from tallyman.ports.registries import ImageSource, RegistryView
from tallyman.services.promotion.creations import Creations
from tallyman.values import value

_NOTHING: Mapping[str, Any] = {"exists": False, "immutable": False, "mutable_tags": [], "tags": {}}
"""What is recorded of a registry that did not answer, besides its error."""


@value
class Answers:
    """What the registries of an environment said. `silent`: those that did not answer, with why; `tags`: what the tags
    that were asked for name in the others, None: nothing."""

    silent: Mapping[Repository, TallymanError]
    tags: Mapping[Repository, Mapping[str, str | None]]

    def tagged(self, digest: Digest) -> set[str]:
        """The tags that name this digest in one of the registries."""
        return {tag for tags in self.tags.values() for tag, there in tags.items() if there == digest}


@value
class Targets:
    """The target registries of promotions. Creates a repository that is missing, as the policy says, and finishes one
    whose creation died."""

    policy: Policy
    registries: RegistryView
    source: ImageSource
    creations: Creations
    ledger: Ledger
    clock: Clock

    def look(self, decision: Decision) -> Answers:
        """Asks every registry of the environment and writes the answers down. One that fails keeps no other from
        being asked.

        Cost: two calls a registry, all at once, a read where the policy says who may pull or push there, and one write
        if the answers are news.
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
        detail = TargetSeen(decision.target, decision.repository, answers).dump()
        kinds = (Kind.TARGET_SEEN, Kind.DELAYED, Kind.PARKED, Kind.REQUESTED)
        mine = [
            f
            for f in self.ledger.of_digest(decision.digest)
            if f.kind in kinds and Destination.parse(f) == Destination(decision.target, decision.repository)
        ]
        last = max(mine, key=lambda f: (f.seen, f.at, f.id), default=None)
        if last is not None and last.kind is Kind.TARGET_SEEN and TargetSeen.parse(last).dump() == detail:
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


def worst(failures: Mapping[Repository, TallymanError]) -> TallymanError:
    """One error for several registries, all of them named in its text: work that did not fit this run goes on at once,
    whatever became of the others; then one for good before one for now, and one that failed before
    one that is waited for."""
    text = "; ".join(f"{place.registry}: {error}" for place, error in failures.items())
    lasting = [e for e in failures.values() if not e.retryable]
    if any(isinstance(e, OutOfTime) for e in failures.values()):
        return OutOfTime(text)
    if lasting:
        return type(lasting[0])(text)
    waits = all(isinstance(e, UnderWay) for e in failures.values())
    return UnderWay(text) if waits else TransientError(text)
