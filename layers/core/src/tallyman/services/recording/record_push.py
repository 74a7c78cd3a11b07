"""Records what a registry reported: that an image was pushed, removed, replicated, archived or restored.

Observe (parse the hint, ask the registry), write facts (conditionally), decide, enqueue; each may be repeated.
"""

from datetime import datetime

from tallyman.domain.events.eventbridge import CheckPosted, ImageAction, RoundTrip, ScanEnded, parse_event
from tallyman.domain.history.details.changes import Change
from tallyman.domain.history.facts import Kind, Via
from tallyman.domain.images.details import ApiCall
from tallyman.domain.policy import Policy
from tallyman.errors import BadMessage
from tallyman.ports.clocks import Clock
from tallyman.ports.records import State
from tallyman.services.deciding.evaluator import Evaluator
from tallyman.services.promotion.intents import is_intended
from tallyman.services.recording.record_call import RecordCall
from tallyman.services.recording.record_check import RecordCheck
from tallyman.services.recording.record_image import Observation, RecordImage
from tallyman.services.recording.registry_state import mark_active
from tallyman.services.recording.round_trip import arrived
from tallyman.services.retention.hints import hint_after_push
from tallyman.values import value

_KINDS = {
    "push": Kind.PUSHED,
    "replicate": Kind.REPLICATED,
    "archive": Kind.ARCHIVED,
    "restore": Kind.RESTORED,
}


@value
class RecordPush:
    """The reaction to ECR's image events, and to CloudTrail's events of calls about images."""

    policy: Policy
    state: State
    evaluator: Evaluator
    images: RecordImage
    calls: RecordCall
    checks: RecordCheck
    clock: Clock

    def handle(self, body: str, sent: datetime | None = None) -> str:
        """Handle one event, which SQS received at `sent` (None: now); return the line for the log. Raises BadMessage
        for another event, TransientError where it can be retried.

        Cost for a push: BatchGetImage, DescribeImages, one archive object, and about seven writes.
        """
        event = parse_event(body)
        if isinstance(event, ScanEnded):
            raise BadMessage("a scan's event is not for record_push")
        if isinstance(event, RoundTrip):
            return arrived(self.state, event, self.clock())
        if isinstance(event, CheckPosted):
            return self.checks.record(event, sent or self.clock())
        mark_active(self.state, event.repository, self.clock())
        if isinstance(event, ApiCall):
            return self.calls.record(event, Via.EVENT)
        if not event.succeeded:
            return "ignored: the registry says that the action failed"
        return self._action(event)

    def _action(self, event: ImageAction) -> str:
        """Record one image action and evaluate the image."""
        reported_by = Change(event=event.id, replicated_from=str(event.source) if event.source else None)
        removed = event.action == "delete"
        kind = (Kind.UNTAGGED if event.tag else Kind.DELETED) if removed else _KINDS[event.action]
        # our own push changes no decision where no promotion leads on; most pushes there are ours, so that the facts
        # are read once, for everything that needs them
        may_be_ours = event.action == "push" and not self.policy.promotions_out_of(event.repository)
        facts = self.images.ledger.of_digest(event.digest) if may_be_ours else None
        where = event.repository, event.digest, event.tag, event.at
        seen = Observation(kind, *where, Via.EVENT, event.at, reported_by=reported_by, facts=facts)
        if removed:
            self.images.removed(seen)
        else:
            self.images.pushed(seen)
        if facts is None or not is_intended(facts, event.repository):
            # the status of managed signing is read with the push
            news = None if self.images.signing.is_asked_for else _KINDS.get(event.action)
            decisions = self.evaluator.digest(event.digest, event.id, news=news)
            if event.action == "replicate":  # a promotion may wait for it
                self.evaluator.hint([d for d in decisions if d.awaits_replication], event.id, again=True)
        if event.action in ("push", "replicate"):
            hint_after_push(self.policy, self.state, self.evaluator.hints, event.repository, self.clock())
        return f"{event.action} recorded"
