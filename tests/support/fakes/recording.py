"""All recording services, wired with fakes as bootstrap wires them with the real adapters."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from support.fakes.policies import parsed
from support.fakes.ports import (
    CrashAfter,
    FakeArchive,
    FakeClock,
    FakeHints,
    FakeLedger,
    FakeNotices,
    FakeRegistries,
    FakeSigning,
    FakeState,
    FakeTrail,
)
from support.fakes.wiring import ABSENT, FakePorts, registry_ports, services
from support.images.builders import DEV, PROD, PROD_SA
from tallyman.bootstrap.services import Services
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.history.fold import Row, history
from tallyman.domain.names import Digest, Repository
from tallyman.domain.policy import Policy
from tallyman.domain.push_protection import Problem
from tallyman.ports.messages import RegistryBuses
from tallyman.services.deciding.evaluator import Evaluator
from tallyman.services.reconcile.reconcile import Reconcile
from tallyman.services.recording.record_push import RecordPush
from tallyman.services.recording.record_scan import RecordScan
from tallyman.state import tags as tag_items


def policy(**gates: Any) -> Policy:
    """dev → prod (two regions) for rocketseat/*, semver tags, with these gates."""
    promotion = {"from": "dev", "to": "prod", "tags": ["semver", "semver-commit"], "gates": gates}
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
                    "tags": {"allow": ["semver", "semver-commit", "latest"]},
                    "promotions": [promotion],
                }
            ],
        }
    )


class EveryRepositoryProtected:
    """`Guards` that find no problem anywhere."""

    def problem(self, repository: Repository, others: Sequence[str]) -> Problem | None:
        return None

    def policy(self, repository: Repository) -> str | None:
        return None


@dataclass
class RecordingStack:
    """Fakes of everything outside, which outlive the processes that `process` starts."""

    policy: Policy = field(default_factory=policy)
    clock: FakeClock = field(default_factory=FakeClock)
    state: FakeState = field(default_factory=FakeState)
    archive: FakeArchive = field(default_factory=FakeArchive)
    hints: FakeHints = field(default_factory=FakeHints)
    notices: FakeNotices = field(default_factory=FakeNotices)
    trail: FakeTrail = field(default_factory=FakeTrail)
    signing: FakeSigning = field(default_factory=lambda: FakeSigning(silent=True))
    buses: RegistryBuses = ABSENT
    runs: int = 0

    def __post_init__(self) -> None:
        self.registries = FakeRegistries(self.clock)
        for place in (DEV, PROD, PROD_SA):
            self.registries.add(place)
        self.ledger = FakeLedger(self.state)

    def process(self, crash: CrashAfter | None = None) -> "RecordingServices":
        """The services of one process; `crash` kills it."""
        ports = FakePorts(
            policy=self.policy,
            clock=self.clock,
            ledger=self.ledger,
            state=self.state,
            archive=self.archive,
            hints=self.hints,
            notices=self.notices,
            signing=self.signing,
            trail=self.trail,
            registry_buses=self.buses,
            guards=EveryRepositoryProtected(),
            **registry_ports(self.registries),
        ).crashing(crash)
        made = services(ports)
        return RecordingServices(made.record_push, made.record_scan, made.evaluator, made.reconcile, made)

    def deliver(self, *events: Mapping[str, Any]) -> None:
        """Deliver these events to record_push."""
        process = self.process()
        for event in events:
            process.record.handle(json.dumps(event))

    def reconcile(self, event: Mapping[str, Any] | None = None, left: Any = lambda: 900.0) -> dict[str, Any]:
        """One run of reconcile; without an event a person's run of everything."""
        self.runs += 1
        return self.process().reconcile.run(event or {}, f"request-{self.runs}", left)

    def rows(self, repository: Repository = DEV, tag: str | None = None) -> list[Row]:
        """The history of a repository, oldest first."""
        rows = history(f for f in self.ledger.facts if f.repository == repository)
        return [r for r in reversed(rows) if tag is None or r.tag == tag]

    def facts(self, kind: Kind) -> list[Fact]:
        """All facts of a kind."""
        return [f for f in self.ledger.facts if f.kind is kind]

    def points_to(self, tag: str) -> Digest | None:
        """The digest of a tag of dev, by the state."""
        item = self.state.get(tag_items.partition(DEV), tag)
        return item.data["digest"] if item else None

    def verify(self, digest: Digest, at: datetime | None = None) -> None:
        """Record a verification as verify_digest does."""
        from support.images.builders import verified

        check = {"name": "manifest_digest", "verdict": "passed", "reason": ""}
        now = at or self.clock()
        self.ledger.append(verified(digest, at=now, seen=now, checks=[check]))


@dataclass
class RecordingServices:
    """The services of one process."""

    record: RecordPush
    scans: RecordScan
    evaluator: Evaluator
    reconcile: Reconcile
    all: Services


SCHEDULE = {"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}}
HOUR = timedelta(hours=1)
