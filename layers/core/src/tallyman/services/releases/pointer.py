"""Releases: the digest that an environment runs of each repository, with a history; each change is announced."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from tallyman.domain.decide import PROMOTED, Decision
from tallyman.domain.gates.order import highest_version
from tallyman.domain.history.details.base import new_fact
from tallyman.domain.history.details.commands import Said
from tallyman.domain.history.details.decisions import Decided
from tallyman.domain.history.details.promotions import Promoted
from tallyman.domain.history.details.releases import Released, RolledBack
from tallyman.domain.history.facts import Fact, Kind, Via, fact_id
from tallyman.domain.history.fold import PUSHES
from tallyman.domain.names import Digest
from tallyman.domain.people import person_of_sender
from tallyman.domain.policy import Policy
from tallyman.domain.times import format_time, second_of, whole_millis
from tallyman.ports.clocks import Clock
from tallyman.ports.messages import Announcements
from tallyman.ports.records import Appended, Ledger, State
from tallyman.services.shared.lease import Lease
from tallyman.state import pending
from tallyman.state.base import brief
from tallyman.state.items import StateCheck
from tallyman.state.pending import PENDING
from tallyman.state.releases import RELEASES, ReleaseState, key
from tallyman.state.tags import TAGS, partition
from tallyman.values import value

RELEASED = "Image Released"
"""The detail type of the event; docs/events.md describes it, docs/schemas/image-released.json is its schema."""


@value
class Releases:
    """Moves releases. Each method may be repeated: a second call does nothing."""

    policy: Policy
    ledger: Ledger
    state: State
    announcements: Announcements
    clock: Clock

    def promoted(
        self,
        decision: Decision,
        lease: Lease,
        stops: Sequence[StateCheck] = (),
        left_out: Mapping[str, Mapping[str, str]] | None = None,
        stays: str | None = None,
    ) -> None:
        """Record that the digest is in every registry with all its tags, and make it the release, in one transaction.

        `stops`: the items that could stop the release, as they were before the decision (see `tallyman.state.stops`).
        `left_out`: by registry, the referrers that could not be copied, each with its reason. `stays`: why the digest
        does not become the release; None: it does, unless it was promoted before and is brought once more. Raises
        RevisionConflict where the lease is lost or a stop was written: the caller has to decide again.
        """
        facts = self.ledger.of_digest(decision.digest)
        environment = self.policy.environment(decision.target)
        now, anew = whole_millis(self.clock()), decision.verdict == PROMOTED
        source = self.policy.environment(decision.source).repositories(decision.repository)
        sets = [f for f in facts if f.kind in PUSHES and f.tag in decision.tags and f.repository in source]
        details = Promoted(
            target=decision.target,
            source=decision.source,
            name=decision.repository,
            tags=decision.tags,
            registries=[str(r) for r in environment.registries],
            policy=decision.policy,
            left_out={registry: dict(reasons) for registry, reasons in (left_out or {}).items()},
            tagging=decision.tagging.ids if decision.tagging else (),
            stays=stays,
            repository=environment.repositories(decision.repository)[0].name,
        )
        # by content, not by time: clocks differ, and the events of our own pushes arrive meanwhile
        image = (decision.digest, decision.repository, decision.target, *decision.tags)
        content = (*image, *(f.sort for f in sets), *details.tagging, *((now,) if anew else ()))
        at = max([now, *(f.at for f in sets)])
        fact = new_fact(Kind.PROMOTED, content, details, now, at=at, digest=decision.digest)
        runs = RELEASES.get(self.state, key(decision.target, decision.repository))
        same = runs is not None and runs.digest == decision.digest and set(decision.tags) <= set(runs.tags)
        if stays is not None or same or anew:
            lease.guard(lambda fence: self.ledger.append(fact, fence, *stops) is Appended.WRITTEN)
            return
        decided = [f for f in facts if f.kind is Kind.DECIDED and Decided.parse(f).candidate == decision.candidate]
        grounds = {
            "id": decided[-1].id if decided else None,
            "policy": decision.policy,
            # a reason may name a thousand tags; EventBridge takes 256 KB, and an unannounced release stops the next
            "gates": [{"name": g.name, "verdict": g.verdict, "reason": brief(g.reason)} for g in decision.gates],
        }
        release = ReleaseState(
            id=fact.id,
            digest=decision.digest,
            tags=decision.tags,
            policy=decision.policy,
            at=now,
            previous=None,
            announced=False,
            decision=grounds,
        )
        self._move(fact, decision.target, decision.repository, lease, release, stops)

    def rolled_back(self, asked: Fact, tags: tuple[str, ...], lease: Lease, stops: Sequence[StateCheck] = ()) -> None:
        """Make the digest that a person requested the release again, once for each request: also where the release has
        moved on since. Tags don't move. Raises as `promoted`."""
        assert asked.digest is not None  # of every request to roll back
        move = roll_back_id(asked)
        if any(fact.id == move for fact in self.ledger.of_digest(asked.digest)):
            return
        said = Said.parse(asked)
        environment, repository = str(said.environment), str(said.name)
        now = whole_millis(self.clock())
        release = ReleaseState(
            id=move,
            digest=asked.digest,
            tags=tags,
            policy=self.policy.digest,
            at=now,
            previous=None,
            announced=False,
            change="roll_back",
            decision={"id": asked.id, "policy": self.policy.digest, "gates": []},
            by=asked.actor,
            because=said.because,
        )
        done = Fact(
            kind=Kind.ROLLED_BACK,
            id=move,
            at=now,
            seen=now,
            via=Via.PERSON,
            digest=asked.digest,
            actor=asked.actor,
            detail=RolledBack(environment, repository, str(said.request)).dump(),
        )
        self._move(done, environment, repository, lease, release, stops)

    def _move(
        self,
        fact: Fact,
        environment: str,
        repository: str,
        lease: Lease,
        release: ReleaseState,
        stops: Sequence[StateCheck],
    ) -> None:
        entry = RELEASES.read(self.state, key(environment, repository))
        if entry.found is not None and not entry.found.announced and entry.found.id != release.id:
            # the worker that set it died before announcing it: a replaced release is announced too, first
            self.announce(environment, repository)
            entry = RELEASES.read(self.state, key(environment, repository))
        previous = None
        if was := entry.found:
            previous = was.digest if was.digest != release.digest else was.previous
        change = entry.write(replace(release, previous=previous))
        lease.guard(lambda fence: self.ledger.append(fact, change, fence, *stops) is Appended.WRITTEN)

    def announce(self, environment: str, repository: str) -> None:
        """Record the release in force and emit `Image Released`, unless both were done. The event is emitted at least
        once, always with the same id."""
        entry = RELEASES.read(self.state, key(environment, repository))
        release = entry.found
        if release is None or release.announced:
            return
        places = self.policy.environment(environment).repositories(repository)
        details = Released(
            id=release.id,
            environment=environment,
            repository=repository,
            digest=release.digest,
            tags=release.tags,
            images={str(p.registry): p.at(release.digest) for p in places},
            previous=release.previous,
            policy=release.policy,
            at=format_time(release.at),
            change=release.change,
            decision=release.decision,
            by=release.by,
            because=release.because,
        )
        at, digest = release.at, release.digest
        fact = new_fact(
            Kind.RELEASED, (release.id,), details, self.clock(), at=at, digest=digest, environment=environment
        )
        self.ledger.append(fact)
        self.announcements.emit(RELEASED, details.dump())
        self.state.put(entry.write(replace(release, announced=True)))


def roll_back_id(asked: Fact) -> str:
    """The id of the fact that this request to roll back was carried out, and of the release that it set."""
    return fact_id("roll-back", asked.id)


def stays(  # noqa: PLR0913 - the image, and where it is promoted
    policy: Policy, ledger: Ledger, state: State, environment: str, repository: str, digest: Digest, tags: Sequence[str]
) -> str | None:
    """Why the release does not move to the promoted image: the environment runs a newer one, or was rolled back since
    the image was promoted by the same tags. None: it moves.

    A promotion never moves the release to an older image, and one that is repeated (the image is pushed again, or the
    environment gets another registry) never undoes a roll-back; people do both, with `release roll-back`. Semantic
    versions decide. Where they are equal, or one of the images has none (dates, build numbers, commits, `latest`), the
    image that was pushed first, to any repository, is the older. A version of the released image that waits to be
    promoted counts too. The first release is no older version than one that the environment holds already, which may
    run there. One read, a Query where the release was rolled back, one where it has no version, and two where the
    versions don't decide; before the first release, a Query for each registry.
    """
    runs = RELEASES.get(state, key(environment, repository))
    if runs is None:
        return _is_older_than_held(policy, state, environment, repository, digest, tags)
    if runs.digest == digest:
        return None
    name, running = tags[0], runs.tags[0] if runs.tags else runs.digest.short
    if runs.change == "roll_back" and set(tags) <= _promoted_tags(
        policy, ledger.of_digest(digest), environment, repository
    ):
        by = f" by {person_of_sender(runs.by)}" if runs.by else ""
        return f"{environment} was rolled back to {running} at {format_time(runs.at)}{by}, and {name} is not new there"
    mine, theirs = highest_version(tags), highest_version(runs.tags)
    if mine and theirs is None:  # released by `latest` alone, before the push of its version was known
        theirs = highest_version(_pending_tags(state, environment, repository, runs.digest))
    if mine and theirs and mine.precedence != theirs.precedence:
        return f"{mine} is older than {theirs}, which {environment} runs" if theirs > mine else None
    pushed, released = (_first_push(ledger.of_digest(each)) for each in (digest, runs.digest))
    if pushed is None or released is None:
        return f"whether {name} is older than {running}, which {environment} runs, is not known"
    return f"{name} was first pushed before {running}, which {environment} runs" if pushed < released else None


def _is_older_than_held(
    policy: Policy, state: State, environment: str, repository: str, digest: Digest, tags: Sequence[str]
) -> str | None:
    """Why the image does not become the first release: the environment holds a newer version that promotions may bring.
    None: it does not."""
    rules = [p.tags for p in policy.repository(repository).promotions if p.target == environment]
    held = (
        entry.sk
        for place in policy.environment(environment).repositories(repository)
        for entry in TAGS.list(state, partition(place))
        if entry.value.digest not in (None, digest) and any(rule.allows(entry.sk) for rule in rules)
    )
    mine, theirs = highest_version(tags), highest_version(held)
    if mine and theirs and theirs.precedence > mine.precedence:
        return f"{mine} is older than {theirs}, which {environment} holds"
    return None


def releases(ledger: Ledger, environment: str, repository: str, until: datetime | None = None) -> Iterator[Fact]:
    """Yield the releases of a repository in an environment up to `until` (None: all), newest first."""
    for fact in ledger.of_environment(environment, repository):
        if fact.kind is Kind.RELEASED and (until is None or fact.at <= until):
            yield fact


def _pending_tags(state: State, environment: str, repository: str, digest: Digest) -> list[str]:
    """The tags by which the image waits to be promoted to the environment."""
    items = PENDING.list(state, pending.partition(environment), pending.prefix(repository) + digest)
    return [tag for entry in items for tag in entry.value.tags]


def _promoted_tags(policy: Policy, facts: Iterable[Fact], environment: str, repository: str) -> set[str]:
    """The tags by which the image was promoted to the environment."""
    promoted = Promoted.of(fact for fact in facts if fact.kind is Kind.PROMOTED)
    there, known = policy.environment(environment), policy.environments
    return {tag for each in promoted if each.is_into(there, repository, known) for tag in each.tags}


def _first_push(facts: Iterable[Fact]) -> tuple[datetime, datetime] | None:
    """The time of the image's first push: the registry's time in whole seconds, then the time of its fact. None:
    never."""
    return min(((second_of(f.at), f.seen) for f in facts if f.kind in PUSHES), default=None)
