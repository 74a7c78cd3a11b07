"""Reads CloudTrail's event history of a registry: who made each change, and changes of tags between two sweeps."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

from tallyman.domain.history.details.changes import Change
from tallyman.domain.history.facts import Via
from tallyman.domain.images.details import ApiCall
from tallyman.domain.names import Digest, EcrRegistry
from tallyman.domain.times import whole_millis
from tallyman.errors import BadInput, Refused, RevisionConflict
from tallyman.ports.clocks import Clock, Deadline
from tallyman.ports.records import Ledger, State
from tallyman.ports.registries import Trail
from tallyman.services.copying.blobs import enough_time
from tallyman.services.deciding.image_facts import Once
from tallyman.services.recording.record_call import RecordCall
from tallyman.services.recording.stowaways import report_stowaway
from tallyman.state.items import Entry
from tallyman.state.trails import TRAILS, TrailPart, TrailRead, key
from tallyman.values import value

WINDOW = timedelta(hours=1)
"""The span of time that is read at once: one request for each kind of change, and one more for each 50 changes."""
OVERLAP = timedelta(minutes=20)
"""The time that is read again: CloudTrail shows a call up to about 15 minutes late."""
KEPT = timedelta(days=90)
"""How long CloudTrail keeps its event history."""
BACK = timedelta(hours=12)
BACK_AT_ONCE = 2
"""The span of a step into the past, and the steps of one run: 90 days take 90 runs, about a day."""


@value
class ReadTrail:
    """Reads the history from where the last run stopped, even within a window. A repeated page writes nothing twice."""

    trail: Trail
    ledger: Ledger
    state: State
    calls: RecordCall
    clock: Clock

    def forward(self, registry: EcrRegistry, left: Deadline) -> list[str]:
        """Record the calls since the last reading (the first time: of the last hour). Return the problems with calls
        that could not be recorded.

        Raises the errors of the trail (NotAllowed where the role may not read it), and OutOfTime, after which the next
        run continues with the next page. Cost: 13 requests a window, and one for each 50 changes; of each 50, a
        Query and an evaluation for each image. The next run reads the last OVERLAP again, for late calls.
        """
        now = whole_millis(self.clock())
        settled = now - OVERLAP
        problems: list[str] = []
        entry = TRAILS.read(self.state, key(registry))
        read = entry.found
        at = max(min(read.until, settled), now - KEPT) if read else now - WINDOW
        read = read or TrailRead(at, at)
        while at < now:
            part = read.ahead or TrailPart(at, min(at + WINDOW, now), settled, "")
            for left_over, found in self._pages(registry, part, left):
                problems += found
                if left_over:
                    read = replace(read, ahead=left_over)
                else:
                    until = max(part.since, min(part.until, part.settled))
                    read = replace(read, since=min(read.since, part.since), until=until, ahead=None)
                entry = self._save(registry, entry, read)
            at = part.until
        return problems

    def backward(self, registry: EcrRegistry, left: Deadline) -> list[str]:
        """Record the calls of some hours further in the past, down to 90 days. Return problems as `forward`."""
        problems: list[str] = []
        entry = TRAILS.read(self.state, key(registry))
        read = entry.found
        oldest = whole_millis(self.clock()) - KEPT
        for _ in range(BACK_AT_ONCE):
            if read is None or read.since <= oldest:
                break
            part = read.behind or TrailPart(max(read.since - BACK, oldest), read.since, read.since, "")
            for left_over, found in self._pages(registry, part, left):
                problems += found
                read = replace(read, behind=left_over) if left_over else replace(read, since=part.since, behind=None)
                entry = self._save(registry, entry, read)
        return problems

    def _pages(
        self, registry: EcrRegistry, part: TrailPart, left: Deadline
    ) -> Iterator[tuple[TrailPart | None, list[str]]]:
        """Record the calls page by page; yield after each page the rest of the window (None: none) and the
        problems."""

        def waiting() -> None:
            enough_time(left, f"CloudTrail's events of {registry}")

        position: str | None = part.position or None
        while True:
            waiting()
            page = self.trail.page(registry, part.since, part.until, position, waiting)
            position = page.position
            yield replace(part, position=position) if position else None, self._record(page.calls)
            if position is None:
                return

    def _record(self, calls: Sequence[ApiCall]) -> list[str]:
        """Record the calls of a page, then evaluate each of their images once: a push of many tags is many calls."""
        problems: list[str] = []
        facts, changed = Once(self.ledger), dict[Digest, ApiCall]()
        for call in calls:
            with _noted(problems, call):
                changed |= dict.fromkeys(self._write(call, facts), call)
        for digest, call in changed.items():
            with _noted(problems, call):
                self.calls.images.evaluator.digest(digest, call.id)
        return problems

    def _write(self, call: ApiCall, facts: Once) -> list[Digest]:
        """Record a call. Return the images to evaluate, of a call that was recorded before too: the worker that wrote
        it may have died before it finished."""
        origin = call.id.partition("#")[0]
        of_image = facts.of_digest(call.digest) if call.digest else []
        known = [
            f for f in of_image if (Change.parse(f).call, f.tag, f.repository) == (origin, call.tag, call.repository)
        ]
        if not known or call.digest is None:
            return self.calls.write(call, Via.RECONCILED)[1]
        images = self.calls.images
        for fact in known:
            seen_now = replace(fact, seen=whole_millis(self.clock()))
            report_stowaway(images.policy, self.ledger, images.notices, seen_now)
        return [call.digest]

    def _save(self, registry: EcrRegistry, entry: Entry[TrailRead], read: TrailRead) -> Entry[TrailRead]:
        try:
            self.state.put(entry.write(read))
        except RevisionConflict:  # another run reads the same window
            return TRAILS.read(self.state, key(registry))
        return entry.written(read)


@contextmanager
def _noted(problems: list[str], call: ApiCall) -> Iterator[None]:
    """Note what is wrong with a call: the others are recorded all the same."""
    try:
        yield
    except (BadInput, Refused) as error:
        problems.append(f"{call.name} {call.id}: {error}")
