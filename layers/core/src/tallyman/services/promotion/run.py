"""One promotion of one image, from its hint to its release: the phases in their order.

    decide ─▶ look ─▶ decide ─▶ read, intend, stage ─▶ look ─▶ decide ─▶ tag ─▶ release

Content is staged in each registry independently; the first tag is set when all registries have all content and have
answered. After a crash anywhere the run is repeated and changes nothing twice. From the first tag on a promotion only
rolls forward: a fact records that tags are being set, so that the promotion is finished even if the image disappears
from the source.

Two leases keep workers apart: one on the image while content is staged (two workers would only do it twice), one on
the repository while tags and release are set, whose fencing token goes into the write that moves the release.

Cost beyond staging (see `services/copying/stage.py`): a look at the targets (two calls a registry, again where staging
took long), one PutImage and one or two reads for each tag and registry, about twelve reads and thirteen writes of the
tables.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from tallyman.domain.decide import PROMOTED, Decision
from tallyman.domain.events.hints import Promote
from tallyman.domain.gates import WAITING
from tallyman.domain.history.fold import PUSHES
from tallyman.domain.names import Repository
from tallyman.domain.policy import Policy
from tallyman.errors import NotFound, RevisionConflict, TallymanError, TransientError
from tallyman.ports.clocks import Clock, Deadline
from tallyman.ports.copying import InParts
from tallyman.ports.messages import Hints
from tallyman.ports.records import Ledger, State
from tallyman.ports.registries import ImageSource, ImageTarget
from tallyman.services.copying.progress import CopiedBytes
from tallyman.services.copying.stage import CopyOptions, ImageGraph, Staged, read_graph, stage
from tallyman.services.deciding.evaluator import Evaluator, pending_key
from tallyman.services.deciding.read_signing import ReadSigning
from tallyman.services.promotion import notices
from tallyman.services.promotion.attempts import Attempts
from tallyman.services.promotion.intents import intend
from tallyman.services.promotion.replicas import Replicas
from tallyman.services.promotion.source_tags import SourceTags
from tallyman.services.promotion.tag_everywhere import tag_everywhere
from tallyman.services.promotion.targets import Targets, worst
from tallyman.services.releases.pointer import Releases, stays
from tallyman.services.shared.lease import Lease, Leases
from tallyman.state import freezes, leases, stops
from tallyman.state.items import StateCheck, checks
from tallyman.state.pending import PENDING
from tallyman.values import value

FRESH = 5.0
"""Seconds for which a look at the targets is valid: where staging took longer, they are asked again before tagging."""
TURN = 3.0
"""Seconds to wait for another promotion of the repository that is setting its tags."""


class Ended(Exception):
    """The run ends without a failure. `outcome`: why; `decision`: the last decision."""

    def __init__(self, outcome: str, decision: Decision | None = None) -> None:
        super().__init__(outcome)
        self.outcome, self.decision = outcome, decision


@value
class Promotions:
    """The ports and services that every promotion uses."""

    policy: Policy
    source: ImageSource
    target: ImageTarget
    targets: Targets
    replicas: Replicas
    ledger: Ledger
    state: State
    hints: Hints
    evaluator: Evaluator
    releases: Releases
    clock: Clock
    leases: Leases
    parts: InParts
    signing: ReadSigning

    @property
    def attempts(self) -> Attempts:
        """Records failed tries, and which tags are being set."""
        return Attempts(self.policy, self.ledger, self.state, self.hints, self.evaluator, self.clock)

    @property
    def source_tags(self) -> SourceTags:
        """Handles tags that have moved to another image in the source."""
        return SourceTags(self.policy, self.ledger, self.state, self.hints)

    def decide(self, hint: Promote) -> Decision | None:
        """The decision now about the promotion that the hint names; None: the policy has no such promotion."""
        return next((d for d in self.evaluator.image(hint.digest) if d.candidate == hint.candidate), None)


@dataclass(slots=True)
class PromotionRun:
    """One run of a promotion: its hint and its state. `carry_out` is the whole promotion.

    `silent`: registries that did not answer; `looked`: when the targets were asked; `stops`: see `read_stops`;
    `copied`: what was uploaded.
    """

    using: Promotions
    hint: Promote
    deadline: Deadline
    worker: str = field(default_factory=lambda: secrets.token_hex(8))
    places: tuple[Repository, ...] = ()
    silent: Mapping[Repository, TallymanError] = field(default_factory=dict)
    looked: datetime | None = None
    staged: Mapping[Repository, Staged | TallymanError] = field(default_factory=dict)
    stops: tuple[StateCheck, ...] = ()
    copied: CopiedBytes = field(default_factory=CopiedBytes)
    _decision: Decision | None = None
    _tree: ImageGraph | None = None

    @property
    def is_decided(self) -> bool:
        """Whether a decision was made, which is needed to record a failure."""
        return self._decision is not None

    @property
    def decision(self) -> Decision:
        """The last decision."""
        assert self._decision is not None  # each phase follows a decision
        return self._decision

    @property
    def tree(self) -> ImageGraph:
        """The image with all that belongs to it."""
        assert self._tree is not None  # read before it is staged
        return self._tree

    def carry_out(self) -> str:
        """Carry out the phases in their order. Raises Ended where a decision between them stops the run,
        TransientError where it may be tried again, and other errors where it failed permanently."""
        self.decide(lambda decision: decision.may_look)
        hold, decision = self.using.leases.hold, self.decision
        with hold(decision.target, leases.of_image(decision.repository, decision.digest), self.worker):
            self.look()
            self.decide(lambda decision: decision.may_go or decision.verdict == PROMOTED)
            self.read()
            self.intend()
            self.stage()
            with hold(decision.target, decision.repository, self.worker, patience=TURN) as lease:
                self.look_again()
                self.read_stops()
                self.decide(lambda decision: decision.may_tag)
                self.tag(lease)
                self.release(lease)
        self.follow_up()
        return PROMOTED

    # --- the decisions between the phases

    def decide(self, goes_on: Callable[[Decision], bool]) -> None:
        """Decide again. Raises Ended where nothing is left to promote, where another worker has promoted the image
        meanwhile (it is released and announced once), and where the gates do not allow the next phase."""
        decision = self.using.decide(self.hint)
        if decision is None or not decision.is_candidate:
            raise Ended("nothing to do")
        if self.hint.attempt is not None and self.hint.attempt < self.using.attempts.number(decision):
            raise Ended("superseded by a later try")
        if decision.verdict == PROMOTED and not (self.hint.check or (self.hint.anew and decision.may_go_anew)):
            self.using.releases.announce(decision.target, decision.repository)
            raise Ended(PROMOTED)
        self._decision = decision
        if not goes_on(decision):
            raise Ended(decision.verdict, decision)

    # --- the phases

    def look(self) -> None:
        """Ask every registry of the target, and drop begun tags that people have removed since."""
        decision = self.decision
        self.places = self.using.policy.environment(decision.target).repositories(decision.repository)
        self.looked = self.using.clock()
        answers = self.using.targets.look(decision)
        self.silent = answers.silent
        self._read_signing()
        if decision.tagging is not None and not self.silent:
            self.using.attempts.end_tagging(decision, answers.tagged(decision.digest))

    def read(self) -> None:
        """Read the image with all that belongs to it from the first registry of the source that has it. Where tagging
        was begun, or the image is promoted, the targets have the whole image too, and may serve as the source."""
        decision, policy = self.decision, self.using.policy
        origins = policy.environment(decision.source).repositories(decision.repository)
        if decision.tagging is not None or decision.verdict == PROMOTED:
            origins += self.places
        trouble: TallymanError | None = None
        for place in origins:
            try:
                self._tree = read_graph(self.using.source, place, decision.digest, deadline=self.deadline)
                return
            except NotFound as error:
                trouble = trouble or error
            except TransientError as error:
                trouble = error
        raise trouble or NotFound(f"{decision.source} has no registry")

    def intend(self) -> None:
        """Record what is about to be pushed, so that the events of the pushes are known as ours."""
        using, decision = self.using, self.decision
        facts = using.ledger.of_digest(decision.digest)
        at = min(f.at for f in facts if f.kind in PUSHES)  # the same key in each try
        intend(using.ledger, decision, self.tree.digests, self.places, at, using.clock)

    def stage(self) -> None:
        """Copy the content to every registry that answered, independently and without any tag. Where ECR replicates,
        copy only to the first and wait for the others."""
        using, origin = self.using, self.tree.repository
        answering = [p for p in self.places if p not in self.silent]  # the others would only time out again
        options = CopyOptions(self.deadline, parts=using.parts, watch=self.copied)

        def copy(to: Sequence[Repository]) -> dict[Repository, Staged | TallymanError]:
            return stage(using.source, origin, using.target, to, self.tree, options)

        if using.policy.environment(self.decision.target).replicas:
            self.staged = using.replicas.stage(self.decision, self.places, answering, self.tree, copy)
        else:
            self.staged = copy(answering)
        failures = {**self.silent, **{p: s for p, s in self.staged.items() if isinstance(s, TallymanError)}}
        if failures:
            raise worst(failures)

    def look_again(self) -> None:
        """Make sure that every registry answered within the last FRESH seconds, before the first tag is set."""
        assert self.looked is not None  # `look` comes first
        stale = (self.using.clock() - self.looked).total_seconds() > FRESH
        if stale and (silent := self.using.targets.look(self.decision).silent):
            raise worst(silent)
        self._read_signing()

    def read_stops(self) -> None:
        """Read the items that could stop the release (freezes, recalls), before the decision that the release relies
        on."""
        decision = self.decision
        frozen = (freezes.key(decision.target, name) for name in (None, decision.repository))
        keys = (stops.RECALLS, stops.failed_verification(decision.digest), *frozen)
        self.stops = checks(self.using.state, keys)

    def tag(self, lease: Lease) -> None:
        """Set every tag in every registry and read each back. Where a gate waits, only the tags that were begun."""
        using, decision = self.using, self.decision.with_tags_to_set
        self._decision = decision
        if newer := using.source_tags.taken_over(decision):
            raise Ended(f"left to {newer}, which gets the same tags", decision)
        if decision.verdict != PROMOTED:
            self._decision = using.attempts.begin_tagging(decision)
        tag_everywhere(using.target, using.targets, self.decision, self.tree.root, self.places, lease)

    def release(self, lease: Lease) -> None:
        """Record the promotion and move the release, unless the image is older than the released one."""
        using, decision = self.using, self.decision
        if decision.verdict == PROMOTED and not self.hint.anew:
            raise Ended(PROMOTED)  # a check of an image that was released before
        if not decision.may_release:
            raise Ended(decision.verdict, decision)
        left_out = {str(p.registry): s.refused_referrers for p, s in self.staged.items() if isinstance(s, Staged)}
        left_out = {registry: reasons for registry, reasons in left_out.items() if reasons}
        of = decision.target, decision.repository, decision.digest, decision.tags
        stops = (*self.stops, self._on_record())
        anew = decision.verdict == PROMOTED
        kept = decision.stays if anew else stays(using.policy, using.ledger, using.state, *of)
        if left_out:
            notices.referrers_left_out(using.evaluator.notices, decision, left_out)
        if kept is not None and not anew:
            notices.not_released(using.evaluator.notices, decision, kept)
        try:
            using.releases.promoted(decision, lease, stops, left_out, kept)
        except RevisionConflict:
            # another worker took over while tags were set: it has to look at them again
            using.source_tags.hint_newer(decision, decision.tags, self.hint.correlation)
            raise
        if decision.verdict == WAITING:  # it was only finished; a gate waits for other tags
            using.attempts.finished_tagging(decision)

    def follow_up(self) -> None:
        """Announce the release, and send hints for what may follow: promotions to the next environment, and of images
        to which the source's tags moved while these were set."""
        using, decision = self.using, self.decision
        using.releases.announce(decision.target, decision.repository)
        decisions = using.evaluator.image(decision.digest)
        using.evaluator.hint(decisions, self.hint.correlation)
        now = [tag for d in decisions if d.candidate == decision.candidate for tag in d.tags]
        lost = [tag for tag in decision.tags if tag not in now]
        using.source_tags.hint_newer(decision, lost, self.hint.correlation)

    # --- how

    def _on_record(self) -> StateCheck:
        """The condition that no other decision is recorded before the release is written. The lease alone can't ensure
        that: it may have expired, unclaimed, while this worker was suspended. Raises RevisionConflict where another
        decision was recorded."""
        entry = PENDING.read(self.using.state, pending_key(self.decision))
        recorded = entry.found.verdict if entry.found else PROMOTED  # a promoted image has no pending item
        if recorded != self.decision.verdict:
            raise RevisionConflict(f"another decision about {self.decision.digest} was recorded")
        return StateCheck(entry.pk, entry.sk, entry.revision)

    def _read_signing(self) -> None:
        """Read the status of managed signing again right before it is relied on: no event reports that it changed."""
        self.using.signing.refresh(self.decision.digest)
