"""Seals the ledger's entries in the order of their arrival; a part of each run of reconcile."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice

from tallyman.domain.history.seals import LATE, LedgerEntry, SealedEntry, Segment
from tallyman.domain.names import Digest
from tallyman.domain.times import whole_millis
from tallyman.errors import BadInput, RevisionConflict
from tallyman.ports.clocks import Clock, Deadline
from tallyman.ports.messages import Notices
from tallyman.ports.records import Entries, Ledger, Seals, State
from tallyman.services.copying.blobs import RESERVE, enough_time
from tallyman.services.shared.pauses import Pauses
from tallyman.state.items import Entry
from tallyman.state.seals import KEY, SEALS, SealHead
from tallyman.values import value

ENTRIES = 1000
"""The most entries of a segment: about 250 KB."""
BEFORE_FIRST = timedelta(days=30)
"""How long before the first entry about the stack itself the first segment begins."""
AGAIN = timedelta(days=1)
_NOTICE = "notice of the seal"

Key = tuple[str, str]


class SealBroken(BadInput):
    """The chain is not as it was left: nothing is sealed until it is mended."""


@value
class SealLedger:
    """Writes segments. The bucket's conditional write decides which of two runs writes a number; the head in the state
    table says where to continue, and is a second witness of the chain's end."""

    entries: Entries
    seals: Seals
    ledger: Ledger
    state: State
    notices: Notices
    clock: Clock
    pauses: Pauses

    def run(self, left: Deadline) -> tuple[int, int]:
        """Seal the entries that arrived since the last run: at least one segment, more while there is time. Return
        the numbers of entries and segments.

        Raises SealBroken where the chain's end is not as it was left, and OutOfTime. Of two concurrent runs the slower
        one stops.
        Cost, independent of the size of the ledger: a read and a write of the state table, two objects, a Query for
        each day since the last run, and the reads of the entries (and their segments) that arrived since LATE
        before the last run.
        """
        try:
            return self._seal(left)
        except SealBroken as error:
            self._notify(error)
            raise

    def _seal(self, left: Deadline) -> tuple[int, int]:
        entry = self._adopt(SEALS.read(self.state, KEY), left)
        now = whole_millis(self.clock())
        head = entry.found
        if head is None:
            since = self._beginning()
            if since is None:
                return 0, 0
            known: frozenset[Key] = frozenset()
        else:
            since = min(head.until, now) - LATE
            known = self._sealed(head, since)
        sealed = segments = 0
        arrived = (e for e in self.entries.arrived(since) if e.seen is not None and (e.pk, e.sk) not in known)
        for entries in _chunks(arrived):
            full = len(entries) == ENTRIES
            last = entries[-1].seen or since
            segment = Segment(
                number=head.number + 1 if head else 1,
                previous=head.digest if head else None,
                since=since,
                until=max(min(last, now), head.until if head else since) if full else now,
                entries=tuple(SealedEntry(each.pk, each.sk, each.hash) for each in entries),
            )
            raw = segment.dump()
            if not self.seals.write(segment.number, raw):
                return sealed, segments  # another run was faster; the next run adopts its segment
            head = SealHead(segment.number, Digest.of(raw), segment.until)
            sealed, segments = sealed + len(entries), segments + 1
            if (moved := self._move(entry, head)) is None:
                return sealed, segments
            entry = moved
            if full and left() <= RESERVE:
                return sealed, segments
        if head is not None and head.until < now:
            self._move(entry, SealHead(head.number, head.digest, now))
        return sealed, segments

    def _adopt(self, entry: Entry[SealHead], left: Deadline) -> Entry[SealHead]:
        """Return the head after moving it past segments of a run that died before it moved the head. OutOfTime: the
        next run continues."""
        while True:
            head = entry.found
            number = head.number + 1 if head else 1
            raw = self.seals.read(number)
            if raw is None:
                return entry
            segment = _parsed(number, raw)
            if segment.number != number or segment.previous != (head.digest if head else None):
                raise SealBroken(f"the segment {number} does not follow the one before: see `tallyman audit ledger`")
            moved = self._move(entry, SealHead(number, Digest.of(raw), segment.until))
            entry = moved or SEALS.read(self.state, KEY)
            enough_time(left, "the seal of the ledger")

    def _move(self, entry: Entry[SealHead], head: SealHead) -> Entry[SealHead] | None:
        """Write the head; return its entry, None where another run was faster."""
        try:
            self.state.put(entry.write(head))
        except RevisionConflict:
            return None
        return entry.written(head)

    def _sealed(self, head: SealHead, since: datetime) -> frozenset[Key]:
        """The keys in the segments that may name entries seen since then, from the last segment backward."""
        found: set[Key] = set()
        number: int = head.number
        wanted: Digest | None = head.digest
        while wanted is not None:
            raw = self.seals.read(number)
            if raw is None or Digest.of(raw) != wanted:
                state = "is not there" if raw is None else f"has the digest {Digest.of(raw).short}"
                raise SealBroken(
                    f"the segment {number} of the seal {state}, expected {wanted.short}: see `tallyman audit ledger`"
                )
            segment = _parsed(number, raw)
            found.update((each.pk, each.sk) for each in segment.entries)
            if segment.until <= since:
                break
            number, wanted = number - 1, segment.previous
        return frozenset(found)

    def _notify(self, error: SealBroken) -> None:
        """Send a notice, at most one a day."""
        if self.pauses.is_over(_NOTICE, AGAIN):
            text = f"{error}\nNothing more is sealed until the chain is whole again (docs/security.md)."
            self.notices.publish("the seal of the ledger is broken", text, {"kind": "seal_broken"})
            self.pauses.begin(_NOTICE, AGAIN)

    def _beginning(self) -> datetime | None:
        """Where the first segment begins: BEFORE_FIRST before the first entry about the stack itself (its policy, which
        every run of reconcile records first). None: there is no such entry yet."""
        first = min((fact.seen for fact in self.ledger.of_environment("*")), default=None)
        return first - BEFORE_FIRST if first else None


def _parsed(number: int, raw: bytes) -> Segment:
    try:
        return Segment.parse(raw)
    except BadInput as error:
        raise SealBroken(f"the segment {number} of the seal: {error}") from error


def _chunks(entries: Iterator[LedgerEntry]) -> Iterator[list[LedgerEntry]]:
    while chunk := list(islice(entries, ENTRIES)):
        yield chunk
