"""apply_retention on fakes: a repository of dev, its usage, and a registry that removes as ECR does."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from support.fakes.ports import (
    CrashAfter,
    FakeArchive,
    FakeClock,
    FakeHints,
    FakeLedger,
    FakeNotices,
    FakeRegistries,
    FakeState,
)
from support.fakes.wiring import FakePorts, registry_ports, services
from support.images.builders import DEV, PROD, PROD_SA, Built, image
from support.images.inventories import retention_policy
from tallyman.bootstrap.services import retention_inputs
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.names import Digest, EcrRegistry, Repository
from tallyman.domain.policy import UsageRules
from tallyman.domain.push_protection import Problem
from tallyman.domain.replication import ReplicationRule
from tallyman.domain.retention import Reading
from tallyman.domain.usage import Use
from tallyman.services.retention.apply_retention import ApplyRetention
from tallyman.services.retention.inputs import ReadInputs
from tallyman.services.retention.inventory import TakeInventory
from tallyman.services.retention.plan_retention import Look

ENFORCED = "{keep: [{newest: 2, of: semver}], grace: 0s, at_most: 100%, enforce: true}"


@dataclass
class FakeUsage:
    """`UsageReadings` that a test fills. `asked` runs before each answer; `more`: readings besides that of ECS."""

    uses: list[Use] = field(default_factory=list)
    error: str | None = None
    asked: Callable[[], None] = lambda: None
    times: int = 0
    more: list[Reading] = field(default_factory=list)

    def readings(self, registry: EcrRegistry, at: datetime, rules: UsageRules) -> list[Reading]:
        if registry != DEV.registry:
            return [Reading("ECS", registry, at)]
        self.times += 1
        self.asked()
        return [Reading("ECS", registry, at, tuple(self.uses), self.error), *self.more]


@dataclass
class FakeRemover:
    """`ImageRemover` over the fake registries."""

    registries: FakeRegistries
    calls: list[list[Digest]] = field(default_factory=list)
    stored: dict[Digest, bool] = field(default_factory=dict)
    fails: dict[Digest, str] = field(default_factory=dict)

    def remove(self, repository: Repository, digests: Sequence[Digest]) -> dict[Digest, str]:
        assert len(digests) <= 100
        self.calls.append(list(digests))
        for digest in digests:
            if digest not in self.fails and self.registries.describe(repository, [digest]):
                self.registries.delete(repository, digest)
        return {digest: why for digest, why in self.fails.items() if digest in digests}

    def store(self, repository: Repository, digest: Digest, *, archive: bool) -> None:
        self.stored[digest] = archive


@dataclass
class FakeReplication:
    """`Replication`: the registries that a removal affects."""

    reached: list[EcrRegistry] = field(default_factory=list)

    def rules(self, registry: EcrRegistry) -> list[ReplicationRule]:
        return [ReplicationRule(tuple(self.reached), removals=True)] if self.reached else []

    def removal_reaches(self, repository: Repository) -> list[EcrRegistry]:
        return self.reached


class FakeGuards:
    """`Guards`: repository policies, as text or as JSON data."""

    def __init__(self) -> None:
        self.policies: dict[Repository, dict[str, Any] | str] = {}
        self.problems: dict[Repository, Problem] = {}

    def policy(self, repository: Repository) -> str | None:
        found = self.policies.get(repository)
        return json.dumps(found) if isinstance(found, dict) else found

    def problem(self, repository: Repository, others: Any) -> Problem | None:
        return self.problems.get(repository)


class RetentionStack:
    """Everything outside one run, which outlives the workers that `worker` starts."""

    def __init__(self, text: str = ENFORCED) -> None:
        self.policy = retention_policy(text)
        self.clock, self.state, self.archive = FakeClock(), FakeState(), FakeArchive()
        self.hints, self.notices = FakeHints(), FakeNotices()
        self.registries = FakeRegistries(self.clock)
        for place in (DEV, PROD, PROD_SA):
            self.registries.add(place)
        self.ledger = FakeLedger(self.state)
        self.usage, self.replication = FakeUsage(), FakeReplication()
        self.remover = FakeRemover(self.registries)

    def push(self, tag: str | None, built: Built | None = None) -> Digest:
        """Push an image a day after the previous one."""
        self.clock.advance(days=1)
        return self.registries.push(DEV, built or image(tag or "untagged"), tag)

    def versions(self, number: int) -> list[Digest]:
        """Push v1.0.0, v1.1.0 and so on; then a day passes."""
        found = [self.push(f"v1.{n}.0") for n in range(number)]
        self.clock.advance(days=1)
        return found

    def ports(self) -> FakePorts:
        """The ports of a process."""
        return FakePorts(
            policy=self.policy,
            clock=self.clock,
            ledger=self.ledger,
            state=self.state,
            archive=self.archive,
            hints=self.hints,
            notices=self.notices,
            replication=self.replication,
            remover=self.remover,
            usage_readings=self.usage,
            **registry_ports(self.registries),
        )

    def needs(self, wrap: Callable[[Any], Any] = lambda port: port) -> tuple[ReadInputs, TakeInventory]:
        """The inputs to a plan; `wrap`: around each port that could write."""
        ports = self.ports()
        wrapped = {name: wrap(getattr(ports, name)) for name in ("source", "ledger", "state", "archive")}
        return retention_inputs(replace(ports, **wrapped), self.policy)

    def worker(self, crash: CrashAfter | None = None) -> ApplyRetention:
        """apply_retention in one process; `crash` kills it."""
        return services(self.ports().crashing(crash)).apply_retention

    def run(self, **hint: Any) -> str:
        """One run over the repository of dev."""
        return self.worker().handle(json.dumps({"repository": str(DEV), **hint})).text

    def present(self) -> set[Digest]:
        """The images of dev."""
        return {detail.digest for detail in self.registries.images(DEV)}

    def facts(self, kind: Kind) -> list[Fact]:
        return [fact for fact in self.ledger.facts if fact.kind is kind]

    def proof(self, digest: Digest) -> dict[str, Any]:
        """The proof that the removal's fact names."""
        (fact,) = [f for f in self.facts(Kind.REMOVED) if f.digest == digest]
        raw = self.archive.get("proofs", Digest(fact.detail["proof"]))
        assert raw is not None
        found: dict[str, Any] = json.loads(raw)
        return found

    def plan(self) -> Any:
        needs, inventories = self.needs()
        return Look.first(needs, inventories, DEV, lambda: float("inf")).plan
