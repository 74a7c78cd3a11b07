"""Complete flows on fakes, with their cost: clients push, events arrive, and the functions' own reactions process their
queues in batches as template.yaml says, until nothing is due.

Messages due at one moment are one invocation if the queue has a batching window, up to its batch size; otherwise each
message is its own invocation, which is the highest possible cost.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from support.fakes.metered import Meter, MeteredArchive, MeteredLedger, MeteredState, ecr_calls, total
from support.fakes.policies import parsed
from support.fakes.ports import (
    FakeAnnouncements,
    FakeClock,
    FakeNotices,
    FakeRegistries,
    FakeSigning,
)
from support.fakes.wiring import FakePorts, registry_ports, services
from support.images.builders import DEV, PROD, PROD_SA, Built, push_event, scan_event
from support.stacks.templates import hub
from tallyman.bootstrap import REACTIONS, React
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.images.details import ScanReport
from tallyman.domain.names import Digest, Repository
from tallyman.domain.policy import Policy
from tallyman.ports.reactions import Message

FEEDS = {
    "push": "record_push",
    "verify": "verify_digest",
    "scan": "record_scan",
    "promote": "promote_image",
    "retention": "apply_retention",
}
"""The queues, and the function that each feeds."""
ON_ITS_WAY = timedelta(milliseconds=500)
"""From a push until its event is in the queue."""


@dataclass(frozen=True)
class Batching:
    """Messages per invocation, and the seconds that Lambda waits for more of them."""

    size: int
    window: int


def batching() -> dict[str, Batching]:
    """By function, from template.yaml."""
    found = {}
    for resource in hub()["Resources"].values():
        if resource["Type"] != "AWS::Serverless::Function":
            continue
        for event in resource["Properties"].get("Events", {}).values():
            if event["Type"] == "SQS":
                source = event["Properties"]
                name = resource["Properties"]["CodeUri"].rstrip("/").rpartition("/")[2]
                found[name] = Batching(source["BatchSize"], source.get("MaximumBatchingWindowInSeconds", 0))
    return found


def policy(**gates: Any) -> Policy:
    """dev → prod in two regions: verified by content, scanned without a critical finding."""
    return parsed(
        {
            "environments": {
                "dev": {"registries": [str(DEV.registry)]},
                "prod": {"registries": [str(PROD.registry), str(PROD_SA.registry)]},
            },
            "repositories": [
                {
                    "match": "rocketseat/*",
                    "create": {"immutable": True, "mutable_tags": ["latest"]},
                    "verify": {"layers": "content"},
                    "promotions": [
                        {
                            "from": "dev",
                            "to": "prod",
                            "tags": ["semver"],
                            "gates": {"verified": True, "scan": {"max": {"critical": 0}}, **gates},
                        }
                    ],
                }
            ],
        }
    )


@dataclass
class Spent:
    """The cost of a flow. `runs`: invocations by function."""

    runs: Counter[str]
    reads: int
    writes: int
    index: int
    ecr: int
    calls: Counter[str]
    read_bytes: int

    @property
    def invocations(self) -> int:
        return total(self.runs)


@dataclass
class Flow:
    """One hub, two environments. `spent` counts what happens inside its block."""

    policy: Policy = field(default_factory=policy)
    clock: FakeClock = field(default_factory=FakeClock)
    batches: Mapping[str, Batching] = field(default_factory=batching)

    def __post_init__(self) -> None:
        self.meter = Meter()
        self.state = MeteredState(self.meter)
        self.ledger = MeteredLedger(self.state, self.meter)
        self.archive, self.notices = MeteredArchive(self.meter), FakeNotices()
        self.announcements = FakeAnnouncements()
        self.registries = FakeRegistries(self.clock)
        for place in (DEV, PROD, PROD_SA):
            self.registries.add(place)
        self.queue: list[tuple[Any, str, str]] = []
        self.delivered = 0
        self.runs: Counter[str] = Counter()
        self.each: list[Spent] = []  # the cost of each invocation
        self.handled: Callable[[str, str], None] = lambda function, text: None
        ports = FakePorts(
            policy=self.policy,
            clock=self.clock,
            ledger=self.ledger,
            state=self.state,
            archive=self.archive,
            hints=self,
            notices=self.notices,
            announcements=self.announcements,
            signing=FakeSigning(silent=True),
            **registry_ports(self.registries),
        )
        self.services = services(ports, lambda seconds: None)
        self.reactions: dict[str, React] = {
            name: REACTIONS[name](self.services) for name in FEEDS.values() if name != "apply_retention"
        }

    def send(self, queue: str, body: Mapping[str, Any], delay: int = 0) -> None:
        """`Hints`."""
        self.queue.append((self.clock() + timedelta(seconds=delay), queue, json.dumps(body)))

    # --- clients

    def push(self, built: Built, tag: str | None = None, place: Repository = DEV) -> Digest:
        """A client's push."""
        self.registries.push(place, built, tag)
        self.tell()
        return built.digest

    def scanned(self, built: Built, place: Repository = DEV) -> None:
        """Complete the scan of each platform image, without findings."""
        self.clock.advance(seconds=1)
        attested = {c.digest for c in built.root.children if c.is_attestation}
        for digest in [c.digest for c in built.root.children if c.digest not in attested] or [built.digest]:
            self.registries.set_scan(place, digest, ScanReport("complete", {}, completed_at=self.clock()))
            self.queue.append(
                (self.clock() + ON_ITS_WAY, "scan", json.dumps(scan_event(place, digest, at=self.clock())))
            )

    def released(self, built: Built, tag: str) -> Spent:
        """Push, scan and work until released; return the cost."""
        begun = self.counted()
        self.push(built, tag)
        self.work()
        self.scanned(built)
        self.work()
        return self.spent(begun)

    # --- counters

    def counted(self) -> tuple[Any, ...]:
        """The current values of all counters."""
        m = self.meter
        return (
            Counter(self.runs),
            m.reads,
            m.writes,
            m.index,
            len(self.registries.requests),
            Counter(m.calls),
            m.read_bytes,
        )

    def spent(self, begun: tuple[Any, ...]) -> Spent:
        """The cost since `counted`."""
        runs, reads, writes, index, requests, calls, read_bytes = begun
        m = self.meter
        return Spent(
            self.runs - runs,
            m.reads - reads,
            m.writes - writes,
            m.index - index,
            total(ecr_calls(self.registries, requests)),
            m.calls - calls,
            m.read_bytes - read_bytes,
        )

    def facts(self, kind: Kind) -> list[Fact]:
        return [f for f in self.ledger.facts if f.kind is kind]

    # --- the queues

    def tell(self) -> None:
        """Send the events of the pushes since the last call to record_push and verify_digest."""
        new = self.registries.pushes[self.delivered :]
        self.delivered += len(new)
        for place, digest, tag in new:
            event = json.dumps(push_event(place, digest, tag or "", at=self.clock()))
            for queue in ("push", "verify"):
                self.queue.append((self.clock() + ON_ITS_WAY, queue, event))

    def work(self, until: timedelta = timedelta(minutes=1)) -> None:
        """Invoke functions until nothing is due within `until`."""
        last = self.clock() + until
        while due := [
            (at + timedelta(seconds=self.batches[FEEDS[queue]].window), queue)
            for at, queue, _ in self.queue
            if queue in FEEDS
        ]:
            at, queue = min(due)
            if at > last:
                return
            self.clock.now = max(self.clock.now + timedelta(milliseconds=5), at)
            self.invoke(queue)
            self.tell()

    def invoke(self, queue: str) -> None:
        """One invocation with the messages that are due."""
        function = FEEDS[queue]
        batch = self.batches[function]
        ready = sorted((m for m in self.queue if m[1] == queue and m[0] <= self.clock()), key=lambda m: m[0])
        taken = ready[: batch.size if batch.window else 1]
        begun = self.counted()
        self.runs[function] += 1
        for message in taken:
            self.queue.remove(message)
            at, _, body = message
            outcome = self.reactions[function](Message(body, "AROAEXAMPLE:ana", at, lambda: 880.0))
            self.handled(function, outcome.text)
        self.each.append(self.spent(begun))
