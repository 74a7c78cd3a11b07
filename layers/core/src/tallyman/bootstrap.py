"""Wires adapters into services: the only place that knows both. Handlers and the command line start here."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import Any

from tallyman.adapters import dynamodb, policy_file, s3, sqs
from tallyman.adapters.clients import Clients
from tallyman.adapters.notices import BusAnnouncements, SnsNotices
from tallyman.domain.names import Registry
from tallyman.domain.policy import Policy
from tallyman.domain.values import dataclass
from tallyman.errors import StateMoved, TallymanError
from tallyman.ports import Clock, Deadline
from tallyman.services.judge import Judge
from tallyman.services.policy_in_force import publish
from tallyman.settings import Settings

MARGIN = 10.0
"""Seconds of a run that work leaves for writing down how far it came."""


def now() -> datetime:
    """The time, aware, UTC: the clock of everything that runs for real."""
    return datetime.now(UTC)


class Adapters:
    """Every adapter, made when first asked for: what a function does not use costs it nothing at a cold start."""

    def __init__(self, settings: Settings, clients: Clients | None = None, clock: Clock = now) -> None:
        hub: Registry = settings.require("hub")
        self.settings, self.clock = settings, clock
        self.clients = clients or Clients(hub, settings.require("stack"), settings.function or "tallyman")

    @cached_property
    def policy(self) -> Policy:
        """The policy file, read once."""
        return policy_file.load(self.settings.require("policy")).for_hub(self.settings.require("hub"))

    @cached_property
    def ledger(self) -> dynamodb.DynamoLedger:
        tables = self.settings.require("ledger_table"), self.settings.require("state_table")
        return dynamodb.DynamoLedger(self.clients.later("dynamodb"), *tables)

    @cached_property
    def state(self) -> dynamodb.DynamoState:
        return dynamodb.DynamoState(self.clients.later("dynamodb"), self.settings.require("state_table"))

    @cached_property
    def archive(self) -> s3.S3Archive:
        return s3.S3Archive(self.clients.later("s3"), self.settings.require("archive_bucket"))

    @cached_property
    def hints(self) -> sqs.SqsHints:
        return sqs.SqsHints(self.clients.later("sqs"), self.settings.queues)

    @cached_property
    def dead_letters(self) -> sqs.DeadLetters:
        return sqs.DeadLetters(self.clients.later("sqs"), self.settings.require("dead_letters"))

    @cached_property
    def notices(self) -> SnsNotices:
        return SnsNotices(self.clients.later("sns"), self.settings.require("notices_topic"))

    @cached_property
    def announcements(self) -> BusAnnouncements:
        return BusAnnouncements(self.clients.later("events"), self.settings.require("bus"))

    @cached_property
    def source(self) -> Any:
        from tallyman.adapters.ecr_source import EcrSource
        from tallyman.adapters.http import Http

        return EcrSource(self.clients, Http())

    @cached_property
    def view(self) -> Any:
        from tallyman.adapters.ecr_view import EcrView

        return EcrView(self.clients)

    @cached_property
    def target(self) -> Any:
        from tallyman.adapters.ecr_target import EcrTarget
        from tallyman.adapters.http import Http
        from tallyman.adapters.registry_http import RegistryHttp

        rate = self.settings.put_rate / self.settings.promote_concurrency
        return EcrTarget(self.clients, RegistryHttp(self.clients, Http(), "push"), rate)

    @cached_property
    def layer_uploads(self) -> Any:
        from tallyman.adapters.ecr_parts import EcrLayerUploads

        return EcrLayerUploads(self.clients)

    @cached_property
    def trail(self) -> Any:
        from tallyman.adapters.cloudtrail import CloudTrail

        return CloudTrail(self.clients, self.settings.trail_rate)

    @cached_property
    def people(self) -> Any:
        from tallyman.adapters.iam import IamPeople

        return IamPeople(self.clients.later("iam"))

    @cached_property
    def signing(self) -> Any:
        from tallyman.adapters.ecr_signing import EcrSigning

        return EcrSigning(self.clients)

    @cached_property
    def guards(self) -> Any:
        from tallyman.adapters.ecr_guards import EcrGuards

        return EcrGuards(self.clients)

    @cached_property
    def usage(self) -> Any:
        from tallyman.adapters.usage import EverySource

        return EverySource(self.clients)

    @cached_property
    def usage_readings(self) -> Any:
        from tallyman.adapters.usage_all import EveryNeed

        return EveryNeed(self.clients)

    @cached_property
    def lifecycle(self) -> Any:
        from tallyman.adapters.ecr_lifecycle import EcrLifecycle

        return EcrLifecycle(self.clients)

    @cached_property
    def remover(self) -> Any:
        from tallyman.adapters.ecr_remover import EcrRemover

        return EcrRemover(self.clients)

    @cached_property
    def replication(self) -> Any:
        from tallyman.adapters.ecr_replication import EcrReplication

        return EcrReplication(self.clients)

    @cached_property
    def rollouts(self) -> Any:
        from tallyman.adapters.roll_outs import EveryRollOut

        return EveryRollOut(self.clients)

    @cached_property
    def registry_buses(self) -> Any:
        from tallyman.adapters.registry_buses import EventBridgeBuses

        return EventBridgeBuses(self.clients, self.settings.require("stack"))

    @cached_property
    def judge(self) -> Judge:
        return Judge(self.policy, self.ledger, self.state, self.hints, self.notices, self.clock)


def record_push(a: Adapters) -> Any:
    """The service behind functions/record_push."""
    from tallyman.services.record_push import RecordPush

    calls = record_call(a)
    return RecordPush(a.policy, a.state, a.judge, calls.images, calls, a.clock)


def record_call(a: Adapters) -> Any:
    """What writes down calls, and with its `images` whatever is so of an image: for events, and for reconcile."""
    from tallyman.services.record_call import RecordCall
    from tallyman.services.record_image import RecordImage

    ports = a.source, a.ledger, a.state, a.archive, a.notices, a.judge, a.clock
    return RecordCall(a.policy, a.ledger, RecordImage(a.policy, *ports, read_signing(a)), a.clock)


def read_signing(a: Adapters) -> Any:
    """What reads ECR's managed signing, for the functions that ask registries."""
    from tallyman.services.read_signing import ReadSigning

    return ReadSigning(a.policy, a.signing, a.ledger, a.clock)


def verify_digest(a: Adapters) -> Any:
    """The service behind functions/verify_digest."""
    from tallyman.services.verify_digest import VerifyDigest

    return VerifyDigest(a.policy, a.source, a.ledger, a.state, a.judge, a.clock)


def record_scan(a: Adapters) -> Any:
    """The service behind functions/record_scan."""
    from tallyman.services.record_scan import RecordScan

    return RecordScan(a.view, a.ledger, a.archive, a.judge, a.clock)


def record_command(a: Adapters) -> Any:
    """The service behind functions/record_command."""
    from tallyman.services.record_command import RecordCommand

    return RecordCommand(a.policy, a.ledger, a.state, a.people, a.hints, a.notices, a.judge, a.clock)


def promote_image(a: Adapters) -> Any:
    """The service behind functions/promote_image."""
    from tallyman.services.copy import Parts
    from tallyman.services.creations import Creations
    from tallyman.services.promote_image import PromoteImage
    from tallyman.services.release import Releases
    from tallyman.services.roll_back import RollBacks
    from tallyman.services.targets import Targets

    creations = Creations(a.policy, a.view, a.target, a.state, a.clock)
    targets = Targets(a.policy, a.view, a.source, creations, a.ledger, a.clock)
    releases = Releases(a.policy, a.ledger, a.state, a.announcements, a.clock)
    back = RollBacks(a.policy, a.source, a.ledger, a.state, a.hints, releases, a.clock)
    parts = Parts(a.layer_uploads, a.state, a.clock)
    service = PromoteImage(
        a.policy,
        a.source,
        a.target,
        targets,
        a.ledger,
        a.state,
        a.hints,
        a.judge,
        releases,
        a.clock,
        back,
        parts=parts,
        signing=read_signing(a),
    )
    return Publishing(a, service)


def retention_needs(a: Adapters, policy: Policy | None = None) -> tuple[Any, Any]:
    """What plans of retention are made with, by this policy: (needs, inventories). Neither writes."""
    from tallyman.services.inventory import TakeInventory
    from tallyman.services.needs import Needs

    policy = policy or a.policy
    needs = Needs(policy, a.source, a.ledger, a.state, a.replication, a.usage_readings, a.clock)
    return needs, TakeInventory(policy, a.source, a.archive)


def apply_retention(a: Adapters) -> Any:
    """The service behind functions/apply_retention: the only one that holds what removes images."""
    from tallyman.services.apply_retention import ApplyRetention
    from tallyman.services.lease import Leases

    needs, inventories = retention_needs(a)
    leases = Leases(a.state, a.clock)
    service = ApplyRetention(
        a.policy,
        inventories,
        needs,
        a.view,
        a.remover,
        a.ledger,
        a.state,
        a.archive,
        a.hints,
        a.notices,
        a.clock,
        leases,
    )
    return Publishing(a, service)


def roll_out(a: Adapters) -> Any:
    """The service behind functions/roll_out."""
    from tallyman.services.roll_out import RollOutReleases

    return RollOutReleases(a.policy, a.source, a.rollouts, a.ledger, a.state, a.hints, a.notices, a.clock)


def reconcile(a: Adapters) -> Any:
    """The service behind functions/reconcile."""
    from tallyman.services.read_trail import ReadTrail
    from tallyman.services.reconcile import Reconcile
    from tallyman.services.round_trip import RoundTrips
    from tallyman.services.sweep import Sweep
    from tallyman.services.waiting import Waiting

    calls, scans = record_call(a), record_scan(a)
    waiting = Waiting(a.policy, a.view, a.ledger, a.state, a.hints, a.judge, scans, a.clock, read_signing(a))
    sweep = Sweep(a.policy, a.source, a.ledger, a.state, a.notices, calls.images, waiting, a.clock)
    trail = ReadTrail(a.trail, a.ledger, a.state, calls, a.clock)
    trips = RoundTrips(a.state, a.registry_buses, a.clock)
    look_after = released(a, waiting)
    return Publishing(a, Reconcile(a.policy, a.view, a.state, sweep, waiting, trail, a.clock, look_after, trips))


def released(a: Adapters, waiting: Any) -> Any:
    """What looks after what environments run, for reconcile."""
    from tallyman.services.consequences import Consequences
    from tallyman.services.guarded import Guarded
    from tallyman.services.release import Releases
    from tallyman.services.released import Released
    from tallyman.services.unfinished import Unfinished

    releases = Releases(a.policy, a.ledger, a.state, a.announcements, a.clock)
    guarded = Guarded(a.policy, a.guards, a.state, a.notices, a.clock)
    consequences = Consequences(a.policy, a.ledger, a.state, a.usage)
    unfinished = Unfinished(a.policy, a.state, a.hints, waiting, a.clock)
    return Released(
        a.policy, a.state, a.notices, a.judge, releases, waiting, guarded, consequences, unfinished, a.clock
    )


class Publishing:
    """A service that names its policy as the one in force before its first work.

    Not when it is built: that is at import, where a passing failure of DynamoDB would cost the whole start.
    """

    def __init__(self, a: Adapters, service: Any) -> None:
        self._publish = partial(publish, a.policy, a.archive, a.ledger, a.state, a.clock)
        self._service, self._done = service, False

    def handle(self, *handed: object) -> str:
        """The service's own."""
        self._once()
        outcome: str = self._service.handle(*handed)
        return outcome

    def run(self, *handed: object) -> dict[str, Any]:
        """The service's own."""
        self._once()
        outcome: dict[str, Any] = self._service.run(*handed)
        return outcome

    def _once(self) -> None:
        if not self._done:
            with suppress(StateMoved):  # another function does the same just now
                self._publish()
            self._done = True


SERVICES: Mapping[str, Callable[[Adapters], Any]] = {
    "record_push": record_push,
    "verify_digest": verify_digest,
    "record_scan": record_scan,
    "record_command": record_command,
    "promote_image": promote_image,
    "apply_retention": apply_retention,
    "roll_out": roll_out,
    "reconcile": reconcile,
}
"""The functions, and what builds the service of each. All but `reconcile` react to messages."""


@dataclass(frozen=True, slots=True)
class Reaction:
    """A service at its queue: what will never succeed goes to the dead-letter queue with its reason, and is done."""

    function: str
    service: Any
    dead_letters: sqs.DeadLetters

    def __call__(self, body: str, *handed: object) -> str:
        """The word for the log. Raises what is worth another try; anything unforeseen is."""
        try:
            outcome: str = self.service.handle(body, *handed)
            return outcome
        except TallymanError as error:
            if error.retryable:
                raise
            self.dead_letters.send(body, str(error), type(error).__name__, self.function)
            return f"dead letter: {type(error).__name__}: {error}"


def reaction(function: str, settings: Settings | None = None) -> Reaction:
    """The reaction of a function, wired for real. Reads the policy and makes its first clients; opens no connection."""
    adapters = started(function, settings)
    return Reaction(function, SERVICES[function](adapters), adapters.dead_letters)


def reconciler(settings: Settings | None = None) -> Any:
    """What functions/reconcile runs: `run(event, request id, deadline)`, wired for real."""
    return reconcile(started("reconcile", settings)).run


def started(function: str, settings: Settings | None = None) -> Adapters:
    """Adapters with the clients that nearly every message needs; the others are made at their first operation.

    Those two are better made at import: a start on Lambda has more processor than a message at our memory size.
    """
    adapters = Adapters(settings or Settings.from_environment())
    for service in ("dynamodb",) if function == "record_command" else ("dynamodb", "ecr"):
        adapters.clients.get(service)
    return adapters


def deadline(remaining_millis: Callable[[], int]) -> Deadline:
    """The seconds that work may use, from what Lambda says is left of the run."""
    return lambda: remaining_millis() / 1000 - MARGIN


def sent(timestamp: str | None) -> datetime:
    """When SQS took a message, from its attribute SentTimestamp (milliseconds since 1970)."""
    return datetime.fromtimestamp(int(timestamp or 0) / 1000, UTC)


def open_stack(outputs: Mapping[str, str], stack: str, hub: Registry, clients: Clients | None = None) -> Adapters:
    """Adapters for a person at the command line, from the outputs of the stack. The policy is the caller's matter."""
    settings = Settings(
        stack=stack,
        function="cli",
        hub=hub,
        ledger_table=outputs.get("LedgerTable"),
        state_table=outputs.get("StateTable"),
        archive_bucket=outputs.get("ArchiveBucket"),
        notices_topic=outputs.get("NoticesTopicArn"),
        bus=outputs.get("BusName"),
        verify_queue=outputs.get("VerifyQueueUrl"),
        promote_queue=outputs.get("PromoteQueueUrl"),
        commands_queue=outputs.get("CommandsQueueUrl"),
        retention_queue=outputs.get("RetentionQueueUrl"),
    )
    return Adapters(settings, clients)
