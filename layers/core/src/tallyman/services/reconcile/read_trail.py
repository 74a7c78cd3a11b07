"""CloudTrail's event history of a registry: who did it, and the states of tags in between two sweeps."""

from datetime import datetime, timedelta

from tallyman.domain.history.facts import Via
from tallyman.domain.images.details import ApiCall
from tallyman.domain.names import Registry
from tallyman.domain.times import whole_millis
from tallyman.errors import BadInput, Refused, RevisionConflict
from tallyman.ports.clocks import Clock, Deadline
from tallyman.ports.records import Ledger, State
from tallyman.ports.registries import Trail
from tallyman.services.copying.blobs import enough_time
from tallyman.services.recording.record_call import RecordCall
from tallyman.services.recording.stowaways import report_stowaway
from tallyman.state.trails import TRAILS, TrailRead, key
from tallyman.values import value

WINDOW = timedelta(hours=1)
"""What is asked for at once: among ECR's events every pull is one, and a page has 50, half a second each."""
OVERLAP = timedelta(minutes=20)
"""CloudTrail shows a call up to some 15 minutes late."""
KEPT = timedelta(days=90)
BACK_AT_ONCE = 24
"""Windows of the past that one run reads: 90 days take as many runs, about a day."""


@value
class ReadTrail:
    """Reads on where it stopped. Repeating a window writes nothing twice."""

    trail: Trail
    ledger: Ledger
    state: State
    calls: RecordCall
    clock: Clock

    def forward(self, registry: Registry, left: Deadline) -> list[str]:
        """Writes down the calls since the last reading (at first: of the last hour). What was wrong with some of them.

        Raises what the trail raises (NotAllowed where the role may not read it), and OutOfTime. Cost: a request for
        50 of the registry's events in that time, pulls among them; a Query for each call that changed something.
        """
        now = whole_millis(self.clock())
        span = self._span(registry)
        problems: list[str] = []
        at = max(span[1] - OVERLAP, now - KEPT) if span else now - WINDOW
        while at < now:
            enough_time(left, f"CloudTrail's events of {registry}")
            end = min(at + WINDOW, now)
            problems += self._read(registry, at, end)
            self._save(registry, min(span[0], at) if span else at, end)
            span, at = self._span(registry), end
        return problems

    def backward(self, registry: Registry, left: Deadline) -> list[str]:
        """Goes some hours further into the past, at most 90 days; nothing where it has been there."""
        span = self._span(registry)
        problems: list[str] = []
        if span is None:
            return problems
        at, until = span
        oldest = whole_millis(self.clock()) - KEPT
        for _ in range(BACK_AT_ONCE):
            if at <= oldest:
                break
            enough_time(left, f"CloudTrail's older events of {registry}")
            start = max(at - WINDOW, oldest)
            problems += self._read(registry, start, at)
            self._save(registry, start, until)
            at = start
        return problems

    def _read(self, registry: Registry, since: datetime, until: datetime) -> list[str]:
        problems = []
        for call in list(self.trail.calls(registry, since, until)):
            try:
                self._write(call)
            except (BadInput, Refused) as error:
                problems.append(f"{call.name} {call.id}: {error}")  # one that can't be written keeps no other waiting
        return problems

    def _write(self, call: ApiCall) -> None:
        origin = call.id.partition("#")[0]
        facts = self.ledger.of_digest(call.digest) if call.digest else []
        known = [f for f in facts if (f.detail.get("call"), f.tag, f.repository) == (origin, call.tag, call.repository)]
        if not known or call.digest is None:
            self.calls.record(call, Via.RECONCILED)
            return
        images = self.calls.images
        for fact in known:  # who wrote it may have died before the rest was done
            report_stowaway(images.policy, self.ledger, images.notices, fact)
        images.evaluator.digest(call.digest)

    def _span(self, registry: Registry) -> tuple[datetime, datetime] | None:
        read = TRAILS.get(self.state, key(registry))
        return (read.since, read.until) if read else None

    def _save(self, registry: Registry, since: datetime, until: datetime) -> None:
        try:
            self.state.put(TRAILS.read(self.state, key(registry)).write(TrailRead(since, until)))
        except RevisionConflict:
            return  # another run reads the same: what it has not read is read again
