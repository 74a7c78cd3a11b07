"""The entire system under a scheduler: registries, queues, functions and people, with real services over fakes.

A run has two halves. In the first, people act and everything goes wrong: events are lost, doubled and late; workers
are paused at any call, die before or after it, get no answer or lose it; several work on one message; clocks are
skewed. In the second half nothing goes wrong any more, and reconcile runs. `laws` checks the result.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from typing import Any

from support.fakes.ports import (
    Crash,
    FakeAnnouncements,
    FakeArchive,
    FakeLedger,
    FakeNotices,
    FakePeople,
    FakeSigning,
    FakeState,
    FakeTrail,
)
from support.fakes.registries import FakeRegistries
from support.fakes.replication import FakeImageReplication
from support.fakes.wiring import FakePorts
from support.images.builders import DEV, PROD, PROD_SA, Built, delete_event, push_event, replication_event, scan_event
from support.schedules.choices import Choices
from support.schedules.workers import Act, Worker, stopping
from tallyman.bootstrap import REACTIONS, sweeping
from tallyman.bootstrap.services import Services
from tallyman.domain.images.details import ScanReport
from tallyman.domain.names import Digest, EcrRegistry, Repository
from tallyman.domain.policy import Policy, UsageRules
from tallyman.domain.replication import ReplicationRule
from tallyman.errors import TallymanError
from tallyman.ports.reactions import Message

PLACES = (PROD, PROD_SA)
FEEDS = {
    "push": "record_push",
    "verify": "verify_digest",
    "scan": "record_scan",
    "commands": "record_command",
    "promote": "promote_image",
    "retention": "apply_retention",
}
"""The queues, and the function that each feeds."""
RECEIVES = 8
"""How often a message is offered before it is a dead letter."""
TIMEOUT = 900.0
STEPS = 30_000
ARRIVES = 40
"""What ECR replicates arrives in one of so many steps."""
SOON = timedelta(minutes=2)
"""A worker that sleeps until the others are done wakes when nothing else is due for so long."""


@dataclass
class Queued:
    """A message in a queue. `flying`: until when a worker has it."""

    queue: str
    body: str
    due: datetime
    sender: str = "AROAEXAMPLE:ana"
    receives: int = 0
    flying: datetime | None = None
    gone: bool = False


class NothingRuns:
    """Replaces the supervision of running services and repository policies: nothing runs, nothing is open."""

    def running(self, registry: EcrRegistry) -> Any:
        return iter(())

    def readings(self, registry: EcrRegistry, at: datetime, rules: UsageRules) -> list[Any]:
        return []

    def problem(self, repository: Repository, others: Any) -> None:
        return None

    def policy(self, repository: Repository) -> str | None:
        return None

    def rules(self, registry: EcrRegistry) -> list[ReplicationRule]:
        return []

    def removal_reaches(self, repository: Repository) -> list[EcrRegistry]:
        return []

    def send(self, registry: EcrRegistry, nonce: str) -> None:
        raise AssertionError("nobody asked for a test event")


class Remover:
    """`ImageRemover`; calls `watch` with the repository and the digests before it removes them."""

    def __init__(self, sim: "Simulation") -> None:
        self._sim = sim
        self.watch: Callable[[Repository, Sequence[Digest]], None] = lambda *_: None

    def remove(self, repository: Repository, digests: Sequence[Digest]) -> dict[Digest, str]:
        self.watch(repository, digests)
        for digest in digests:
            if digest in self._sim.registries.held(repository).manifests:
                self._sim.registries.delete(repository, digest)
        return {}

    def store(self, repository: Repository, digest: Digest, *, archive: bool) -> None:
        raise AssertionError("no policy of these runs archives")


@dataclass
class Faults:
    """The frequency of each fault, as one in N; 0: never."""

    lose: int = 8
    double: int = 8
    late: int = 3
    crash: int = 60
    fail: int = 60
    pause: int = 25
    again: int = 20
    """A message that was handled is offered once more."""
    skew: int = 3
    """A worker's clock is askew."""


CALM = Faults(lose=0, double=0, late=0, crash=0, fail=0, pause=0, again=0, skew=0)


@dataclass
class Simulation:
    """See the module. `watch` is called after each step of a worker."""

    policy: Policy
    choices: Choices
    faults: Faults = field(default_factory=Faults)
    now: datetime = datetime(2026, 11, 16, 9, 0, 0, tzinfo=UTC)
    most: int = 4
    """Workers at once."""
    planned: Mapping[tuple[int, int], "Act | None"] = field(default_factory=dict)
    """What happens to the worker that was started as this one at this call of it; None: it sleeps until the others are
    done."""
    chained: bool = False
    """Pushes of promotions cause events too, as a chain of environments needs."""

    def __post_init__(self) -> None:
        self.state = FakeState()
        self.ledger = FakeLedger(self.state)
        self.archive, self.notices = FakeArchive(), FakeNotices()
        self.announcements, self.trail = FakeAnnouncements(), FakeTrail()
        self.people = FakePeople({"role/release-managers": "AROAEXAMPLE"})
        self.registries = FakeRegistries(lambda: self.now)
        for registry in self.policy.registries():
            self.registries.add(Repository(registry, DEV.name))
        self.replication = FakeImageReplication(self.registries, slow=True)
        for environment in self.policy.environments.values():
            self.replication.configure(environment.registries[0], *environment.replicas)
        self.arrived = 0
        self.quiet, self.remover = NothingRuns(), Remover(self)
        self.deployed: list[Policy] = [self.policy]
        self.delivered = 0
        self.limit: datetime | None = None
        self.by_hand: dict[tuple[Repository, Digest, str | None], datetime] = {}
        self.by_hand_removed: set[Digest] = set()
        self.queue: list[Queued] = []
        self.dead: list[tuple[Queued, str]] = []
        self.refused: list[tuple[Queued, TallymanError]] = []
        self.workers: dict[Worker, Queued | None] = {}
        self.log: list[str] = []
        self.steps = self.runs = self.started = 0
        self.count: Counter[str] = Counter()
        self.watch: Callable[[Simulation], None] = lambda _: None
        self.ended: Callable[[Worker], None] = lambda _: None

    # --- ports

    def send(self, queue: str, body: Mapping[str, Any], delay: int = 0) -> None:
        """`Hints`."""
        assert 0 <= delay <= 900
        self.queue.append(Queued(queue, json.dumps(body), self.now + timedelta(seconds=delay)))

    def services(self, worker: Worker | None, skew: float = 0.0, policy: Policy | None = None) -> Services:
        """The services of one process; `worker` stops at their calls. `policy`: the one it was deployed with."""
        ports = FakePorts(
            policy=policy or self.policy,
            clock=lambda: self.now + timedelta(seconds=skew),
            ledger=self.ledger,
            state=self.state,
            archive=self.archive,
            hints=self,
            notices=self.notices,
            announcements=self.announcements,
            people=self.people,
            signing=FakeSigning(silent=True),
            trail=self.trail,
            source=self.registries,
            view=self.registries,
            target=self.registries,
            guards=self.quiet,
            usage_readings=self.quiet,
            replication=self.quiet,
            image_replication=self.replication,
            remover=self.remover,
        )
        if worker is None:
            return Services(ports, lambda seconds: None)
        for each in fields(ports):
            if each.name not in ("policy", "clock"):
                setattr(ports, each.name, stopping(getattr(ports, each.name), worker, each.name))
        stopper = worker

        def sleep(seconds: float) -> None:
            stopper.wakes = self.now + timedelta(seconds=seconds)
            stopper.call("sleep", lambda: None)

        return Services(ports, sleep)

    # --- actions of people and clients

    def push(self, built: Built, tag: str | None, place: Repository = DEV) -> Digest:
        """A client's push, with the events that ECR sends for it."""
        self.registries.push(place, built, tag)
        self.by_hand[place, built.digest, tag] = self.now
        self.delivered = len(self.registries.pushes)
        for digest in built.manifests:
            event = push_event(place, digest, tag or "" if digest == built.digest else "", at=self.now)
            self.tell(event, "push", "verify")
        return built.digest

    def untag(self, tag: str, place: Repository = DEV) -> None:
        """BatchDeleteImage by tag."""
        digest = self.registries.tag_of(place, tag)
        if digest is not None:
            self.registries.untag(place, tag)
            self.by_hand_removed.add(digest)
            self.tell(delete_event(place, digest, tag, at=self.now), "push")

    def scanned(self, built: Built, counts: Mapping[str, int] | None = None) -> None:
        """Complete the scan of each platform image."""
        for digest in [c.digest for c in built.root.platform_children] or [built.digest]:
            if digest in self.registries.held(DEV).manifests:
                self.registries.set_scan(DEV, digest, ScanReport("complete", dict(counts or {}), completed_at=self.now))
                self.tell(scan_event(DEV, digest, at=self.now), "scan")

    def command(self, name: str, request: str, after: float = 0.0, **what: str) -> None:
        """A person's command, delivered after this many seconds, and never lost: SQS has accepted it."""
        body = {"command": name, "request": request, "because": "a test", **what}
        self.queue.append(Queued("commands", json.dumps(body), self.now + timedelta(seconds=after)))

    def tell(self, event: dict[str, Any], *queues: str) -> None:
        """Deliver as EventBridge does, to each target separately: once, twice, late or never."""
        for queue in queues:
            times = 1
            if self._is("lose", self.faults.lose):
                times = 0
            elif self._is("double", self.faults.double):
                times = 2
            for _ in range(times):
                late = self.choices.of([1, 30, 600, 4000]) if self._is("late", self.faults.late) else 0
                self.queue.append(Queued(queue, json.dumps(event), self.now + timedelta(seconds=late)))

    def deploy(self, policy: Policy) -> None:
        """Deploy a new policy for all new workers; those that were started before continue with the old one for a
        while."""
        self.policy = policy
        self.deployed.append(policy)

    def _deployed(self) -> Policy:
        """The policy of a worker: while faults happen, a warm process may still have the previous one."""
        if len(self.deployed) > 1 and self.faults is not CALM and self.choices.one_in(3):
            return self.deployed[-2]
        return self.policy

    # --- the scheduler

    def reconcile(self) -> None:
        """A worker that sweeps, as the schedule starts one."""
        self.runs += 1
        request, policy = f"run-{self.runs}", self._deployed()

        def work(worker: Worker) -> Any:
            return sweeping(self.services(worker, policy=policy))(
                {"source": "aws.events", "detail": {}}, request, self._left(worker)
            )

        self._start("reconcile", work, None)

    def step(self) -> bool:
        """Let one thing happen; False if nothing can, now or later."""
        self.steps += 1
        assert self.steps < STEPS, f"no end after {STEPS} steps; at the last: {self.log[-12:]}"
        self.now += timedelta(milliseconds=5)
        if self.replication.is_in_progress and self.choices.below(ARRIVES) == ARRIVES - 1:
            self._replicate()
        able = [w for w in self.workers if w.wakes <= self.now and not w.last]
        offers = [m for m in self.queue if m.due <= self.now and self._is_offered(m)]
        options = len(able) + (1 if offers and len(self.workers) < self.most else 0)
        if not options:
            return self._jump()
        chosen = self.choices.below(options)
        if chosen < len(able):
            self._advance(able[chosen])
        else:
            self._deliver(offers[self.choices.below(min(len(offers), 4))])
        return True

    def go_on(self, seconds: float) -> None:
        """Advance by this time, during which workers that sleep until the others are done stay asleep."""
        self.limit = self.now + timedelta(seconds=seconds)
        while self.now < self.limit and self.step():
            pass
        self.now, self.limit = max(self.now, self.limit), None

    def settle(self) -> None:
        """Run until nothing is left to do."""
        while self.step() or self._replicate():
            pass

    def _replicate(self) -> bool:
        """Complete ECR's replication, with its events; return whether there was any."""
        if not self.replication.is_in_progress:
            return False
        self.replication.deliver()
        new, self.arrived = self.replication.arrived[self.arrived :], len(self.replication.arrived)
        for place, digest, tag in new:
            self.tell(replication_event(place, digest, tag or "", PROD.registry, at=self.now), "push", "verify")
        return True

    def _jump(self) -> bool:
        moments = [w.wakes for w in self.workers if not w.last]
        if len(self.workers) < self.most:
            moments += [max(m.due, m.flying or m.due) for m in self.queue]
        if self.limit is not None and min(moments, default=self.limit) >= self.limit:
            return False
        sleepers = [w for w in self.workers if w.last]
        if sleepers and (not moments or min(moments) > self.now + SOON):
            sleepers[0].last, sleepers[0].wakes = False, self.now  # the others have done all their work meanwhile
            return True
        if not moments:
            return False
        self.now = max(self.now, min(moments)) + timedelta(milliseconds=1)
        return True

    def _is_offered(self, message: Queued) -> bool:
        return message.flying is None or message.flying <= self.now

    def _deliver(self, message: Queued) -> None:
        function = FEEDS[message.queue]
        skew = float(self.choices.of([0, 30, -30])) if self._is("skew", self.faults.skew) else 0.0
        message.receives += 1
        message.flying = self.now + timedelta(seconds=TIMEOUT)
        if message.receives > RECEIVES:
            self.queue.remove(message)
            self.dead.append((message, "offered too often"))
            return
        sent, policy = message.due, self._deployed()

        def work(worker: Worker) -> Any:
            react = REACTIONS[function](self.services(worker, skew, policy))
            return react(Message(message.body, message.sender, sent, self._left(worker)))

        self._start(function, work, message)

    def _start(self, name: str, work: Callable[[Worker], Any], message: Queued | None) -> None:
        self.count[name] += 1
        self.started += 1
        worker = Worker(f"{name} {self.started}", work, self.now, self.started)
        self.workers[worker] = message
        self.log.append(f"{self.now:%H:%M:%S} {worker.name} starts: {message.body[:300] if message else ''}")
        worker.start()

    def _left(self, worker: Worker) -> Callable[[], float]:
        return lambda: TIMEOUT - 10 - (self.now - worker.began).total_seconds()

    def _advance(self, worker: Worker) -> None:
        if worker.at not in ("start", "sleep") and (worker.number, worker.calls) in self.planned:
            self._as_planned(worker)
        else:
            self._as_chosen(worker)

    def _as_planned(self, worker: Worker) -> None:
        act = self.planned[worker.number, worker.calls]
        if act is not None:
            self._do(worker, act)
        elif not worker.slept:
            worker.last = worker.slept = True
            self.log.append(f"{self.now:%H:%M:%S} {worker.name} sleeps before {worker.at}")
        else:
            self._do(worker, Act.GO)

    def _as_chosen(self, worker: Worker) -> None:
        if worker.at != "start" and self._is("pause", self.faults.pause):
            pause = self.choices.of([0.5, 5, 40, 300, 0])
            worker.wakes, worker.last = self.now + timedelta(seconds=pause), not pause
            self.log.append(f"{self.now:%H:%M:%S} {worker.name} is paused before {worker.at}")
            return
        act = Act.GO
        if worker.at not in ("start", "sleep"):
            if self._is("crash", self.faults.crash):
                act = self.choices.of([Act.CRASH_BEFORE, Act.CRASH_AFTER])
            elif self._is("fail", self.faults.fail):
                act = self.choices.of([Act.FAIL_BEFORE, Act.FAIL_AFTER])
        self._do(worker, act)

    def _do(self, worker: Worker, act: Act) -> None:
        if act is not Act.GO:
            worker.hurt = True
            self.log.append(f"{self.now:%H:%M:%S} {worker.name}: {act} {worker.at}")
        worker.step(act)
        self._tell_promoted()
        self.watch(self)
        if worker.done:
            self._ended(worker)

    def _tell_promoted(self) -> None:
        """Send the events of the pushes of promotions; `push` sends those of people's pushes."""
        new, self.delivered = self.registries.pushes[self.delivered :], len(self.registries.pushes)
        for place, digest, tag in new if self.chained else ():
            self.tell(push_event(place, digest, tag or "", at=self.now), "push", "verify")

    def _ended(self, worker: Worker) -> None:
        message = self.workers.pop(worker)
        self.ended(worker)
        error = worker.error
        said = repr(error) if error else str(getattr(worker.result, "text", ""))
        self.log.append(f"{self.now:%H:%M:%S} {worker.name} ends: {said[:200]}")
        if error is not None and not isinstance(error, (Crash, TallymanError)):
            raise error
        if message is None or message not in self.queue:
            return
        if worker.hurt and error is not None:
            message.receives -= 1  # a programming error: only a message that cannot succeed may become a dead letter
        if error is None or (isinstance(error, TallymanError) and not error.retryable):
            if isinstance(error, TallymanError):
                self.refused.append((message, error))
            if self._is("again", self.faults.again):
                message.flying, message.due = None, self.now + timedelta(seconds=1)
            else:
                self.queue.remove(message)
        elif isinstance(error, Crash):
            message.flying = self.now + timedelta(seconds=self.choices.of([1, 60]))
        else:
            message.flying, message.due = None, self.now + timedelta(seconds=5)

    def _is(self, kind: str, one_in: int) -> bool:
        if not one_in:
            return False
        found = self.choices.one_in(one_in)
        if found:
            self.count[kind] += 1
        return found
