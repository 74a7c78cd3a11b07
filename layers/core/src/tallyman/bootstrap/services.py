"""Builds the service behind each function out of adapters, and what it shares with people's commands."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from tallyman.bootstrap.adapters import Adapters
from tallyman.domain.policy import Policy
from tallyman.errors import RevisionConflict
from tallyman.services.deciding.policy_in_force import publish


def record_push(a: Adapters) -> Any:
    """The service behind functions/record_push."""
    from tallyman.services.recording.record_push import RecordPush

    calls = record_call(a)
    return RecordPush(a.policy, a.state, a.evaluator, calls.images, calls, a.clock)


def record_call(a: Adapters) -> Any:
    """What writes down calls, and with its `images` whatever is so of an image: for events, and for reconcile."""
    from tallyman.services.recording.record_call import RecordCall
    from tallyman.services.recording.record_image import RecordImage

    ports = a.source, a.ledger, a.state, a.archive, a.notices, a.evaluator, a.clock
    return RecordCall(a.policy, a.ledger, RecordImage(a.policy, *ports, read_signing(a)), a.clock)


def read_signing(a: Adapters) -> Any:
    """What reads ECR's managed signing, for the functions that ask registries."""
    from tallyman.services.deciding.read_signing import ReadSigning

    return ReadSigning(a.policy, a.signing, a.ledger, a.clock)


def verify_digest(a: Adapters) -> Any:
    """The service behind functions/verify_digest."""
    from tallyman.services.verification.verify_digest import VerifyDigest

    return VerifyDigest(a.policy, a.source, a.ledger, a.state, a.evaluator, a.clock)


def record_scan(a: Adapters) -> Any:
    """The service behind functions/record_scan."""
    from tallyman.services.recording.record_scan import RecordScan

    return RecordScan(a.view, a.ledger, a.archive, a.evaluator, a.clock)


def record_command(a: Adapters) -> Any:
    """The service behind functions/record_command."""
    from tallyman.services.recording.record_command import RecordCommand

    return RecordCommand(a.policy, a.ledger, a.state, a.people, a.hints, a.notices, a.evaluator, a.clock)


def promote_image(a: Adapters) -> Any:
    """The service behind functions/promote_image."""
    from tallyman.services.copying.parts import Parts
    from tallyman.services.promotion.creations import Creations
    from tallyman.services.promotion.promote_image import PromoteImage
    from tallyman.services.promotion.targets import Targets
    from tallyman.services.releases.pointer import Releases
    from tallyman.services.releases.roll_back import RollBacks

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
        a.evaluator,
        releases,
        a.clock,
        back,
        parts=parts,
        signing=read_signing(a),
    )
    return Publishing(a, service)


def retention_needs(a: Adapters, policy: Policy | None = None) -> tuple[Any, Any]:
    """What plans of retention are made with, by this policy: (needs, inventories). Neither writes."""
    from tallyman.services.retention.inputs import Needs
    from tallyman.services.retention.inventory import TakeInventory

    policy = policy or a.policy
    needs = Needs(policy, a.source, a.ledger, a.state, a.replication, a.usage_readings, a.clock)
    return needs, TakeInventory(policy, a.source, a.archive)


def apply_retention(a: Adapters) -> Any:
    """The service behind functions/apply_retention: the only one that holds what removes images."""
    from tallyman.services.retention.apply_retention import ApplyRetention
    from tallyman.services.shared.lease import Leases

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
    from tallyman.services.releases.rollout import RollOutReleases

    return RollOutReleases(a.policy, a.source, a.rollouts, a.ledger, a.state, a.hints, a.notices, a.clock)


def reconcile(a: Adapters) -> Any:
    """The service behind functions/reconcile."""
    from tallyman.services.reconcile.read_trail import ReadTrail
    from tallyman.services.reconcile.reconcile import Reconcile
    from tallyman.services.reconcile.sweep import Sweep
    from tallyman.services.reconcile.waiting import Waiting
    from tallyman.services.recording.round_trip import RoundTrips

    calls, scans = record_call(a), record_scan(a)
    waiting = Waiting(a.policy, a.view, a.ledger, a.state, a.hints, a.evaluator, scans, a.clock, read_signing(a))
    sweep = Sweep(a.policy, a.source, a.ledger, a.state, a.notices, calls.images, waiting, a.clock)
    trail = ReadTrail(a.trail, a.ledger, a.state, calls, a.clock)
    trips = RoundTrips(a.state, a.registry_buses, a.clock)
    look_after = released(a, waiting)
    return Publishing(a, Reconcile(a.policy, a.view, a.state, sweep, waiting, trail, a.clock, look_after, trips))


def released(a: Adapters, waiting: Any) -> Any:
    """What looks after what environments run, for reconcile."""
    from tallyman.services.deciding.recall_impact import Consequences
    from tallyman.services.reconcile.push_protection import Guarded
    from tallyman.services.reconcile.rejudge import Released
    from tallyman.services.reconcile.unfinished_rollouts import Unfinished
    from tallyman.services.releases.pointer import Releases

    releases = Releases(a.policy, a.ledger, a.state, a.announcements, a.clock)
    guarded = Guarded(a.policy, a.guards, a.state, a.notices, a.clock)
    consequences = Consequences(a.policy, a.ledger, a.state, a.usage)
    unfinished = Unfinished(a.policy, a.state, a.hints, waiting, a.clock)
    return Released(
        a.policy, a.state, a.notices, a.evaluator, releases, waiting, guarded, consequences, unfinished, a.clock
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
            with suppress(RevisionConflict):  # another function does the same just now
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
