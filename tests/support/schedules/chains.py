"""Runs over a chain of three environments, with more actions of people, and with retention."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from support.images.builders import DEV, PROD, PROD_SA
from support.schedules import laws, people, scenarios
from support.schedules.choices import Choices
from support.schedules.people import CHAIN, IMAGES, STAGING, Script
from support.schedules.scenarios import PROFILES, Result, no_renewals
from support.schedules.simulation import CALM, Faults, Simulation
from support.schedules.workers import Worker
from tallyman.adapters.dynamodb.codec import fact_from_plain
from tallyman.domain.gates.order import highest_version
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.history.fold import PUSHES
from tallyman.domain.names import Digest, Repository
from tallyman.state import freezes, pending, releases
from tallyman.state.pending import PENDING
from tallyman.state.releases import ReleaseState

PLACES = {"staging": (STAGING,), "prod": (PROD, PROD_SA)}


@dataclass
class ChainLaws:
    """The laws that hold at every moment, over the entire chain."""

    facts: int = 0
    pushes: int = 0
    written: list[Fact] = field(default_factory=list)
    runs: dict[str, ReleaseState] = field(default_factory=dict)
    needed: dict[Digest, tuple[str, datetime]] = field(default_factory=dict)
    """Why each image of dev is needed, and since when."""
    items: dict[str, object] = field(default_factory=dict)

    def __call__(self, sim: Simulation) -> None:
        new = list(sim.ledger.items)[self.facts :]
        if new:
            self.facts = len(sim.ledger.items)
            fresh = [fact_from_plain(sim.ledger.items[key]) for key in new]
            self.written += fresh
            for fact in fresh:
                if fact.kind is Kind.PROMOTED:
                    self._decided(sim, fact)
        for repository, digest, tag in sim.registries.pushes[self.pushes :]:
            if tag is not None and repository in CHAIN and (repository, digest, tag) not in sim.by_hand:
                self._tagged(sim, repository, digest, tag)
                places = next(places for places in PLACES.values() if repository in places)
                laws.no_first_tag_beside_a_conflict(sim, repository, places, digest, tag)
        self.pushes = len(sim.registries.pushes)
        for environment in PLACES:
            self._released(sim, environment)
        if sim.policy.repository(DEV.name).retention.removes:
            self._needs(sim)

    def _of(self, digest: Digest | None, *kinds: Kind) -> list[Fact]:
        return [f for f in self.written if f.digest == digest and f.kind in kinds and not f.detail.get("refused")]

    def _decided(self, sim: Simulation, fact: Fact) -> None:
        """No promotion against the recorded decision, nor without the gates of its policy: of the one before the first
        tag, after which a gate that waits holds nothing."""
        laws.decided(self.written, fact)
        begun = [f for f in self.written if f.id in fact.detail["tagging"]]
        before = self.written[: self.written.index(begun[0])] if begun else self.written
        same = [f for f in before if f.digest == fact.digest and f.detail.get("to") == fact.detail["to"]]
        policy = [f.detail["policy"] for f in same if f.kind is Kind.DECIDED][-1]
        asks = {p.digest: p for p in sim.deployed}[Digest(policy)]
        rule = next(p for p in asks.repository(DEV.name).promotions if p.target == fact.detail["to"])
        approved = self._of(fact.digest, Kind.APPROVED)
        if "approvals" in rule.gates and not approved:
            raise laws.Broken(f"{fact.digest} was promoted without an approval")

    def _tagged(self, sim: Simulation, repository: Repository, digest: Digest, tag: str) -> None:
        for place in next(places for places in PLACES.values() if repository in places):
            held = sim.registries.held(place)
            missing = digest not in held.manifests or any(
                c.digest not in held.manifests for c in held.manifests[digest].children
            )
            if missing and digest not in sim.by_hand_removed:
                raise laws.Broken(f"{tag} was set before {place.registry} had all of {digest.short}")

    def _released(self, sim: Simulation, environment: str) -> None:
        item = sim.state.items.get(releases.key(environment, DEV.name))
        if item is self.items.get(environment):
            return
        self.items[environment] = item
        release = releases.RELEASES.get(sim.state, releases.key(environment, DEV.name))
        before = self.runs.get(environment)
        if release is None or (before is not None and before.id == release.id):
            return
        self.runs[environment] = release
        if self._of(release.digest, Kind.RECALLED):
            raise laws.Broken(f"{release.digest.short} was released after its recall was recorded")
        if release.change == "roll_back":
            return
        frozen = freezes.FREEZES.get(sim.state, freezes.key(environment, None))
        if frozen is not None and frozen.frozen:
            raise laws.Broken(f"{release.digest.short} was released in {environment} although it is frozen")
        laws.never_backwards(before, release, environment)

    def _needs(self, sim: Simulation) -> None:
        """Since when each image of dev is needed: an environment runs it, it waits, or it is one of the newest two."""
        now: dict[Digest, str] = {}
        held = sim.registries.held(DEV)
        versions = sorted(
            ((v.precedence, d) for t, d in held.tags.items() if (v := highest_version([t]))), reverse=True
        )
        for _, digest in versions[:2]:
            now[digest] = "one of the newest two"
        for environment in PLACES:
            if run := self.runs.get(environment):
                now[run.digest] = f"{environment} runs it"
            for waits in PENDING.list(sim.state, pending.partition(environment)):
                if waits.value.verdict != "failed":
                    now[waits.value.digest] = f"it waits to get into {environment}"
        self.needed = {d: (why, self.needed[d][1] if d in self.needed else sim.now) for d, why in now.items()}

    def removes(self, sim: Simulation, repository: Repository, digests: Sequence[Digest]) -> None:
        """Retention removes nothing that has been needed for longer than its second look and its leases are valid; from
        an environment nothing that it runs."""
        here = [f"{environment} runs it" for environment, places in PLACES.items() if repository in places]
        for digest in digests:
            why, since = self.needed.get(digest, ("", sim.now))
            if (repository == DEV or why in here) and sim.now - since > laws.CLOSE:
                raise laws.Broken(f"retention removes {digest.short}, but {why} since {since}")


def hold(sim: Simulation, who: people.People) -> None:
    """Check the laws that hold in the end."""
    if sim.dead:
        raise laws.Broken(f"messages were lost: {[(m.queue, m.body[:200], why) for m, why in sim.dead]}")
    laws.every_digest_can_be_decided(sim)
    laws.the_seal_holds(sim)
    for place in (DEV, *CHAIN):
        laws.everything_is_known(sim, place)
    _rolled_back_once(sim)
    _recorded_in_order(sim)
    _complete(sim, who)
    _arrived(sim, who)
    for environment in PLACES:
        _announced(sim, environment)


def _rolled_back_once(sim: Simulation) -> None:
    """Each request to roll back is carried out once at most."""
    done = Counter(f.detail["request"] for f in sim.ledger.facts if f.kind is Kind.ROLLED_BACK)
    if again := {request: times for request, times in done.items() if times > 1}:
        raise laws.Broken(f"roll-backs were carried out again: {again}")


def _recorded_in_order(sim: Simulation) -> None:
    """The ledger has no push that did not happen, and those of a tag are in order."""
    real: dict[tuple[Repository, str | None], list[Digest]] = {}
    for repository, digest, tag in sim.registries.pushes:
        real.setdefault((repository, tag or None), []).append(digest)
    recorded: dict[tuple[Repository, str], list[Digest]] = {}
    for fact in sorted(sim.ledger.facts, key=lambda f: f.sort):
        if fact.kind in PUSHES and fact.repository and fact.digest and fact.tag:
            recorded.setdefault((fact.repository, fact.tag), []).append(fact.digest)
    for key, digests in recorded.items():
        rest = iter(real.get(key, []))
        once = [d for n, d in enumerate(digests) if n == 0 or digests[n - 1] != d]
        if not all(any(d == r for r in rest) for d in once):
            raise laws.Broken(
                f"{key} is recorded as {[d.short for d in once]}, was {[d.short for d in real.get(key, [])]}"
            )


def _removed_by_retention(sim: Simulation) -> set[Digest]:
    """What retention has removed from a target: each registry is planned separately."""
    return {f.digest for f in sim.ledger.facts if f.kind is Kind.REMOVED and f.digest and f.repository in CHAIN}


def _complete(sim: Simulation, who: people.People) -> None:
    one, two = (sim.registries.held(p).tags for p in (PROD, PROD_SA))
    for tag in sorted({*one, *two}):
        pair = one.get(tag), two.get(tag)
        if pair[0] != pair[1] and not {tag, *pair} & {*who.touched, *_removed_by_retention(sim)}:
            raise laws.Broken(f"half-tagged: {tag} is {pair}; notices: {[s for s, _, _ in sim.notices.published]}")


def _arrived(sim: Simulation, who: people.People) -> None:
    """Every image whose gates are open reaches the end of the chain."""
    held = sim.registries.held(DEV)
    recalled = {f.digest for f in sim.ledger.facts if f.kind is Kind.RECALLED and not f.detail.get("refused")}
    gone = _removed_by_retention(sim)
    for tag, digest in held.tags.items():
        if digest in recalled or digest in who.denied or {digest, tag} & who.touched:
            continue
        if digest not in {b.digest for b in IMAGES} or digest in gone:
            continue
        there = [sim.registries.tag_of(p, tag) for p in CHAIN]
        if there != [digest] * len(CHAIN):
            decided = [
                (f.detail["to"], f.detail["verdict"], [(g["name"], g["reason"]) for g in f.detail["gates"]])
                for f in sim.ledger.facts
                if f.digest == digest and f.kind is Kind.DECIDED
            ]
            raise laws.Broken(f"{tag} ({digest.short}) may go all the way, but is {there}; {decided[-2:]}")


def _announced(sim: Simulation, environment: str) -> None:
    release = releases.RELEASES.get(sim.state, releases.key(environment, DEV.name))
    if release and release.id not in {detail["id"] for _, detail in sim.announcements.emitted}:
        raise laws.Broken(f"the release {release.id} of {environment} was never announced")


def ends(sim: Simulation) -> dict[str, object]:
    """The state that is compared with the run without faults: all tags of targets, and their releases."""
    tags: dict[str, object] = {str(p): dict(sorted(sim.registries.held(p).tags.items())) for p in CHAIN}
    for environment in PLACES:
        release = releases.RELEASES.get(sim.state, releases.key(environment, DEV.name))
        tags[environment] = release and release.digest
    return tags


def carry_out_run(choices: Choices, script: Script, faults: Faults) -> tuple[Simulation, str | None]:
    """Carry out a run to its end; return the law that it broke."""
    sim = Simulation(script.policy, choices, faults, chained=True)
    watch = ChainLaws()
    sim.watch = watch
    sim.remover.watch = lambda repository, digests: watch.removes(sim, repository, digests)
    with no_renewals():
        try:
            who = people.act(sim, script)
            sim.faults = CALM
            people.heal(sim, who, script)
            hold(sim, who)
        except AssertionError as error:
            return sim, str(error)
    return sim, None


def run(seed: int, made: Sequence[int] | None = None, script: Script | None = None) -> Result:
    """The run of a seed; if the script is benign, its end is compared with that of the run without faults."""
    script = script or people.written(seed)
    choices = Choices(seed, made)
    sim, broken = carry_out_run(choices, script, PROFILES[seed % len(PROFILES)])
    if broken is None and script.is_benign:
        calm, broken = carry_out_run(Choices(0, ()), script, CALM)
        if broken is None and ends(sim) != ends(calm):
            broken = f"the end is {ends(sim)}, without faults it was {ends(calm)}"
    return Result(seed, broken, tuple(choices.made), tuple(sim.log), sim.steps, dict(sim.count))


def shortened(result: Result, tries: int = 120) -> Result:
    """The same fault with fewer actions of people, then with fewer choices other than the calmest."""
    script, best = people.written(result.seed), result
    for number in reversed(range(len(script.steps))):
        shorter = script.without([number])
        again = run(result.seed, best.made, shorter)
        if again.broken:
            script, best = shorter, again
    size = max(1, len(best.made) // 2)
    while size and tries:
        start = 0
        while start < len(best.made) and tries:
            if any(best.made[start : start + size]):
                tries -= 1
                again = run(best.seed, [*best.made[:start], *([0] * size), *best.made[start + size :]], script)
                if again.broken:
                    best = again
            start += size
        size //= 2
    return replace(best, log=(*(f"{s}" for s in script.steps), *best.log))


class During(StrEnum):
    """People's actions while retention works."""

    REMOVAL = "the newest two are removed"
    CLEAN = "the oldest may go all the way"
    PUSH_AGAIN = "the oldest is pushed again under a newer version"


def retention(asleep: int | None, during: During) -> tuple[str | None, int]:
    """Four versions, of which retention removes two; its worker sleeps at this call while people act. Return the broken
    law, and the number of calls that the worker made. All versions are refused: none is protected at the start."""
    policy = people.chain(retention=True)
    sim = Simulation(policy, Choices(0, ()), CALM, chained=True)
    watch = ChainLaws()
    sim.watch = watch
    sim.remover.watch = lambda repository, digests: watch.removes(sim, repository, digests)
    calls = 0

    def ended(worker: Worker) -> None:
        nonlocal calls
        if worker.number == mine:
            calls = worker.calls

    with no_renewals():
        try:
            mine = 0
            for number in range(4):
                sim.push(IMAGES[number], f"v1.{number}.0")
                sim.go_on(2)
                sim.scanned(IMAGES[number], {"critical": 1})  # refused: neither released nor waiting
                sim.go_on(30)
            sim.queue = [m for m in sim.queue if m.queue != "retention"]  # one run, ours
            mine, sim.ended = sim.started + 1, ended
            if asleep is not None:
                sim.planned = {(mine, asleep): None}
            sim.send("retention", {"repository": str(DEV)})
            sim.go_on(5)
            if during is During.REMOVAL:
                sim.untag("v1.3.0")
                sim.untag("v1.2.0")
                watch(sim)
            elif during is During.CLEAN:
                sim.scanned(IMAGES[0])
            elif IMAGES[0].digest in sim.registries.held(DEV).manifests:
                sim.push(IMAGES[0], "v9.0.0")
            sim.go_on(60)
            sim.settle()
        except AssertionError as error:
            return str(error), calls
    return None, calls


def missed(seeds: int) -> Iterator[str | None]:
    """The laws broken while retention sleeps, then in the story and in seeded runs (see `scenarios.missed`)."""
    for during in During:
        for call in range(20, 40, 4):
            broken, _ = retention(call, during)
            yield broken and f"retention asleep at its call {call}, {during}: {broken}"
    yield from scenarios.missed(seeds)
