"""All ports that services use, one name each: satisfied by the real adapters and by the tests' fakes."""

from typing import Protocol

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


class Ports(Protocol):
    """The ports of one process. Each may be made when it is first read, so that an unused one costs nothing."""

    @property
    def policy(self) -> Policy: ...
    @property
    def clock(self) -> Clock: ...

    # records
    @property
    def ledger(self) -> Ledger: ...
    @property
    def release_ledger(self) -> Ledger:
        """The ledger for services that move releases: its transactions may check items that they do not write."""

    @property
    def state(self) -> State: ...
    @property
    def archive(self) -> Archive: ...
    @property
    def objects(self) -> Objects: ...
    @property
    def entries(self) -> Entries: ...
    @property
    def seals(self) -> Seals: ...

    # messages
    @property
    def hints(self) -> Hints: ...
    @property
    def letters(self) -> Letters: ...
    @property
    def notices(self) -> Channels: ...
    @property
    def announcements(self) -> Announcements: ...
    @property
    def people(self) -> People: ...
    @property
    def registry_buses(self) -> RegistryBuses: ...

    # registries
    @property
    def source(self) -> ImageSource: ...
    @property
    def view(self) -> RegistryView: ...
    @property
    def target(self) -> ImageTarget: ...
    @property
    def layer_uploads(self) -> LayerUploads: ...
    @property
    def signing(self) -> SigningView: ...
    @property
    def signatures(self) -> Signatures: ...
    @property
    def public_keys(self) -> PublicKeys: ...

    @property
    def revocations(self) -> Revocations: ...
    @property
    def check_functions(self) -> CheckFunctions: ...
    @property
    def guards(self) -> Guards: ...
    @property
    def remover(self) -> ImageRemover: ...
    @property
    def replication(self) -> Replication: ...
    @property
    def image_replication(self) -> ImageReplication: ...
    @property
    def trail(self) -> Trail: ...

    # what runs
    @property
    def usage_readings(self) -> UsageReadings: ...
    @property
    def rollouts(self) -> RollOuts: ...
