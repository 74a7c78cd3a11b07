"""Builds the services from ports: the same wiring for the functions, for people's commands and for tests."""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tallyman.bootstrap.ports import Ports
    from tallyman.domain.policy import Policy
    from tallyman.services.deciding.evaluator import Evaluator
    from tallyman.services.deciding.policy_in_force import PolicyInForce
    from tallyman.services.deciding.read_signing import ReadSigning
    from tallyman.services.promotion.creations import Creations
    from tallyman.services.promotion.promote_image import PromoteImage
    from tallyman.services.promotion.roll_back import RollBacks
    from tallyman.services.promotion.targets import Targets
    from tallyman.services.reconcile.read_trail import ReadTrail
    from tallyman.services.reconcile.reconcile import Reconcile
    from tallyman.services.reconcile.rejudge import Released
    from tallyman.services.reconcile.sweep import Sweep
    from tallyman.services.reconcile.waiting import Waiting
    from tallyman.services.recording.record_call import RecordCall
    from tallyman.services.recording.record_command import RecordCommand
    from tallyman.services.recording.record_image import RecordImage
    from tallyman.services.recording.record_push import RecordPush
    from tallyman.services.recording.record_scan import RecordScan
    from tallyman.services.recording.round_trip import RoundTrips
    from tallyman.services.releases.pointer import Releases
    from tallyman.services.releases.rollout import RollOutReleases
    from tallyman.services.retention.apply_retention import ApplyRetention
    from tallyman.services.retention.inputs import ReadInputs
    from tallyman.services.retention.inventory import TakeInventory
    from tallyman.services.sealing.seal_ledger import SealLedger
    from tallyman.services.shared.lease import Leases
    from tallyman.services.shared.one_sender import OneSender
    from tallyman.services.shared.pauses import Pauses
    from tallyman.services.verification.verify_digest import VerifyDigest
    from tallyman.services.verification.verify_origin import VerifyOrigin

Sleep = Callable[[float], None]


def retention_inputs(ports: "Ports", policy: "Policy") -> "tuple[ReadInputs, TakeInventory]":
    """The services that plan retention by this policy. Neither writes."""
    from tallyman.services.retention.inputs import ReadInputs
    from tallyman.services.retention.inventory import TakeInventory

    reader = ReadInputs(
        policy, ports.source, ports.ledger, ports.state, ports.replication, ports.usage_readings, ports.clock
    )
    return reader, TakeInventory(policy, ports.source, ports.archive)


class Services:
    """The services of one process. Each is built, with the ports that it needs, when it is first read.

    Modules are imported here and not at the top, so that a cold start of a function loads only its own service.
    """

    def __init__(self, ports: "Ports", sleep: Sleep = time.sleep) -> None:
        self._ports, self._sleep = ports, sleep

    @cached_property
    def notices(self) -> "OneSender":
        from tallyman.services.shared.notices import RoutedNotices
        from tallyman.services.shared.one_sender import OneSender

        p = self._ports
        return OneSender(RoutedNotices(p.policy, p.notices), p.state, p.clock, self._sleep)

    # the services behind functions/…

    @cached_property
    def record_push(self) -> "RecordPush":
        from tallyman.services.recording.record_check import RecordCheck
        from tallyman.services.recording.record_push import RecordPush

        p = self._ports
        checks = RecordCheck(p.policy, self.evaluator, p.clock)
        return RecordPush(p.policy, p.state, self.evaluator, self.record_image, self.record_call, checks, p.clock)

    @cached_property
    def verify_digest(self) -> "VerifyDigest":
        from tallyman.services.verification.verify_digest import VerifyDigest

        p = self._ports
        return VerifyDigest(p.policy, p.source, p.ledger, p.state, self.evaluator, p.clock)

    @cached_property
    def verify_origin(self) -> "VerifyOrigin":
        from tallyman.services.verification.ask_checks import AskChecks
        from tallyman.services.verification.verify_origin import VerifyOrigin

        p = self._ports
        checks = AskChecks(p.policy, p.ledger, p.check_functions, self.evaluator, p.clock)
        asked = (p.signatures, self.evaluator, checks, p.public_keys, p.revocations)
        return VerifyOrigin(p.policy, p.source, p.ledger, *asked, p.clock)

    @cached_property
    def record_scan(self) -> "RecordScan":
        from tallyman.services.recording.finding_index import FindingIndex
        from tallyman.services.recording.record_scan import RecordScan

        p = self._ports
        index = FindingIndex(p.ledger, p.state, p.archive, p.clock)
        return RecordScan(p.view, p.ledger, p.archive, self.evaluator, index, p.clock)

    @cached_property
    def record_command(self) -> "RecordCommand":
        from tallyman.services.recording.move_letters import MoveLetters
        from tallyman.services.recording.record_command import RecordCommand

        p = self._ports
        letters = MoveLetters(p.letters, p.ledger, p.archive, p.clock)
        return RecordCommand(
            p.policy, p.ledger, p.state, p.people, p.hints, self.notices, self.evaluator, p.clock, letters
        )

    @cached_property
    def promote_image(self) -> "PromoteImage":
        from tallyman.services.copying.parts import Parts
        from tallyman.services.promotion.promote_image import PromoteImage
        from tallyman.services.promotion.replicas import Replicas
        from tallyman.services.promotion.run import Promotions

        p = self._ports
        promotions = Promotions(
            policy=p.policy,
            source=p.source,
            target=p.target,
            targets=self.targets,
            replicas=Replicas(p.image_replication, p.source, p.target, self.notices, p.clock),
            ledger=p.ledger,
            state=p.state,
            hints=p.hints,
            evaluator=self.evaluator,
            releases=self.moving_releases,
            clock=p.clock,
            leases=self.leases,
            parts=Parts(p.layer_uploads, p.state, p.clock),
            signing=self.read_signing,
        )
        return PromoteImage(promotions, self.roll_backs)

    @cached_property
    def apply_retention(self) -> "ApplyRetention":
        """The only service that can remove images."""
        from tallyman.services.retention.apply_retention import ApplyRetention

        p = self._ports
        reader, inventories = retention_inputs(p, p.policy)
        return ApplyRetention(
            policy=p.policy,
            inventories=inventories,
            reader=reader,
            view=p.view,
            remover=p.remover,
            ledger=p.ledger,
            state=p.state,
            archive=p.archive,
            hints=p.hints,
            notices=self.notices,
            clock=p.clock,
            leases=self.leases,
        )

    @cached_property
    def roll_out(self) -> "RollOutReleases":
        from tallyman.domain.policy import Runs
        from tallyman.services.releases.rollout import RollOutReleases

        p = self._ports
        rollouts = {Runs.ECS: p.ecs_rollouts, Runs.LAMBDA: p.lambda_rollouts}
        return RollOutReleases(
            p.policy, p.source, rollouts, p.ledger, p.state, p.hints, self.notices, p.clock, self.leases
        )

    @cached_property
    def reconcile(self) -> "Reconcile":
        """Its parts are built when a run first reads them."""
        from tallyman.services.reconcile.reconcile import Reconcile

        p = self._ports
        return Reconcile(p.policy, p.view, p.state, p.clock, self)

    # what these share

    @cached_property
    def evaluator(self) -> "Evaluator":
        from tallyman.services.deciding.evaluator import Evaluator

        p = self._ports
        return Evaluator(p.policy, p.ledger, p.state, p.hints, self.notices, p.clock, p.objects)

    @cached_property
    def read_signing(self) -> "ReadSigning":
        from tallyman.services.deciding.read_signing import ReadSigning

        p = self._ports
        return ReadSigning(p.policy, p.signing, p.ledger, p.clock)

    @cached_property
    def policy_in_force(self) -> "PolicyInForce":
        from tallyman.services.deciding.policy_in_force import PolicyInForce

        p = self._ports
        return PolicyInForce(p.policy, p.archive, p.ledger, p.state, p.clock)

    @cached_property
    def leases(self) -> "Leases":
        from tallyman.services.shared.lease import Leases

        return Leases(self._ports.state, self._ports.clock, self._sleep)

    @cached_property
    def pauses(self) -> "Pauses":
        from tallyman.services.shared.pauses import Pauses

        return Pauses(self._ports.state, self._ports.clock)

    @cached_property
    def record_image(self) -> "RecordImage":
        from tallyman.services.recording.record_image import RecordImage

        p = self._ports
        return RecordImage(
            p.policy, p.source, p.ledger, p.state, p.archive, self.notices, self.evaluator, p.clock, self.read_signing
        )

    @cached_property
    def record_call(self) -> "RecordCall":
        from tallyman.services.recording.record_call import RecordCall

        p = self._ports
        return RecordCall(p.policy, p.ledger, self.record_image, p.clock)

    @cached_property
    def round_trips(self) -> "RoundTrips":
        from tallyman.services.recording.round_trip import RoundTrips

        return RoundTrips(self._ports.state, self._ports.registry_buses, self._ports.clock)

    @cached_property
    def seal_ledger(self) -> "SealLedger":
        from tallyman.services.sealing.seal_ledger import SealLedger

        p = self._ports
        return SealLedger(p.entries, p.seals, p.ledger, p.state, self.notices, p.clock, self.pauses)

    @cached_property
    def creations(self) -> "Creations":
        from tallyman.services.promotion.creations import Creations

        p = self._ports
        return Creations(p.policy, p.view, p.target, p.state, p.clock)

    @cached_property
    def targets(self) -> "Targets":
        from tallyman.services.promotion.targets import Targets

        p = self._ports
        return Targets(p.policy, p.view, p.source, self.creations, p.ledger, p.clock)

    @cached_property
    def releases(self) -> "Releases":
        from tallyman.services.releases.pointer import Releases

        p = self._ports
        return Releases(p.policy, p.ledger, p.state, p.announcements, p.clock)

    @property
    def moving_releases(self) -> "Releases":
        """The service with the ledger that may move releases."""
        return replace(self.releases, ledger=self._ports.release_ledger)

    @cached_property
    def roll_backs(self) -> "RollBacks":
        from tallyman.services.promotion.roll_back import RollBacks

        p = self._ports
        return RollBacks(p.policy, p.source, p.ledger, p.state, p.hints, self.moving_releases, p.clock, self.leases)

    @cached_property
    def waiting(self) -> "Waiting":
        from tallyman.services.reconcile.waiting import Waiting

        p = self._ports
        return Waiting(
            policy=p.policy,
            registries=p.view,
            ledger=p.ledger,
            state=p.state,
            hints=p.hints,
            evaluator=self.evaluator,
            scans=self.record_scan,
            clock=p.clock,
            signing=self.read_signing,
            pauses=self.pauses,
        )

    @cached_property
    def read_trail(self) -> "ReadTrail":
        from tallyman.services.reconcile.read_trail import ReadTrail

        p = self._ports
        return ReadTrail(p.trail, p.ledger, p.state, self.record_call, p.clock)

    @cached_property
    def sweep(self) -> "Sweep":
        from tallyman.services.reconcile.sweep import Sweep

        p = self._ports
        return Sweep(p.policy, p.source, p.ledger, p.state, self.notices, self.record_image, self.waiting, p.clock)

    @cached_property
    def released(self) -> "Released":
        """The service that watches the releases of environments."""
        from tallyman.services.deciding.recall_impact import RecallImpact
        from tallyman.services.reconcile.push_protection import PushProtection
        from tallyman.services.reconcile.rejudge import Released
        from tallyman.services.reconcile.unfinished_rollouts import Unfinished

        p = self._ports
        return Released(
            policy=p.policy,
            state=p.state,
            notices=self.notices,
            evaluator=self.evaluator,
            releases=self.releases,
            waiting=self.waiting,
            push_protection=PushProtection(p.policy, p.guards, p.state, self.notices, p.clock),
            recall_impact=RecallImpact(p.policy, p.ledger, p.state, p.usage_readings, p.clock),
            unfinished=Unfinished(p.policy, p.state, p.hints, self.pauses, p.clock),
            pauses=self.pauses,
            clock=p.clock,
        )
