"""Every adapter of one process, made from the settings when it is first read."""

from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING

from tallyman.adapters.aws import s3, sqs
from tallyman.adapters.aws.clients import Clients, Later
from tallyman.adapters.aws.notices import BusAnnouncements, SnsNotices
from tallyman.adapters.dynamodb import tables as dynamodb
from tallyman.adapters.files import policy_file
from tallyman.domain.names import EcrRegistry
from tallyman.domain.policy import Policy
from tallyman.ports.clocks import Clock
from tallyman.services.shared.long_details import LongDetails
from tallyman.settings import Settings

if TYPE_CHECKING:
    from tallyman.adapters.aws.letters import SqsLetterReader, SqsLetters
    from tallyman.adapters.ecr.lifecycle import EcrLifecycle
    from tallyman.adapters.http.client import HttpClient
    from tallyman.ports.checks import CheckFunctions
    from tallyman.ports.copying import LayerUploads
    from tallyman.ports.messages import People, RegistryBuses
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


def now() -> datetime:
    """The present time, aware, UTC: the clock of everything except tests."""
    return datetime.now(UTC)


class Adapters:
    """Every adapter, made when it is first read: what a function does not use costs it nothing at a cold start."""

    def __init__(self, settings: Settings, clients: Clients | None = None, clock: Clock = now) -> None:
        hub: EcrRegistry = settings.require("hub")
        self.settings, self.clock = settings, clock
        self.clients = clients or Clients(hub, settings.require("stack"), settings.function or "tallyman")

    @cached_property
    def policy(self) -> Policy:
        """The policy file, read once."""
        return policy_file.load(self.settings.require("policy")).for_hub(self.settings.require("hub"))

    @property
    def _tables(self) -> tuple[Later, str, str]:
        """DynamoDB's client, and the names of the ledger's and the state's table."""
        ledger, state = self.settings.require("ledger_table"), self.settings.require("state_table")
        return self.clients.later("dynamodb"), ledger, state

    @property
    def _bucket(self) -> tuple[Later, str]:
        """S3's client, and the name of the archive's bucket."""
        return self.clients.later("s3"), self.settings.require("archive_bucket")

    @cached_property
    def entries(self) -> dynamodb.DynamoLedger:
        """The ledger's items as they are stored, without what lies in the archive: at most DynamoDB's 400 KB each."""
        return dynamodb.DynamoLedger(*self._tables)

    @cached_property
    def ledger(self) -> LongDetails:
        return LongDetails(self.entries, self.archive)

    @cached_property
    def release_ledger(self) -> dynamodb.DynamoReleaseLedger:
        return dynamodb.DynamoReleaseLedger(*self._tables)

    @cached_property
    def state(self) -> dynamodb.DynamoState:
        return dynamodb.DynamoState(self.clients.later("dynamodb"), self.settings.require("state_table"))

    @cached_property
    def archive(self) -> s3.S3Archive:
        return s3.S3Archive(*self._bucket)

    @cached_property
    def objects(self) -> s3.S3Objects:
        """The archive, for services that only read it."""
        return s3.S3Objects(*self._bucket)

    @cached_property
    def every_entry(self) -> dynamodb.DynamoEntries:
        """All items of the ledger, for people."""
        return dynamodb.DynamoEntries(*self._tables)

    @cached_property
    def seals(self) -> s3.S3Seals:
        return s3.S3Seals(*self._bucket)

    @cached_property
    def seal_list(self) -> s3.S3SealList:
        """The seal's segments, for people."""
        return s3.S3SealList(*self._bucket)

    @cached_property
    def hints(self) -> sqs.SqsHints:
        return sqs.SqsHints(self.clients.later("sqs"), self.settings.queues)

    @cached_property
    def dead_letters(self) -> sqs.DeadLetters:
        return sqs.DeadLetters(self.clients.later("sqs"), self.settings.require("dead_letters"))

    @cached_property
    def letters(self) -> "SqsLetters":
        from tallyman.adapters.aws.letters import SqsLetters

        return SqsLetters(
            self.clients.later("sqs"), self.settings.require("stack"), self.settings.require("dead_letters")
        )

    @cached_property
    def letter_reader(self) -> "SqsLetterReader":
        """The dead letters, for people."""
        from tallyman.adapters.aws.letters import SqsLetterReader

        return SqsLetterReader(
            self.clients.later("sqs"), self.settings.require("stack"), self.settings.require("commands_queue")
        )

    @cached_property
    def notices(self) -> SnsNotices:
        return SnsNotices(self.clients.later("sns"), self.settings.require("notices_topic"))

    @cached_property
    def announcements(self) -> BusAnnouncements:
        return BusAnnouncements(self.clients.later("events"), self.settings.require("bus"))

    @cached_property
    def _http(self) -> "HttpClient":
        from tallyman.adapters.aws.clients import certificates
        from tallyman.adapters.http.client import HttpClient

        return HttpClient(connect=3.0, ca_file=certificates())

    @cached_property
    def source(self) -> "ImageSource":
        from tallyman.adapters.ecr.source import EcrSource

        return EcrSource(self.clients, self._http)

    @cached_property
    def view(self) -> "RegistryView":
        from tallyman.adapters.ecr.view import EcrView

        return EcrView(self.clients)

    @cached_property
    def target(self) -> "ImageTarget":
        from tallyman.adapters.ecr.auth import EcrAuth
        from tallyman.adapters.ecr.target import EcrTarget
        from tallyman.adapters.oci.client import RegistryClient

        rate = self.settings.put_rate / self.settings.promote_concurrency
        client = RegistryClient(self._http, EcrAuth(self.clients), attempts=3, longest=5.0, patience=20.0)
        return EcrTarget(self.clients, client, rate)

    @cached_property
    def layer_uploads(self) -> "LayerUploads":
        from tallyman.adapters.ecr.layer_uploads import EcrLayerUploads

        return EcrLayerUploads(self.clients)

    @cached_property
    def trail(self) -> "Trail":
        from tallyman.adapters.aws.cloudtrail import CloudTrail

        return CloudTrail(self.clients, self.settings.trail_rate)

    @cached_property
    def people(self) -> "People":
        from tallyman.adapters.aws.iam import IamPeople

        return IamPeople(self.clients.later("iam"))

    @cached_property
    def signing(self) -> "SigningView":
        from tallyman.adapters.ecr.signing import EcrSigning

        return EcrSigning(self.clients)

    @cached_property
    def signatures(self) -> "Signatures":
        from tallyman.adapters.files.signatures import OriginSignatures

        return OriginSignatures(self.settings.require("policy").parent)

    @cached_property
    def public_keys(self) -> "PublicKeys":
        from tallyman.adapters.aws.kms import KmsPublicKeys

        return KmsPublicKeys(self.clients)

    @cached_property
    def revocations(self) -> "Revocations":
        from tallyman.adapters.aws.signer import SignerRevocations

        return SignerRevocations(self.clients)

    @cached_property
    def check_functions(self) -> "CheckFunctions":
        from tallyman.adapters.aws.check_functions import LambdaChecks

        return LambdaChecks(self.clients)

    @cached_property
    def guards(self) -> "Guards":
        from tallyman.adapters.ecr.push_protection import EcrGuards

        return EcrGuards(self.clients)

    @cached_property
    def usage_readings(self) -> "UsageReadings":
        from tallyman.adapters.usage.references import EveryNeed

        return EveryNeed(self.clients)

    @cached_property
    def lifecycle(self) -> "EcrLifecycle":
        from tallyman.adapters.ecr.lifecycle import EcrLifecycle

        return EcrLifecycle(self.clients)

    @cached_property
    def remover(self) -> "ImageRemover":
        from tallyman.adapters.ecr.remover import EcrRemover

        return EcrRemover(self.clients)

    @cached_property
    def replication(self) -> "Replication":
        from tallyman.adapters.ecr.replication import EcrReplication

        return EcrReplication(self.clients)

    @cached_property
    def image_replication(self) -> "ImageReplication":
        from tallyman.adapters.ecr.replication import EcrImageReplication

        return EcrImageReplication(self.clients)

    @cached_property
    def ecs_rollouts(self) -> "RollOuts":
        from tallyman.adapters.aws.rollouts import EcsRollOuts

        return EcsRollOuts(self.clients)

    @cached_property
    def lambda_rollouts(self) -> "RollOuts":
        from tallyman.adapters.aws.rollouts import LambdaRollOuts

        return LambdaRollOuts(self.clients)

    @cached_property
    def registry_buses(self) -> "RegistryBuses":
        from tallyman.adapters.aws.registry_buses import EventBridgeBuses

        return EventBridgeBuses(self.clients, self.settings.require("stack"))
