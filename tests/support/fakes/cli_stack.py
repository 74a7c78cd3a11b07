"""An in-memory stack for commands: fakes of the ports, and the real services, which work while a command waits."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from support.fakes.ports import (
    FakeAnnouncements,
    FakeArchive,
    FakeClock,
    FakeHints,
    FakeLedger,
    FakeLetters,
    FakeNotices,
    FakePeople,
    FakeRegistries,
    FakeSigning,
    FakeState,
)
from support.fakes.retention import FakeGuards, FakeRemover, FakeReplication, FakeUsage
from support.fakes.wiring import ABSENT, FakePorts, registry_ports, services
from support.images.builders import DEV, Built, push_event
from tallyman.adapters.aws.clients import Clients, RoleKind
from tallyman.adapters.files import policy_file
from tallyman.adapters.files.signatures import OriginSignatures
from tallyman.bootstrap.services import Services, retention_inputs
from tallyman.domain.history.facts import Via
from tallyman.domain.images.details import ScanReport
from tallyman.domain.names import Digest, EcrRegistry, Repository
from tallyman.domain.policy import Policy
from tallyman.errors import NotAllowed, TallymanError
from tallyman.ports.checks import CheckFunctions
from tallyman.ports.signatures import PublicKeys, Revocations
from tallyman.services.sealing.check_ledger import CheckLedger
from tallyman_cli.main import app
from tallyman_cli.shared import context

POLICY = """\
environments:
  dev:  {registries: [111111111111/us-east-2]}
  prod: {registries: [222222222222/us-east-2, 222222222222/sa-east-1]}
repositories:
  - match: rocketseat/*
    create: {immutable: true, mutable_tags: [latest], encryption: AES256, scan_on_push: true}
    tags:   {allow: [semver, semver-commit, latest]}
    verify: {layers: content}
    promotions:
      - {from: dev, to: prod, tags: [semver, semver-commit], gates: {verified: true, scan: {max: {critical: 0}}}}
"""


class NoClients(Clients):
    """Clients of AWS for a person whose credentials may read nothing."""

    def __init__(self) -> None:
        super().__init__(DEV.registry, "tallyman", "cli")

    def get(self, service: str, registry: EcrRegistry | None = None, power: RoleKind = "read") -> Any:
        raise NotAllowed(f"{service} may not be read")


@dataclass
class FakeStack:
    """The stack, and actions on it. `works`: whether its functions process messages while a command waits."""

    policy: Policy
    clock: FakeClock = field(default_factory=FakeClock)
    state: FakeState = field(default_factory=FakeState)
    archive: FakeArchive = field(default_factory=FakeArchive)
    hints: FakeHints = field(default_factory=FakeHints)
    letters: FakeLetters = field(default_factory=FakeLetters)
    notices: FakeNotices = field(default_factory=FakeNotices)
    announcements: FakeAnnouncements = field(default_factory=FakeAnnouncements)
    people: FakePeople = field(default_factory=FakePeople)
    signing: FakeSigning = field(default_factory=FakeSigning)
    check_functions: CheckFunctions = ABSENT
    public_keys: PublicKeys = ABSENT
    revocations: Revocations = ABSENT
    signatures: OriginSignatures = field(default_factory=lambda: OriginSignatures(Path("nowhere")))
    usage: FakeUsage = field(default_factory=FakeUsage)
    replication: FakeReplication = field(default_factory=FakeReplication)
    guards: FakeGuards = field(default_factory=FakeGuards)
    lifecycles: dict[Repository, str] = field(default_factory=dict)
    works: bool = True
    slept: float = 0.0
    dead_letters: list[str] = field(default_factory=list)
    sweeps: list[Any] = field(default_factory=list)
    reconciled: Callable[[Any], dict[str, Any]] = lambda payload: {}
    sender: str = "AROAEXAMPLE:ana"

    def __post_init__(self) -> None:
        self.ledger = FakeLedger(self.state)
        self.registries = FakeRegistries(self.clock)
        self.registries.add(DEV)
        self.remover = FakeRemover(self.registries)
        self.stack = context.Stack(
            hub=DEV.registry,
            ledger=self.ledger,
            state=self.state,
            archive=self.archive,
            hints=self.hints,
            letters=self.letters,
            source=self.registries,
            registries=self.registries,
            target=self.registries,
            reconcile=self._reconcile,
            read_policy=policy_file.loads,
            given=self.policy,
            clock=self.clock,
            sleep=self._sleep,
            monotonic=lambda: self.slept,
            check_ledger=lambda: CheckLedger(self.ledger, self.archive.seals, self.state, self.clock),
            retention_inputs=lambda policy: retention_inputs(self.ports, policy),
            lifecycle=self.lifecycles.get,
            remover=self.remover,
            guards=self.guards,
            clients=NoClients,
        )

    @property
    def ports(self) -> FakePorts:
        """The fakes from which bootstrap builds services."""
        return FakePorts(
            policy=self.policy,
            clock=self.clock,
            ledger=self.ledger,
            state=self.state,
            archive=self.archive,
            hints=self.hints,
            letters=self.letters,
            notices=self.notices,
            announcements=self.announcements,
            people=self.people,
            signing=self.signing,
            signatures=self.signatures,
            check_functions=self.check_functions,
            public_keys=self.public_keys,
            revocations=self.revocations,
            replication=self.replication,
            usage_readings=self.usage,
            remover=self.remover,
            **registry_ports(self.registries),
        )

    @property
    def services(self) -> Services:
        """The services of one process."""
        return services(self.ports)

    def run(self, *arguments: str, **environment: str) -> Result:
        """Run the command with these arguments."""
        return CliRunner(env=environment).invoke(app, list(arguments))

    def json(self, *arguments: str, status: int = 0) -> Any:
        """The command's output with --json, parsed."""
        result = self.run(*arguments, "--json")
        assert result.exit_code == status, result.output
        return json.loads(result.stdout)

    def push(self, built: Built, tag: str | None, place: Repository = DEV, *, with_events: bool = True) -> Digest:
        """A client's push; `with_events`: with ECR's events, which record_push and verify_digest process."""
        self.registries.push(place, built, tag)
        if with_events:
            for digest in built.manifests:
                event = push_event(place, digest, tag if digest == built.digest else "", at=self.clock())
                self.service("record_push").handle(json.dumps(event))
                self.service("verify_digest").handle(json.dumps(event), lambda: float("inf"))
        return built.digest

    def scan(self, built: Built, counts: dict[str, int] | None = None, place: Repository = DEV) -> None:
        """Complete the scan of every platform image."""
        for digest in [c.digest for c in built.root.platform_children] or [built.digest]:
            report = ScanReport("complete", counts or {}, completed_at=self.clock())
            self.service("record_scan").record(place, digest, report, Via.EVENT)
            self.services.evaluator.digest(digest)

    def service(self, name: str) -> Any:
        """The service behind a function, wired as bootstrap wires it."""
        return getattr(self.services, name)

    def work(self) -> None:
        """Run the functions on the messages in their queues."""
        handed: dict[str, tuple[str, tuple[Any, ...]]] = {
            "commands": ("record_command", (self.sender, self.clock())),
            "verify": ("verify_digest", (lambda: float("inf"),)),
            "origin": ("verify_origin", (lambda: float("inf"),)),
            "promote": ("promote_image", (lambda: float("inf"),)),
        }
        while sent := [row for row in self.hints.take() if row[2] == 0]:
            for queue, body, _ in sent:
                function, more = handed[queue]
                self.clock.advance(milliseconds=1)  # no two functions run at the same instant
                try:
                    self.service(function).handle(json.dumps(body), *more)
                except TallymanError as error:
                    if error.retryable:
                        raise
                    self.dead_letters.append(str(error))

    def _sleep(self, seconds: float) -> None:
        self.slept += seconds
        self.clock.advance(seconds=seconds)
        if self.works:
            self.work()

    def _reconcile(self, payload: Any) -> dict[str, Any]:
        self.sweeps.append(payload)
        return self.reconciled(payload)
