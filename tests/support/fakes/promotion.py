"""Promotions with fakes: the real services behind promote_image and the hints between them, in one process."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from support.fakes.ports import (
    CrashAfter,
    FakeAnnouncements,
    FakeClock,
    FakeHints,
    FakeLedger,
    FakeNotices,
    FakeRegistries,
    FakeSigning,
    FakeState,
    listed,
    stored,
)
from support.fakes.recording import policy
from support.fakes.replication import FakeImageReplication
from support.fakes.wiring import FakePorts, registry_ports, services
from support.images.builders import DEV, PROD, PROD_SA, Built, image, push_event, verified
from tallyman.bootstrap.services import Services
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.names import Digest
from tallyman.domain.policy import Policy
from tallyman.domain.policy.environments import Replicate
from tallyman.errors import TallymanError
from tallyman.services.deciding.evaluator import Evaluator
from tallyman.services.promotion.promote_image import PromoteImage
from tallyman.services.recording.record_push import RecordPush
from tallyman.state import pending as pending_items
from tallyman.state import releases as release_items

PLACES = (PROD, PROD_SA)


@dataclass
class PromotionStack:
    """Everything outside a promotion, which outlives the workers that `worker` starts."""

    policy: Policy = field(default_factory=lambda: policy(verified=True))
    clock: FakeClock = field(default_factory=FakeClock)
    state: FakeState = field(default_factory=FakeState)
    hints: FakeHints = field(default_factory=FakeHints)
    notices: FakeNotices = field(default_factory=FakeNotices)
    announcements: FakeAnnouncements = field(default_factory=FakeAnnouncements)
    signing: FakeSigning = field(default_factory=lambda: FakeSigning(silent=True))
    refused: list[TallymanError] = field(default_factory=list)
    outcomes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.registries = FakeRegistries(self.clock)
        for place in (DEV, *PLACES):
            self.registries.add(place)
        self.ledger = FakeLedger(self.state)
        self.replication = FakeImageReplication(self.registries, lambda: self.clock.advance(milliseconds=1))

    def ports(self) -> FakePorts:
        """The ports of a process."""
        return FakePorts(
            policy=self.policy,
            clock=self.clock,
            ledger=self.ledger,
            state=self.state,
            hints=self.hints,
            notices=self.notices,
            announcements=self.announcements,
            signing=self.signing,
            image_replication=self.replication,
            **registry_ports(self.registries),
        )

    def services(self, crash: CrashAfter | None = None) -> Services:
        """The services of one process; `crash` kills it. Waiting advances the clock."""
        return services(self.ports().crashing(crash), self._wait)

    def _wait(self, seconds: float) -> None:
        self.clock.advance(seconds=seconds)

    def worker(self, crash: CrashAfter | None = None) -> PromoteImage:
        """promote_image in one process; `crash` kills it."""
        return self.services(crash).promote_image

    @property
    def evaluator(self) -> Evaluator:
        return self.services().evaluator

    def record(self) -> RecordPush:
        """record_push in one process."""
        return self.services().record_push

    def push(self, built: Built, tag: str) -> Digest:
        """Push to dev, record and verify; the hint to promote the image waits."""
        self.clock.advance(seconds=1)
        self.registries.push(DEV, built, tag)
        record = self.record()
        for digest in built.manifests:
            event = push_event(DEV, digest, tag if digest == built.digest else "", at=self.clock())
            record.handle(json.dumps(event))
        check = {"name": "manifest_digest", "verdict": "passed", "reason": ""}
        self.ledger.append(verified(built.digest, at=self.clock(), seen=self.clock(), checks=[check]))
        self.evaluator.digest(built.digest)
        return built.digest

    def work(self, until: timedelta = timedelta(minutes=10), meanwhile: Callable[[], None] = lambda: None) -> None:
        """Process hints in the order in which they are due, advancing the clock, until none is due within `until`.
        `meanwhile` runs before each."""
        begun = self.clock()
        due = [(begun + timedelta(seconds=delay), body) for _, body, delay in self.hints.take("promote")]
        while due:
            due.sort(key=lambda pair: pair[0])
            at, body = due.pop(0)
            if at - begun > until:
                self.hints.send("promote", body)
                continue
            self.clock.now = max(self.clock() + timedelta(milliseconds=1), at)
            meanwhile()
            self.handle(body)
            now = self.clock()
            due += [(now + timedelta(seconds=delay), body) for _, body, delay in self.hints.take("promote")]

    def handle(self, body: Mapping[str, Any], worker: PromoteImage | None = None) -> str:
        """Process one message; refused ones go to `refused`."""
        try:
            outcome = (worker or self.worker()).handle(json.dumps(body), lambda: 900.0).text
        except TallymanError as error:
            if error.retryable:
                raise
            self.refused.append(error)
            outcome = f"dead letter: {error}"
        self.outcomes.append(outcome)
        return outcome

    # --- results

    def tags(self, tag: str) -> list[Digest | None]:
        """The digests of the tag in each registry of prod."""
        return [self.registries.tag_of(place, tag) for place in PLACES]

    def released(self) -> Digest | None:
        """The release of prod."""
        item = stored(self.state, release_items.partition("prod"), DEV.name)
        return Digest(item.data["digest"]) if item else None

    def pending(self) -> list[Mapping[str, Any]]:
        """The pending promotions to prod."""
        return [item.data for item in listed(self.state, pending_items.partition("prod"))]

    def facts(self, kind: Kind) -> list[Fact]:
        return [f for f in self.ledger.facts if f.kind is kind]

    def end(self) -> tuple[Any, ...]:
        """The final state that people and programs can see, without times and numbers of tries."""
        tags = {str(p): dict(self.registries.held(p).tags) for p in PLACES}
        manifests = {str(p): set(self.registries.held(p).manifests) for p in PLACES}
        promoted = sorted((f.digest, tuple(f.detail["tags"])) for f in self.facts(Kind.PROMOTED))
        announced = {(d["id"], d["digest"]) for _, d in self.announcements.emitted}
        return tags, manifests, promoted, self.released(), len(announced), self.pending()


def one() -> tuple[PromotionStack, Digest]:
    """A stack with one image that waits to be promoted as v1.0.0."""
    stack = PromotionStack()
    return stack, stack.push(image("a"), "v1.0.0")


def replicated(rules: Policy) -> Policy:
    """The same policy, with ECR's replication within prod."""
    prod = replace(rules.environments["prod"], replicate=Replicate.NATIVE)
    return replace(rules, environments={**rules.environments, "prod": prod})


def native() -> tuple[PromotionStack, Digest]:
    """The same stack, where ECR replicates from the first registry of prod to the other."""
    stack = PromotionStack(replicated(policy(verified=True)))
    stack.replication.configure(PROD.registry, PROD_SA.registry, prefix="rocketseat/")
    return stack, stack.push(image("a"), "v1.0.0")


def command(stack: PromotionStack, name: str, digest: Digest, request: str = "r1", **more: str) -> str:
    """Record a person's command; what it enqueues is not processed yet."""
    stack.clock.advance(seconds=1)
    body = {"command": name, "request": request, "digest": digest, "because": "it is broken", **more}
    record = stack.services().record_command
    return record.handle(json.dumps(body), "AROAEXAMPLE:ana", stack.clock()).text
