"""The decision whether an image may be promoted. Pure: the same policy, facts and time give the same decision."""

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
from tallyman.domain.times import text_or_none
from tallyman.values import value

PROMOTED, CONFLICT = "promoted", "conflict"
_BEST_FIRST = (PASSED, WAITING, CONFLICT, FAILED, PROMOTED)


@value
class Tagging:
    """Tags that a promotion has begun to set, and may have set in some registries of the target. `ids`: the ids of the
    facts `tagging` that record it."""

    tags: tuple[str, ...]
    since: datetime
    ids: tuple[str, ...]


@value
class Decision:
    """The decision about one digest as a candidate for one environment, with its reasons.

    `repository` is the canonical name; `tags`: those to promote. `policy` is the digest of the policy that was used.
    `tagging`: an unfinished promotion that may have set tags already. `stays`: why the release did not move to the
    image (None: it did, or the image is not promoted).
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
        """Repository, source and target of the promotion."""
        return self.repository, self.source, self.target

    @property
    def may_look(self) -> bool:
        """Whether to read the targets' tags: a conflict may be resolved, people may have finished or undone tagging."""
        return self.may_go or self.verdict in (CONFLICT, PROMOTED) or self.tagging is not None

    @property
    def may_go(self) -> bool:
        """Whether the promotion may run: content may be staged, or tagging that was begun is to be finished."""
        return self.is_candidate and (self.may_stage or self.rolls_on)

    @property
    def rolls_on(self) -> bool:
        """Whether tagging was begun and may be finished: a first tag may be set, so only a failed gate stops the rest.
        Waiting for a closed window, a freeze or a missing answer would keep the registries different for longer."""
        return self.tagging is not None and self.is_candidate and all(g.verdict != FAILED for g in self.gates)

    @property
    def may_tag(self) -> bool:
        """Whether tags may be set now."""
        return self.is_candidate and (self.verdict in (PASSED, PROMOTED) or self.rolls_on)

    @property
    def with_tags_to_set(self) -> "Decision":
        """The decision about the tags that may be set now: where a gate waits, only those that were begun."""
        if self.verdict in (PASSED, PROMOTED) or self.tagging is None:
            return self
        return replace(self, tags=tuple(tag for tag in self.tags if tag in self.tagging.tags))

    @property
    def may_release(self) -> bool:
        """Whether the release may move to the image once its tags are set. A freeze prevents it even where tagging was
        begun."""
        return self.may_tag and all(g.verdict == PASSED for g in self.gates if g.name == freeze_gate.NAME)

    @property
    def may_go_anew(self) -> bool:
        """Whether a promoted image may be brought once more: every gate is passed today too."""
        return self.is_candidate and self.verdict == PROMOTED and all(g.verdict == PASSED for g in self.gates)

    @property
    def may_stage(self) -> bool:
        """Whether content may be copied to the targets: every gate but `target` passed, and `target` did not fail."""
        others = all(g.verdict == PASSED for g in self.gates if g.name != target_gate.NAME)
        return others and self.verdict in (PASSED, WAITING)

    @property
    def is_candidate(self) -> bool:
        """Whether any tag of the image is to be promoted."""
        return bool(self.tags)

    @property
    def until(self) -> datetime | None:
        """The earliest moment at which time alone may change a gate."""
        return min((g.until for g in self.gates if g.until and g.verdict == WAITING), default=None)

    @property
    def opens_at(self) -> datetime | None:
        """The earliest moment at which time alone may open a gate; the next attempt of a failed promotion is no such
        moment."""
        waiting = (g for g in self.gates if g.verdict == WAITING and g.name != target_gate.NAME)
        return min((g.until for g in waiting if g.until), default=None)

    @property
    def awaits_replication(self) -> bool:
        """Whether the promotion waits for ECR's replication."""
        return any(g.name == target_gate.NAME and g.facts.get("expected") for g in self.gates)

    @property
    def deciding(self) -> GateResult | None:
        """The gate that decides the verdict: the first that failed, else the first that waits; None: none does."""
        return next((gate for verdict in (FAILED, WAITING) for gate in self.gates if gate.verdict == verdict), None)

    @property
    def details(self) -> Decided:
        """The detail of the fact `decided`."""
        return Decided(
            target=self.target,
            source=self.source,
            name=self.repository,
            tags=list(self.tags),
            verdict=self.verdict,
            policy=self.policy,
            until=text_or_none(self.until),
            gates=[
                {"name": g.name, "verdict": g.verdict, "reason": g.reason, "facts": dict(g.facts)} for g in self.gates
            ],
        )


def decide(policy: Policy, promotion: Promotion, repository: str, image: ImageFacts, now: datetime) -> Decision:
    """Decide about one promotion of one image. Missing or unexpected facts close gates; they never raise."""
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

    Where two promotions of the policy have the same source and target, the one with the better verdict counts.
    """
    decisions: dict[tuple[str, str, str], Decision] = {}
    for name, promotion in candidates(policy, image.facts):
        decision = decide(policy, promotion, name, image, now)
        other = decisions.get(decision.candidate)
        if other is None or _rank(decision) < _rank(other):
            decisions[decision.candidate] = decision
    return list(decisions.values())


def _rank(decision: Decision) -> tuple[bool, int]:
    return not decision.is_candidate, _BEST_FIRST.index(decision.verdict)


def candidates(policy: Policy, facts: Iterable[Fact]) -> Iterator[tuple[str, Promotion]]:
    """The promotions, each with the canonical name, out of every environment that was pushed to by these facts."""
    for repository in sorted({f.repository for f in facts if f.kind in PUSHES and f.repository is not None}):
        _, name = policy.environment_of(repository)
        for promotion in policy.promotions_out_of(repository):
            yield name, promotion


def _tagging(promotion: Promotion, repository: str, image: ImageFacts) -> Tagging | None:
    """The tagging that was begun, and not finished or replaced; compared by ids, as the clocks of workers differ."""
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
    """The tags to promote: those that point to the digest in the source now, and that the repository's rule and the
    promotion allow; and those that a promotion has begun to set, wherever they point in the source now."""
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
    """The newest finished promotion of the image; None unless each tag to promote was promoted to every registry after
    it was last set in the source."""
    promoted = [
        f
        for f in case.image.of(Kind.PROMOTED)
        if (detail := Promoted.parse(f)).is_into(case.destination, case.repository, case.policy.environments)
        and all(detail.reached(place) for place in case.destination.repositories(case.repository))
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
    """Whether a person released the image by a roll-back: the only way to release it where its promotion did not."""
    detail = RolledBack.parse(fact)
    return (detail.environment, detail.name) == (case.destination.name, case.repository)
