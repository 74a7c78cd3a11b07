"""The decision: what policy and facts say should happen to an image. Pure: same facts, same decision."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from tallyman.domain.gates import FAILED, PASSED, WAITING, Case, GateResult, ImageFacts, judge_all
from tallyman.domain.gates import freeze as freeze_gate
from tallyman.domain.gates import target as target_gate
from tallyman.domain.history.details.decisions import Decided
from tallyman.domain.history.details.promotions import Promoted, TaggingBegun
from tallyman.domain.history.details.releases import RolledBack
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.history.fold import PUSHES
from tallyman.domain.names import Digest
from tallyman.domain.policy import Policy, Promotion
from tallyman.domain.times import format_time
from tallyman.values import value

PROMOTED, CONFLICT = "promoted", "conflict"
_BEST_FIRST = (PASSED, WAITING, CONFLICT, FAILED, PROMOTED)


@value
class Tagging:
    """Tags that may be set in some registries of the target, but not yet in all. `ids`: the facts that say so."""

    tags: tuple[str, ...]
    since: datetime
    ids: tuple[str, ...]


@value
class Decision:
    """The decision about one digest as a candidate for one environment, with its reasons.

    `repository` is the canonical name; `tags` those that go. `policy` is the digest of the policy that it rests on.
    `tagging`: the promotion of which tags may be set in the target already, and which is not finished. `stays`: why
    the release did not move to it (None: it did, or it is not promoted).
    """

    digest: Digest
    repository: str
    source: str
    target: str
    tags: tuple[str, ...]
    verdict: str
    gates: tuple[GateResult, ...]
    policy: Digest
    tagging: Tagging | None = None
    stays: str | None = None

    @property
    def candidate(self) -> tuple[str, str, str]:
        """Repository, source and target: the promotion that it is about."""
        return self.repository, self.source, self.target

    @property
    def may_look(self) -> bool:
        """Whether the targets are to be asked: a conflict may be gone, what was begun may have been ended by people."""
        return self.may_go or self.verdict in (CONFLICT, PROMOTED) or self.tagging is not None

    @property
    def may_go(self) -> bool:
        """Whether there is something to bring: it may be staged, or what was begun is to be finished."""
        return self.is_candidate and (self.may_stage or self.rolls_on)

    @property
    def rolls_on(self) -> bool:
        """Whether a first tag may be set, so that only a gate that fails keeps it from being finished: a window that
        closed, a freeze or an answer that is missing meanwhile would leave the registries apart for longer."""
        return self.tagging is not None and self.is_candidate and all(g.verdict != FAILED for g in self.gates)

    @property
    def may_tag(self) -> bool:
        """Whether tags may be set now."""
        return self.is_candidate and (self.verdict in (PASSED, PROMOTED) or self.rolls_on)

    @property
    def may_release(self) -> bool:
        """Whether the release may move to it once its tags are set: a freeze holds that whatever was begun."""
        return self.may_tag and all(g.verdict == PASSED for g in self.gates if g.name == freeze_gate.NAME)

    @property
    def may_stage(self) -> bool:
        """Whether content may be brought to the targets: every gate but `target` passed, and that found no conflict."""
        others = all(g.verdict == PASSED for g in self.gates if g.name != target_gate.NAME)
        return others and self.verdict in (PASSED, WAITING)

    @property
    def is_candidate(self) -> bool:
        """Whether a tag of it is meant to go at all."""
        return bool(self.tags)

    @property
    def until(self) -> datetime | None:
        """The earliest moment at which time alone may change a gate."""
        return min((g.until for g in self.gates if g.until and g.verdict == WAITING), default=None)

    @property
    def opens_at(self) -> datetime | None:
        """The earliest moment at which time alone may open a gate. Not the next try of a promotion that failed."""
        waiting = (g for g in self.gates if g.verdict == WAITING and g.name != target_gate.NAME)
        return min((g.until for g in waiting if g.until), default=None)

    @property
    def awaits_replication(self) -> bool:
        """Whether it is looked at again only later because ECR's replication is under way."""
        return any(g.name == target_gate.NAME and g.facts.get("expected") for g in self.gates)

    @property
    def deciding(self) -> GateResult | None:
        """The gate that decides: the first that failed, else the first that waits."""
        for verdict in (FAILED, WAITING):
            for gate in self.gates:
                if gate.verdict == verdict:
                    return gate
        return None

    @property
    def details(self) -> Decided:
        """What a fact says of it."""
        return Decided(
            target=self.target,
            source=self.source,
            name=self.repository,
            tags=list(self.tags),
            verdict=self.verdict,
            policy=self.policy,
            until=format_time(self.until) if self.until else None,
            gates=[
                {"name": g.name, "verdict": g.verdict, "reason": g.reason, "facts": dict(g.facts)} for g in self.gates
            ],
        )


def decide(policy: Policy, promotion: Promotion, repository: str, image: ImageFacts, now: datetime) -> Decision:
    """Judges one promotion of one image. Never raises for facts that are missing or odd: those close gates."""
    tagging = _tagging(promotion, repository, image)
    going = _going(policy, promotion, repository, image, tagging)
    case = Case(policy, promotion, repository, image, going, now)
    promoted = _promoted(case)
    gates = judge_all(replace(case, promoted_at=promoted.at) if promoted else case)
    verdict = _verdict(promoted is not None, gates)
    stays = Promoted.parse(promoted).stays if promoted else None
    if stays and any(_released_by_hand(f, case) for f in image.of(Kind.ROLLED_BACK)):
        stays = None
    return Decision(
        image.digest,
        repository,
        promotion.source,
        promotion.target,
        case.tags,
        verdict,
        gates,
        policy.digest,
        tagging,
        stays if verdict == PROMOTED else None,
    )


def decide_all(policy: Policy, image: ImageFacts, now: datetime) -> list[Decision]:
    """A decision for each (repository, from, to) whose source environment holds the image, in the policy's order.

    Where two rules of a policy lead the same way for different tags, the one that lets more happen answers.
    """
    decisions: dict[tuple[str, str, str], Decision] = {}
    for name, promotion in candidates(policy, image.facts):
        decision = decide(policy, promotion, name, image, now)
        key = (name, promotion.source, promotion.target)
        other = decisions.get(key)
        if other is None or _rank(decision) < _rank(other):
            decisions[key] = decision
    return list(decisions.values())


def _rank(decision: Decision) -> tuple[bool, int]:
    return not decision.is_candidate, _BEST_FIRST.index(decision.verdict)


def candidates(policy: Policy, facts: Iterable[Fact]) -> Iterator[tuple[str, Promotion]]:
    """The promotions, each with the canonical name, out of every environment that these facts saw pushes to."""
    seen = set()
    for fact in facts:
        if fact.kind in PUSHES and fact.repository is not None:
            seen.add(fact.repository)
    for repository in sorted(seen):
        for environment, name in policy.environments_of(repository.registry, repository.name):
            for promotion in policy.promotions_from(environment.name, name):
                yield name, promotion


def _tagging(promotion: Promotion, repository: str, image: ImageFacts) -> Tagging | None:
    """What was begun and is neither promoted nor ended. By ids and not by times: the clocks of workers differ."""
    begun: list[tuple[Fact, Sequence[str]]] = []
    over: set[str] = set()
    for fact in image.of(Kind.TAGGING, Kind.PROMOTED):
        detail = TaggingBegun.parse(fact) if fact.kind is Kind.TAGGING else Promoted.parse(fact)
        if (detail.target, detail.name) == (promotion.target, repository):
            over.update(detail.ends if isinstance(detail, TaggingBegun) else detail.tagging)
            if isinstance(detail, TaggingBegun) and detail.source == promotion.source:
                begun.append((fact, detail.tags))
    open_ = [(fact, tags) for fact, tags in begun if fact.id not in over and tags]
    if not open_:
        return None
    tags = {tag for _, each in open_ for tag in each}
    return Tagging(tuple(sorted(tags)), min(f.at for f, _ in open_), tuple(sorted(f.id for f, _ in open_)))


def _going(
    policy: Policy, promotion: Promotion, repository: str, image: ImageFacts, tagging: Tagging | None
) -> tuple[str, ...]:
    """The tags that go: those that point to the digest in the source now, and that the repository's rule and the
    promotion let through; and those that a promotion has begun to set, whatever became of them in the source."""
    environment = policy.environment(promotion.source)
    places = environment.repositories(repository)
    allowed = policy.repository(repository).tags
    pointing = {
        tag
        for (place, tag), digest in image.pointing.items()
        if digest == image.digest
        and place in places
        and allowed.allows(tag)
        and policy.promotion(promotion.source, promotion.target, repository, tag) == promotion
    }
    begun = {
        tag
        for tag in (tagging.tags if tagging else ())
        if policy.promotion(promotion.source, promotion.target, repository, tag) in (promotion, None)
    }
    return tuple(sorted(pointing | begun))


def _verdict(promoted: bool, gates: tuple[GateResult, ...]) -> str:
    conflict = any("conflicts" in gate.facts for gate in gates if gate.verdict == FAILED)
    if promoted and not conflict:
        return PROMOTED
    verdicts = {gate.verdict for gate in gates}
    if FAILED in verdicts:
        failed = [gate for gate in gates if gate.verdict == FAILED]
        return CONFLICT if all("conflicts" in gate.facts for gate in failed) else FAILED
    return WAITING if WAITING in verdicts else PASSED


def _promoted(case: Case) -> Fact | None:
    """The newest promotion that brought the image there as it is meant to be: None unless each tag that goes was
    promoted after it was last set in the source."""
    promoted = [
        f
        for f in case.image.of(Kind.PROMOTED)
        if (detail := Promoted.parse(f)).target == case.destination.name
        and detail.name == case.repository
        and set(detail.registries) >= {str(r) for r in case.destination.registries}
    ]

    def after(fact: Fact, tag: str) -> bool:
        sets = [
            f.at
            for f in case.image.facts
            if f.kind in PUSHES and f.tag == tag and f.repository in case.source_repositories
        ]
        return tag in Promoted.parse(fact).tags and (not sets or fact.at >= max(sets))

    covering = [fact for fact in promoted if any(after(fact, tag) for tag in case.tags)]
    if not covering or not all(any(after(fact, tag) for fact in covering) for tag in case.tags):
        return None
    return max(covering, key=lambda f: (f.at, f.id))


def _released_by_hand(fact: Fact, case: Case) -> bool:
    """Whether a person made it the release all the same: an image that went in without it is released so alone."""
    detail = RolledBack.parse(fact)
    return (detail.environment, detail.name) == (case.destination.name, case.repository)
