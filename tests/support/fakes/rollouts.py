"""Rollouts with fakes: the real service, services that settle on demand, and reconcile's repair."""

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from support.fakes.policies import parsed
from support.fakes.ports import CrashAfter, FakeAnnouncements, FakeHints, FakeLedger, FakeNotices, FakeState
from support.fakes.registries import FakeRegistries
from support.fakes.wiring import FakePorts, services
from support.images import builders as b
from tallyman.domain.history.facts import Kind
from tallyman.domain.names import EcrRegistry
from tallyman.domain.policy import Policy, Service
from tallyman.domain.times import format_time, parse_time
from tallyman.errors import NotAllowed
from tallyman.ports.running import Moving
from tallyman.services.reconcile.unfinished_rollouts import Unfinished
from tallyman.services.releases.rollout import RollOutReleases
from tallyman.services.releases.rollout_progress import rollout_of
from tallyman.services.shared.pauses import Pauses
from tallyman.state import rollouts as rollout_items
from tallyman.state.items import StateChange
from tallyman.state.releases import RELEASES

NAME = "rocketseat/app"
ONE, TWO = EcrRegistry("222222222222", "us-east-2"), EcrRegistry("222222222222", "sa-east-1")
IMAGE = b.multi_arch("rollout")
HINT = json.dumps({"detail-type": "Image Released", "detail": {"environment": "prod", "repository": NAME}})


@dataclass
class Fleet:
    """Services that settle on demand; `runs`: the digest that each runs."""

    runs: dict[tuple[EcrRegistry, str], str] = field(default_factory=dict)
    says: dict[tuple[EcrRegistry, str], Moving] = field(default_factory=dict)
    takes: str | None = None
    moves: list[tuple[EcrRegistry, str]] = field(default_factory=list)
    immovable: set[EcrRegistry] = field(default_factory=set)
    broken: Exception | None = None

    def current(self, registry: EcrRegistry, service: Service) -> str:
        return self.runs.get((registry, service.name), "old")

    def architecture(self, registry: EcrRegistry, service: Service) -> str | None:
        return self.takes

    def move(self, registry: EcrRegistry, service: Service, image: str) -> str:
        if self.broken:
            raise self.broken
        if self.runs.get((registry, service.name)) != image:
            self.moves.append((registry, image))
        self.runs[registry, service.name] = image
        return image

    def settled(self, registry: EcrRegistry, service: Service, moved: str) -> Moving:
        return self.says.get((registry, service.name), Moving(True, "steady"))

    def back(self, registry: EcrRegistry, service: Service, before: str) -> None:
        if registry in self.immovable:
            raise NotAllowed("not authorized to perform: ecs:UpdateService")
        self.runs[registry, service.name] = before


class RolloutStack:
    """Everything outside a rollout, which outlives the workers that `worker` starts."""

    def __init__(self, pause: str = "0s", services: list[dict[str, str]] | None = None) -> None:
        self.now = parse_time("2026-11-16T02:00:00Z")
        self.policy = policy(pause, services or [{"ecs": "shop/app", "repository": NAME}])
        self.fleet, self.state = Fleet(), FakeState()
        self.ledger = FakeLedger(self.state)
        self.hints, self.notices, self.source = FakeHints(), FakeNotices(), FakeRegistries(self.clock)
        self.announcements = FakeAnnouncements()
        self.release("one")

    def clock(self) -> datetime:
        return self.now

    def worker(self, crash: CrashAfter | None = None) -> RollOutReleases:
        """roll_out in one process; `crash` kills it."""
        ports = FakePorts(
            policy=self.policy,
            clock=self.clock,
            source=self.source,
            ecs_rollouts=self.fleet,
            lambda_rollouts=self.fleet,
            ledger=self.ledger,
            state=self.state,
            hints=self.hints,
            notices=self.notices,
        )
        return services(ports.crashing(crash)).roll_out

    def release(self, name: str, digest: str = IMAGE.digest) -> None:
        item = self.state.get("REL#prod", NAME)
        at = format_time(self.clock())
        data = {"id": name, "digest": digest, "tags": ["v1"], "policy": "sha256:0", "at": at, "announced": True}
        self.state.put(StateChange("REL#prod", NAME, item.revision if item else 0, data))

    def run(self, body: str = HINT, crash: CrashAfter | None = None) -> str:
        return self.worker(crash).handle(body)

    def work(self, until: timedelta = timedelta(hours=3)) -> None:
        """Process hints in the order in which they are due, advancing the clock."""
        begun = self.now
        due = self._taken()
        while due:
            due.sort(key=lambda pair: pair[0])
            at, body = due.pop(0)
            assert at - begun <= until, f"still at it: {body}"
            self.now = max(self.now, at)
            self.run(json.dumps(body))
            due += self._taken()

    def _taken(self) -> list[tuple[datetime, Any]]:
        return [(self.now + timedelta(seconds=delay), body) for _, body, delay in self.hints.take("roll_out")]

    def reconcile(self, at_once: bool = False) -> bool:
        """Whether a scheduled run (`at_once`: a person's run) resumes the rollout."""
        release = RELEASES.get(self.state, ("REL#prod", NAME))
        assert release is not None
        unfinished = Unfinished(self.policy, self.state, self.hints, Pauses(self.state, self.clock), self.clock)
        return unfinished.take_up("prod", NAME, release, at_once)

    @property
    def data(self) -> Any:
        item = self.state.get(rollout_items.partition("prod"), NAME)
        assert item is not None
        return item.data

    def shown(self) -> Any:
        """What people see of the current release."""
        item = self.state.get("REL#prod", NAME)
        assert item is not None
        return rollout_of(self.policy, self.state, "prod", NAME, item.data["id"])

    def outcomes(self) -> list[str]:
        facts = self.ledger.of_environment("prod", NAME)
        return sorted(f.detail["outcome"] for f in facts if f.kind is Kind.ROLLED_OUT)


def policy(pause: str, services: list[dict[str, str]]) -> Policy:
    """Production in two regions, with rollouts to these services."""
    return parsed({
        "environments": {
            "dev": {"registries": ["111111111111/us-east-2"]},
            "prod": {"registries": [str(ONE), str(TWO)], "rollout": {"services": services, "pause": pause}},
        },
    })  # fmt: skip
