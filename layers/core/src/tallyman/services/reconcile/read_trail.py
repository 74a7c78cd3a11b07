"""CloudTrail's event history of a registry: who did it, and the states of tags in between two sweeps."""

from datetime import datetime, timedelta

from tallyman.domain.history.details.changes import Change
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
"""What is asked for at once, at first: one request for each kind of change, and more for each 50 changes."""
SHORTEST = timedelta(minutes=1)
PAGES = 25
"""Pages that one window may take, half a minute; a window with more is halved, down to SHORTEST. So one that can't be
finished in what a run has left is never begun anew as it was."""
OVERLAP = timedelta(minutes=20)
"""CloudTrail shows a call up to some 15 minutes late."""
KEPT = timedelta(days=90)
BACK = timedelta(hours=12)
BACK_AT_ONCE = 2
"""Windows of the past, and how many of them one run reads: 90 days take as many runs, about a day."""


class _TooMany(Exception):
    """The window holds more than PAGES pages."""


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

        Raises what the trail raises (NotAllowed where the role may not read it), and OutOfTime, after which the next
        run goes on from the last window that was read. Cost: 13 requests a window, and one for each 50 changes; a Query
        a change. What is younger than OVERLAP is read again by the next run, for late calls.
        """
        now = whole_millis(self.clock())
        span = self._span(registry)
        problems: list[str] = []
        settled = now - OVERLAP
        at = max(min(span[1], settled), now - KEPT) if span else now - WINDOW
        while at < now:
            end, found = self._window(registry, at, min(at + WINDOW, now), left)
            problems += found
            self._save(registry, min(span[0], at) if span else at, max(at, min(end, settled)))
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
            start, found = self._window(registry, max(at - BACK, oldest), at, left, back=True)
            problems += found
            self._save(registry, start, until)
            at = start
        return problems

    def _window(
        self, registry: Registry, since: datetime, until: datetime, left: Deadline, back: bool = False
    ) -> tuple[datetime, list[str]]:
        """Reads from `since` on to `until`, or `back` from there, less far where there is too much in between; how far
        it came, and problems."""
        while True:
            shortest = until - since <= SHORTEST

            def go_on(pages: int, may_halve: bool = not shortest) -> None:
                enough_time(left, f"CloudTrail's events of {registry}")
                if may_halve and pages > PAGES:
                    raise _TooMany

            try:
                go_on(0)
                calls = list(self.trail.calls(registry, since, until, go_on))
            except _TooMany:
                half = (until - since) / 2
                since, until = (until - half, until) if back else (since, since + half)
                continue
            return since if back else until, self._record(calls)

    def _record(self, calls: list[ApiCall]) -> list[str]:
        problems = []
        for call in calls:
            try:
                self._write(call)
            except (BadInput, Refused) as error:
                problems.append(f"{call.name} {call.id}: {error}")  # one that can't be written keeps no other waiting
        return problems

    def _write(self, call: ApiCall) -> None:
        origin = call.id.partition("#")[0]
        facts = self.ledger.of_digest(call.digest) if call.digest else []
        known = [f for f in facts if (Change.parse(f).call, f.tag, f.repository) == (origin, call.tag, call.repository)]
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
