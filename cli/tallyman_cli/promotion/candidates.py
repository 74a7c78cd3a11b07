"""A promotion candidate: one image, the promotion that applies to it, and the decision by policy and facts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from tallyman.domain.decide import CONFLICT, PROMOTED, Decision, decide, decide_all
from tallyman.domain.gates import FAILED, PASSED, WAITING
from tallyman.domain.history.details.referrers import Origin
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.history.fold import digest_at
from tallyman.domain.images.signatures import RULES
from tallyman.domain.names import Digest
from tallyman.domain.people import person_of_sender
from tallyman.domain.policy import Policy
from tallyman.domain.times import whole_millis
from tallyman.errors import BadInput
from tallyman.ports.records import Ledger, State
from tallyman.services.deciding.freezes import folded
from tallyman.services.deciding.image_facts import load_image_facts
from tallyman.services.releases import pointer
from tallyman.state import freezes, releases, tags
from tallyman.state.freezes import FREEZES
from tallyman.state.items import Key, StateItem
from tallyman.state.releases import RELEASES
from tallyman.state.tags import TAGS, Tag
from tallyman_cli.shared import addresses, naming, output
from tallyman_cli.shared.context import Stack
from tallyman_cli.shared.rows import tag_facts


@dataclass(frozen=True, slots=True)
class Candidate:
    """An image and a promotion that may take it. `canonical`: the repository's name as the policy writes it."""

    text: str
    digest: Digest
    canonical: str
    source: str
    target: str
    policy: Policy


def candidate(stack: Stack, text: str, to: str, at: datetime | None = None) -> Candidate:
    """The candidate of an IMAGE and a target environment; at `at`, by policy and tags of that moment. Raises BadInput,
    which names the promotions of the policy, if none leads there."""
    policy = stack.policy_at(at) if at else stack.policy
    named = addresses.image(policy, text)
    policy.environment(to)
    if named.environment is None or named.canonical is None:
        raise BadInput(f"{text} is in no environment of the policy: a promotion leads from one environment to another")
    source, canonical = named.environment.name, named.canonical
    if not any(p.target == to for p in policy.promotions_from(source, canonical)):
        ways = dict.fromkeys(f"{p.source} → {p.target}" for p in policy.repository(canonical).promotions)
        there = f"the policy has {', '.join(ways)}" if ways else "the policy promotes it nowhere"
        raise BadInput(f"no promotion of {canonical} leads from {source} to {to}: {there}")
    return Candidate(text, naming.digest_of(stack, named, at), canonical, source, to, policy)


def evaluate(stack: Stack, where: Candidate, at: datetime | None = None) -> Decision:
    """The decision by policy and facts: now, or at `at` by what had been recorded until then. Writes nothing."""
    if at is None:
        image = load_image_facts(stack.ledger, stack.state, where.digest, where.policy, stack.archive)
        now = whole_millis(stack.clock())
    else:
        ledger = _PastLedger(stack.ledger, at)
        state = _PastState(stack.ledger, at, stack.state)
        image = load_image_facts(ledger, state, where.digest, where.policy, stack.archive)
        now = at
    for decision in decide_all(where.policy, image, now):
        if decision.candidate == (where.canonical, where.source, where.target):
            if at is None and decision.verdict != PROMOTED and decision.is_candidate:
                of = where.target, where.canonical, where.digest, decision.tags
                return replace(decision, stays=pointer.stays(stack.policy, stack.ledger, stack.state, *of))
            return decision
    # No fact says that the image was pushed there; the gates show that.
    promotions = where.policy.promotions_from(where.source, where.canonical)
    promotion = next(p for p in promotions if p.target == where.target)
    return decide(where.policy, promotion, where.canonical, image, now)


def is_known(stack: Stack, where: Candidate) -> bool:
    """Whether any fact is about the image."""
    return bool(stack.ledger.of_digest(where.digest))


def as_json(where: Candidate, decision: Decision) -> dict[str, Any]:
    """The form of `why --json`."""
    detail = decision.details.dump()
    return {
        "image": where.text,
        "digest": decision.digest,
        "repository": where.canonical,
        "from": where.source,
        "to": where.target,
        "tags": detail["tags"],
        "verdict": decision.verdict,
        "policy": decision.policy,
        "until": detail["until"],
        "stays": decision.stays,
        "gates": detail["gates"],
    }


def released_instead(stack: Stack, where: Candidate, decision: Decision) -> dict[str, Any] | None:
    """What the environment releases now instead of an image that was promoted to it. One GetItem."""
    if decision.verdict != PROMOTED:
        return None
    runs = RELEASES.get(stack.state, releases.key(where.target, where.canonical))
    if runs is None or runs.digest == where.digest:
        return None
    return {
        "digest": runs.digest,
        "tags": list(runs.tags),
        "since": output.time(runs.at),
        "change": runs.change,
        "by": runs.by,
        "because": runs.because,
    }


def as_command(where: Candidate) -> dict[str, Any]:
    """The candidate's part of a command's body."""
    return {"digest": where.digest, "repository": where.canonical, "from": where.source, "to": where.target}


def sentence(where: Candidate, decision: Decision) -> str:
    """The decision in one sentence, with the deciding gate."""
    name, to, gate = where.text, where.target, decision.deciding
    because = f": {gate.name}: {gate.reason}" if gate else ""
    if decision.verdict == PROMOTED:
        now = f"; today it would not pass{because}" if gate is not None else ""
        return f"{name} is promoted to {to} as {', '.join(decision.tags)}{now}"
    words = {
        PASSED: f"{name} may be promoted to {to}: every gate passes",
        FAILED: f"{name} is refused for {to}{because}",
        CONFLICT: f"{name} conflicts with an image in {to}{because}",
        WAITING: f"{name} waits for {to}{because}",
    }
    if decision.verdict == WAITING and only_target(decision):
        return f"{name} may be promoted to {to}; {gate.reason if gate else 'its registries have not been read yet'}"
    return words[decision.verdict]


def only_target(decision: Decision) -> bool:
    """Whether it waits only because the targets have not been read yet, which a promotion does by itself."""
    waits = [g for g in decision.gates if g.verdict == WAITING]
    return decision.verdict == WAITING and all(g.name == "target" and not g.held for g in waits)


def _instead(where: Candidate, found: Mapping[str, Any]) -> str:
    runs = ", ".join(found["tags"]) or Digest(found["digest"]).short
    back = f", rolled back by {person_of_sender(found['by'])}: {found['because']}" if found["by"] else ""
    return f"{where.target} runs {runs} instead, since {output.when(found['since'])}{back}"


def show(where: Candidate, decision: Decision, other: Mapping[str, Any] | None) -> None:
    """Print the decision: the sentence, then the gates, the deciding one first. `other`: what the environment releases
    instead."""
    output.line(sentence(where, decision))
    for line in _stays(where, decision):
        output.line(line)
    if other is not None and decision.stays is None:
        output.line(_instead(where, other))
        output.line(f"To release this one again: {_release(where, decision)}")
    output.line()
    first = decision.deciding if decision.verdict != PROMOTED else None
    ordered = sorted(decision.gates, key=lambda g: g is not first)
    output.table({"gate": g.name, "verdict": g.verdict, "reason": g.reason} for g in ordered)
    output.line()
    output.pairs(_about(decision))


def _stays(where: Candidate, decision: Decision) -> Iterator[str]:
    """Say that the image does not become the release, and how to release it anyway."""
    if decision.stays is None:
        return
    is_in = decision.verdict == PROMOTED
    yield f"{'It was not' if is_in else 'If it is promoted, it will not be'} released: {decision.stays}."
    yield f"To release it anyway{'' if is_in else ', once it is promoted'}: {_release(where, decision)}"


def _release(where: Candidate, decision: Decision) -> str:
    return f"tallyman release roll-back {where.target}/{where.canonical} --to {decision.tags[0]}"


def _about(decision: Decision) -> list[tuple[str, str]]:
    rows = [("digest", output.digest(decision.digest)), ("policy", output.digest(decision.policy))]
    if decision.until:
        rows.append(("again at", output.when(decision.until)))
    return rows


@dataclass(frozen=True, slots=True)
class _PastLedger:
    """The ledger as it was: the facts that had happened and had been recorded by then. The newest rules that had
    verified its signatures by then count as the present ones."""

    ledger: Ledger
    moment: datetime

    def of_digest(self, digest: Digest) -> list[Fact]:
        then = [f for f in self.ledger.of_digest(digest) if f.seen <= self.moment and f.at <= self.moment]
        verdicts = {f.id: Origin.parse(f) for f in then if f.kind is Kind.ORIGIN}
        newest = max((each.rules or 0 for each in verdicts.values()), default=0)
        present = {id: replace(v, rules=RULES) for id, v in verdicts.items() if (v.rules or 0) == newest}
        return [replace(f, detail=present[f.id].dump()) if f.id in present else f for f in then]


@dataclass(frozen=True, slots=True)
class _PastState:
    """The state as it was: tags, freezes and releases of a past moment, folded from the facts that were known then.
    `now`: the state of today, which says which repositories were ever frozen; such an item is never removed."""

    ledger: Ledger
    moment: datetime
    now: State

    def get_many(self, keys: Sequence[Key]) -> Mapping[Key, StateItem]:
        """Tags, the only items that are read together."""
        return {key: self._tag(key) for key in keys}

    def list(self, pk: str, prefix: str = "") -> Iterator[StateItem]:
        """Freezes, the only partition that is listed."""
        for entry in FREEZES.list(self.now, pk):
            yield from folded(self._known(*freezes.parse_key((entry.pk, entry.sk))))

    def get(self, pk: str, sk: str) -> StateItem | None:
        """Releases, the only items that are read alone."""
        facts = self._known(*releases.parse_key((pk, sk)))
        released = [f for f in facts if f.kind is Kind.RELEASED]
        last = max(released, key=lambda f: (f.at, f.id), default=None)
        return RELEASES.item((pk, sk), releases.of_fact(last)) if last else None

    def _known(self, environment: str, repository: str | None) -> tuple[Fact, ...]:
        facts = self.ledger.of_environment(environment, repository)
        return tuple(f for f in facts if f.seen <= self.moment and f.at <= self.moment)

    def _tag(self, key: Key) -> StateItem:
        place, tag = tags.parse_key(key)
        facts = [f for f in tag_facts(self.ledger, place, tag, self.moment) if f.seen <= self.moment]
        return TAGS.item(key, Tag(digest_at(facts, place, tag, self.moment), self.moment))
