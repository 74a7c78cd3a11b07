"""Replay of the recorded past with a policy: what it would have removed and when, and which of it was needed later.

For each day, the repository is rebuilt from the facts, without the images that the policy has removed so far. Images to
remove are marked, and removed after the grace period. Past usage is not recorded: an image was needed later if it was
released, pulled (last pull) or tagged, or runs now.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from datetime import datetime, timedelta

from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.history.fold import PUSHES
from tallyman.domain.names import Digest, Repository
from tallyman.domain.policy import Policy
from tallyman.domain.retention.inputs import Release, RetentionInputs
from tallyman.domain.retention.inventory import NEVER, Inventory, millis
from tallyman.domain.retention.plan import Plan, plan_with
from tallyman.domain.times import format_time
from tallyman.values import value

DAY = timedelta(days=1)


@value
class Gone:
    """An image that the policy would have removed at `at`. `needed`: what needed it later; not empty: a mistake."""

    digest: Digest
    tags: tuple[str, ...]
    at: datetime
    reason: str
    needed: tuple[str, ...] = ()


@value
class RefusedDay:
    """A day on which the run would have removed nothing, and why."""

    at: datetime
    reason: str


@value
class Replayed:
    """The images that would have been removed, oldest first, and the days on which the run was refused."""

    gone: tuple[Gone, ...]
    refused: tuple[RefusedDay, ...] = ()


@value
class Past:
    """The records about a repository. `pulled`: the last pull of images that still exist; `in_use`: digests that run
    now, and what runs them; `children` and `subjects`: those of indexes and referrers."""

    facts: Sequence[Fact]
    releases: Mapping[Digest, tuple[Release, ...]] = field(default_factory=dict)
    pulled: Mapping[Digest, datetime] = field(default_factory=dict)
    in_use: Mapping[Digest, str] = field(default_factory=dict)
    children: Mapping[Digest, tuple[Digest, ...]] = field(default_factory=dict)
    subjects: Mapping[Digest, Digest] = field(default_factory=dict)


def replay(policy: Policy, repository: Repository, name: str, past: Past, since: datetime, until: datetime) -> Replayed:
    """Replay the days from `since` to `until`, without those before the first fact: the repository was empty then. One
    plan per day: a year of 10,000 images takes about half a minute."""
    retention = policy.repository(name).retention
    facts = sorted((f for f in past.facts if f.repository == repository and f.digest), key=lambda f: (f.at, f.id))
    replayed = _Replay(policy, repository, name, past, facts)
    gone: dict[Digest, Gone] = {}
    marks: dict[Digest, datetime] = {}
    refused: list[RefusedDay] = []
    first = facts[0].at if facts else until
    for at in _days(since + max(first - since, timedelta()) // DAY * DAY, until):
        plan = replayed.plan(at, gone)
        if plan.refused:  # a real run marks nothing either
            refused.append(RefusedDay(at, plan.refused[0]))
            continue
        going = {plan.inventory.digest(row): (plan.inventory.tags[row], plan.reason(row)) for row in plan.removed}
        marks = {digest: marks.get(digest, at) for digest in going}
        for digest, (tags, reason) in going.items():
            if marks[digest] + retention.grace <= at:
                gone[digest] = Gone(digest, tags, at, reason, tuple(_needed(digest, past, facts, at)))
    return Replayed(tuple(sorted(gone.values(), key=lambda g: (g.at, g.digest))), tuple(refused))


def _days(since: datetime, until: datetime) -> Iterator[datetime]:
    at = since
    while at < until:
        yield at
        at += DAY
    yield until


@value
class _Replay:
    """The data that is the same for each day. `facts`: the repository's, by time."""

    policy: Policy
    repository: Repository
    name: str
    past: Past
    facts: Sequence[Fact]

    def plan(self, at: datetime, gone: Mapping[Digest, Gone]) -> Plan:
        """The plan of the day `at`, without the images that are `gone`."""
        inventory, moved = self._inventory(at, gone)
        releases = {
            digest: tuple(r if r.until is None or r.until <= at else Release(r.environment, r.since) for r in then)
            for digest, found in self.past.releases.items()
            if (then := [r for r in found if r.since <= at])
        }
        retention = self.policy.repository(self.name).retention
        inputs = RetentionInputs(moved=moved, releases=releases)
        return plan_with(retention, self.policy.digest, inventory, (), inputs, at)

    def _inventory(self, at: datetime, gone: Mapping[Digest, Gone]) -> tuple[Inventory, dict[Digest, datetime]]:
        """The images of that day (pushed and not deleted) with their tags; and when a tag was last set to each."""
        past = self.past
        pushed, tags = self._pushed(at)
        inventory, moved = Inventory(self.repository, self.name), dict[Digest, datetime]()
        held: dict[Digest, list[str]] = {}
        for tag, (digest, moved_at) in tags.items():
            held.setdefault(digest, []).append(tag)
            moved[digest] = max(moved_at, moved.get(digest, moved_at))
        for digest, fact in pushed.items():
            if digest in gone:
                continue
            pulled = past.pulled.get(digest)
            row = inventory.add_raw(
                digest,
                held.get(digest, ()),
                millis(fact.at),
                fact.size or 0,
                pulled=millis(pulled) if pulled and pulled <= at else NEVER,
                subject=past.subjects.get(digest),
            )
            if digest in past.children:
                inventory.link(row, past.children[digest])
        return inventory, moved

    def _pushed(self, at: datetime) -> tuple[dict[Digest, Fact], dict[str, tuple[Digest, datetime]]]:
        """The first push of each image of that day, and for each tag its digest and since when it points there."""
        pushed: dict[Digest, Fact] = {}
        tags: dict[str, tuple[Digest, datetime]] = {}
        for fact in self.facts:
            if fact.at > at or fact.digest is None:
                continue
            if fact.kind in PUSHES:
                pushed.setdefault(fact.digest, fact)
                if fact.tag:
                    tags[fact.tag] = (fact.digest, fact.at)
            elif fact.kind is Kind.UNTAGGED and fact.tag and tags.get(fact.tag, ("",))[0] == fact.digest:
                del tags[fact.tag]
            elif fact.kind is Kind.DELETED:
                pushed.pop(fact.digest, None)
                tags = {tag: pair for tag, pair in tags.items() if pair[0] != fact.digest}
        return pushed, tags


def _needed(digest: Digest, past: Past, facts: Iterable[Fact], at: datetime) -> Iterator[str]:
    for release in past.releases.get(digest, ()):
        if release.since > at:
            yield f"released to {release.environment} at {format_time(release.since)}"
    if (pulled := past.pulled.get(digest)) and pulled > at:
        yield f"pulled at {format_time(pulled)}"
    if digest in past.in_use:
        yield f"in use now: {past.in_use[digest]}"
    for fact in facts:
        if fact.digest == digest and fact.kind in PUSHES and fact.tag and fact.at > at:
            yield f"tagged {fact.tag} at {format_time(fact.at)}"
