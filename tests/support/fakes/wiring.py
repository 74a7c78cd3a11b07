"""The ports of a test: fakes under the names of `Ports`, from which bootstrap builds the real services."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, cast

from support.fakes.ports import (
    CrashAfter,
    FakeAnnouncements,
    FakeArchive,
    FakeClock,
    FakeHints,
    FakeLetters,
    FakeNotices,
    FakePeople,
    FakeRegistries,
    FakeSigning,
    FakeTrail,
)
from tallyman.bootstrap.services import Services
from tallyman.domain.policy import Policy
from tallyman.ports.checks import CheckFunctions
from tallyman.ports.clocks import Clock
from tallyman.ports.copying import LayerUploads
from tallyman.ports.messages import Announcements, Channels, Hints, Letters, People, RegistryBuses
from tallyman.ports.records import Archive, Entries, Ledger, Objects, Seals, State
from tallyman.ports.registries import (
    Guards,
    ImageRemover,
    ImageReplication,
    ImageSource,
    ImageTarget,
    RegistryView,
    Replication,
    SigningView,
    Trail,
)
from tallyman.ports.running import RollOuts, UsageReadings
from tallyman.ports.signatures import PublicKeys, Revocations, Signatures
from tallyman.services.shared.long_details import LongDetails


class _Absent:
    """A port that a test does not have: services may hold it, but any use of it fails."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise AssertionError(f"this test has no port with {name}()")


ABSENT: Any = _Absent()


@dataclass
class FakePorts:
    """Satisfies `Ports`. Ports that a test does not pass are absent, and fail when used."""

    policy: Policy
    clock: Clock = field(default_factory=FakeClock)
    ledger: Ledger = ABSENT
    state: State = ABSENT
    archive: Archive = field(default_factory=FakeArchive)
    hints: Hints = field(default_factory=FakeHints)
    letters: Letters = field(default_factory=FakeLetters)
    notices: Channels = field(default_factory=FakeNotices)
    announcements: Announcements = field(default_factory=FakeAnnouncements)
    people: People = field(default_factory=FakePeople)
    registry_buses: RegistryBuses = ABSENT
    source: ImageSource = ABSENT
    view: RegistryView = ABSENT
    target: ImageTarget = ABSENT
    layer_uploads: LayerUploads = ABSENT
    signatures: Signatures = ABSENT
    public_keys: PublicKeys = ABSENT
    revocations: Revocations = ABSENT
    check_functions: CheckFunctions = ABSENT
    signing: SigningView = field(default_factory=lambda: FakeSigning(silent=True))
    guards: Guards = ABSENT
    remover: ImageRemover = ABSENT
    replication: Replication = ABSENT
    image_replication: ImageReplication = ABSENT
    trail: Trail = field(default_factory=FakeTrail)
    usage_readings: UsageReadings = ABSENT
    ecs_rollouts: RollOuts = ABSENT
    lambda_rollouts: RollOuts = ABSENT
    entries: Entries = ABSENT
    seals: Seals = ABSENT

    def __post_init__(self) -> None:
        """The seal covers the given ledger and is stored in the archive, unless a test passes others."""
        if self.entries is ABSENT:
            self.entries = cast("Any", self.ledger)
        if self.seals is ABSENT:
            self.seals = cast("Any", self.archive).seals

    @property
    def release_ledger(self) -> Ledger:
        """The same ledger."""
        return self.ledger

    @property
    def objects(self) -> Objects:
        """The archive, read-only."""
        return self.archive

    def crashing(self, crash: CrashAfter | None) -> "FakePorts":
        """The same ports; `crash` counts their calls and kills the process."""
        crash = crash or CrashAfter()
        ports = {name: port for name, port in vars(self).items() if name not in ("policy", "clock")}
        return replace(self, **{n: p if p is ABSENT else crash.wrap(p) for n, p in ports.items()})


def registry_ports(registries: FakeRegistries) -> dict[str, Any]:
    """The fake registries as each port that they implement."""
    return dict.fromkeys(("source", "view", "target"), registries)


def services(ports: FakePorts, sleep: Callable[[float], None] | None = None) -> Services:
    """The real services of one process over these ports."""
    if ports.ledger is not ABSENT:
        ports = replace(ports, ledger=LongDetails(ports.ledger, ports.archive))
    return Services(ports, sleep or (lambda seconds: None))
