"""The decision: what policy and facts say should happen to an image. Pure: same facts, same decision."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from tallyman.domain.gates import FAILED, PASSED, WAITING, Case, GateResult, ImageFacts, judge_all
from tallyman.domain.gates import target as target_gate
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.history.fold import PUSHES
from tallyman.domain.names import Digest
from tallyman.domain.policy import Policy, Promotion
from tallyman.domain.times import format_time
from tallyman.values import value

PROMOTED, CONFLICT = "promoted", "conflict"
_BEST_FIRST = (PASSED, WAITING, CONFLICT, FAILED, PROMOTED)


@value
class Decision:
    """What is to happen to one digest at the door of one environment, and why.

    `repository` is the canonical name; `tags` those that go. `policy` is the digest of the policy that it rests on.
    `until`: when time alone may change it.
    """

    digest: Digest
    repository: str
    source: str
    target: str
    tags: tuple[str, ...]
    verdict: str
    gates: tuple[GateResult, ...]
    policy: Digest

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
    def deciding(self) -> GateResult | None:
        """The gate that decides: the first that failed, else the first that waits."""
        for verdict in (FAILED, WAITING):
            for gate in self.gates:
                if gate.verdict == verdict:
                    return gate
        return None

    @property
    def detail(self) -> dict[str, Any]:
        """As plain JSON data, for a fact."""
        return {
            "to": self.target,
            "from": self.source,
            "name": self.repository,
            "tags": list(self.tags),
            "verdict": self.verdict,
            "policy": self.policy,
            "until": format_time(self.until) if self.until else None,
            "gates": [
                {"name": g.name, "verdict": g.verdict, "reason": g.reason, "facts": dict(g.facts)} for g in self.gates
            ],
        }


def decide(policy: Policy, promotion: Promotion, repository: str, image: ImageFacts, now: datetime) -> Decision:
    """Judges one promotion of one image. Never raises for facts that are missing or odd: those close gates."""
    case = Case(policy, promotion, repository, image, _going(policy, promotion, repository, image), now)
    gates = judge_all(case)
    return Decision(
        image.digest,
        repository,
        promotion.source,
        promotion.target,
        case.tags,
        _verdict(case, gates),
        gates,
        policy.digest,
    )


def decide_all(policy: Policy, image: ImageFacts, now: datetime) -> list[Decision]:
    """A decision for each (repository, from, to) whose source environment holds the image, in the policy's order.

    Where two rules of a policy lead the same way for different tags, the one that lets more happen answers.
    """
    decisions: dict[tuple[str, str, str], Decision] = {}
    for name, promotion in doors(policy, image.facts):
        decision = decide(policy, promotion, name, image, now)
        key = (name, promotion.source, promotion.target)
        other = decisions.get(key)
        if other is None or _rank(decision) < _rank(other):
            decisions[key] = decision
    return list(decisions.values())


def _rank(decision: Decision) -> tuple[bool, int]:
    return not decision.is_candidate, _BEST_FIRST.index(decision.verdict)


def doors(policy: Policy, facts: Iterable[Fact]) -> Iterator[tuple[str, Promotion]]:
    """The promotions, each with the canonical name, out of every environment that these facts saw pushes to."""
    seen = set()
    for fact in facts:
        if fact.kind in PUSHES and fact.repository is not None:
            seen.add(fact.repository)
    for repository in sorted(seen):
        for environment, name in policy.environments_of(repository.registry, repository.name):
            for promotion in policy.promotions_from(environment.name, name):
                yield name, promotion


def _going(policy: Policy, promotion: Promotion, repository: str, image: ImageFacts) -> tuple[str, ...]:
    """The tags that go: those that point to the digest in the source now, and that the repository's rule and the
    promotion let through."""
    environment = policy.environment(promotion.source)
    places = environment.repositories(repository)
    allowed = policy.repository(repository).tags
    return tuple(
        sorted(
            {
                tag
                for (place, tag), digest in image.pointing.items()
                if digest == image.digest
                and place in places
                and allowed.allows(tag)
                and policy.promotion(promotion.source, promotion.target, repository, tag) == promotion
            }
        )
    )


def _verdict(case: Case, gates: tuple[GateResult, ...]) -> str:
    if case.tags and _is_promoted(case):
        return PROMOTED
    verdicts = {gate.verdict for gate in gates}
    if FAILED in verdicts:
        failed = [gate for gate in gates if gate.verdict == FAILED]
        return CONFLICT if all("conflicts" in gate.facts for gate in failed) else FAILED
    return WAITING if WAITING in verdicts else PASSED


def _is_promoted(case: Case) -> bool:
    """Whether each tag that goes was promoted after it was last set in the source."""
    promoted = [
        f
        for f in case.image.of(Kind.PROMOTED)
        if f.detail["to"] == case.destination.name
        and f.detail["name"] == case.repository
        and set(f.detail["registries"]) >= {str(r) for r in case.destination.registries}
    ]

    def after(fact: Fact, tag: str) -> bool:
        sets = [
            f.at
            for f in case.image.facts
            if f.kind in PUSHES and f.tag == tag and f.repository in case.source_repositories
        ]
        return tag in fact.detail["tags"] and (not sets or fact.at >= max(sets))

    return all(any(after(fact, tag) for fact in promoted) for tag in case.tags)
