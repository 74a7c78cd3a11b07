"""Checks the ledger against its seal: reports every entry that was altered, removed or inserted, and where."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from tallyman.domain.history.seals import LATE, LedgerEntry, Segment
from tallyman.domain.names import Digest
from tallyman.domain.times import format_time
from tallyman.errors import BadInput
from tallyman.ports.clocks import Clock
from tallyman.ports.records import AllEntries, SealList, State
from tallyman.state.seals import KEY, SEALS, SealHead
from tallyman.values import value

MOST = 1000
"""The most flaws that are listed one by one."""
UNSEALED = timedelta(days=1)
"""The age from which an unsealed entry is a flaw."""
SKEW = timedelta(minutes=5)
"""The tolerated difference between clocks."""

OnEntry = Callable[[LedgerEntry, int | None], None]
"""Called with each entry and the number of its segment (None: it is not sealed)."""


class FlawKind(StrEnum):
    """The kinds of flaws."""

    ENTRY_ALTERED = "entry_altered"
    ENTRY_REMOVED = "entry_removed"
    ENTRY_INSERTED = "entry_inserted"  # after its place was sealed
    ENTRY_HIDDEN = "entry_hidden"  # missing in the index of arrival, or with a time in the future
    SEGMENT_ALTERED = "segment_altered"
    SEGMENT_MISSING = "segment_missing"
    CHAIN_CUT = "chain_cut"  # its end is missing, or the head was set back
    NOT_SEALED = "not_sealed"  # sealing has stopped


@value
class Flaw:
    """One flaw. `where`: a segment (`seals/0000000012`) or an entry (its pk and sk). `since`: when it was last known to
    be intact (of an inserted entry: its own time); None: not known."""

    kind: FlawKind
    what: str
    where: str
    since: datetime | None = None


@dataclass(slots=True)
class Proof:
    """The result of a check. `waiting`: entries that the next run seals; `unproven`: entries that a missing segment may
    have named; `head`: the last segment; `more`: flaws beyond MOST."""

    entries: int = 0
    sealed: int = 0
    waiting: int = 0
    unproven: int = 0
    segments: int = 0
    head: SealHead | None = None
    flaws: list[Flaw] = field(default_factory=list)
    more: int = 0

    def add(self, kind: FlawKind, what: str, where: str, since: datetime | None = None) -> None:
        """Add a flaw; beyond MOST it is only counted."""
        if len(self.flaws) < MOST:
            self.flaws.append(Flaw(kind, what, where, since))
        else:
            self.more += 1


@dataclass(slots=True)
class _Chain:
    """The segments without their entries, by number. `ends`: up to when each seals; `gaps`: the spans of those that
    can't be read; `limit`: up to when every entry has to be sealed."""

    ends: dict[int, datetime] = field(default_factory=dict)
    digests: dict[int, Digest] = field(default_factory=dict)
    lost: list[int] = field(default_factory=list)
    """The first of each row of segments that can't be read."""
    gaps: list[tuple[datetime | None, datetime | None]] = field(default_factory=list)
    limit: datetime | None = None


@value
class CheckLedger:
    """Reads every segment and every entry once. Memory is bounded: the keys are in a temporary database on disk."""

    entries: AllEntries
    seals: SealList
    state: State
    clock: Clock

    def run(self, expected: Digest | None = None, on_entry: OnEntry | None = None) -> Proof:
        """Check the whole ledger. `expected`: the digest of a segment that somebody noted elsewhere; the chain must
        have it."""
        proof = Proof()
        before = SEALS.get(self.state, KEY)
        with closing(sqlite3.connect("")) as rows:  # an empty name: a file that SQLite removes by itself
            rows.execute("CREATE TABLE sealed (key TEXT PRIMARY KEY, hash TEXT, segment INT, met INT) WITHOUT ROWID")
            chain = self._read_chain(proof, rows, before)
            self._check_end(proof, chain, before, SEALS.get(self.state, KEY), expected)
            self._check_entries(proof, chain, rows, on_entry)
            for key, number in rows.execute("SELECT key, segment FROM sealed WHERE met = 0 ORDER BY segment, key"):
                what = f"an entry that the segment {number} names is not in the ledger any more"
                proof.add(FlawKind.ENTRY_REMOVED, what, key.replace("\0", " "), chain.ends[number])
        return proof

    def _read_chain(self, proof: Proof, rows: sqlite3.Connection, head: SealHead | None) -> _Chain:
        chain, last = _Chain(), 0
        previous: Digest | None = None
        for number, times in sorted(self.seals.versions().items()):
            if number > last + 1:
                self._missing(proof, chain, last + 1, number - 1)
                previous = None
            last, raw = number, self.seals.read(number)
            if raw is None:
                self._missing(proof, chain, number, number)
                previous = None
                continue
            if times > 1:
                what = f"the segment {number} was written or removed {times} times: reconcile writes each once"
                proof.add(FlawKind.SEGMENT_ALTERED, what, _place(number), chain.ends.get(number - 1))
            previous = self._read_segment(proof, chain, rows, number, raw, previous)
        if head is not None and head.number > last:
            self._missing(proof, chain, last + 1, head.number)
        proof.segments = len(chain.ends)
        if chain.ends:
            end = max(chain.ends)
            proof.head = SealHead(end, chain.digests[end], chain.ends[end])
        ends = [*chain.ends.values(), *([head.until] if head else [])]
        chain.limit = min(max(ends), self.clock()) - LATE if ends else None
        chain.gaps = [self._span(chain, number) for number in chain.lost]
        return chain

    def _read_segment(
        self, proof: Proof, chain: _Chain, rows: sqlite3.Connection, number: int, raw: bytes, previous: Digest | None
    ) -> Digest:
        """Note the segment and its flaws; return its digest. `previous`: the digest of the segment before; None where
        that is missing."""
        digest = Digest.of(raw)
        try:
            segment = Segment.parse(raw)
        except BadInput as error:
            what = f"the segment {number} can't be read: {error}"
            proof.add(FlawKind.SEGMENT_ALTERED, what, _place(number), chain.ends.get(number - 1))
            chain.lost.append(number)
            return digest
        chain.digests[number], chain.ends[number] = digest, segment.until
        if segment.number != number:
            what = f"the segment {number} says that it is number {segment.number}"
            proof.add(FlawKind.SEGMENT_ALTERED, what, _place(number), segment.until)
        if segment.previous != previous and (previous is not None or number == 1):
            named = segment.previous.short if segment.previous else "none"
            found = previous.short if previous else "none"
            what = f"the segment {number} names {named} as the one before, which is {found}: one of them was altered"
            proof.add(FlawKind.SEGMENT_ALTERED, what, _place(number), chain.ends.get(number - 1))
        self._note(proof, rows, number, segment)
        return digest

    def _missing(self, proof: Proof, chain: _Chain, first: int, last: int) -> None:
        rest = f"the segments {first} to {last} are" if last > first else f"the segment {first} is"
        proof.add(FlawKind.SEGMENT_MISSING, f"{rest} not in the archive", _place(first), chain.ends.get(first - 1))
        chain.lost.append(first)

    def _span(self, chain: _Chain, number: int) -> tuple[datetime | None, datetime | None]:
        """The span of time in which the entries of a lost segment were written."""
        earlier = [until for n, until in chain.ends.items() if n < number]
        later = [until for n, until in chain.ends.items() if n > number]
        return max(earlier) - LATE if earlier else None, min(later) if later else None

    def _note(self, proof: Proof, rows: sqlite3.Connection, number: int, segment: Segment) -> None:
        """Store the segment's entries for the comparison."""
        for each in segment.entries:
            key = f"{each.pk}\0{each.sk}"
            try:
                rows.execute("INSERT INTO sealed VALUES (?, ?, ?, 0)", (key, each.hash, number))
            except sqlite3.IntegrityError:
                ((known, first),) = rows.execute("SELECT hash, segment FROM sealed WHERE key = ?", (key,))
                if known != each.hash:
                    what = f"the segments {first} and {number} name {each.pk} {each.sk} with different hashes"
                    proof.add(FlawKind.SEGMENT_ALTERED, what, _place(number), segment.until)

    def _check_end(
        self,
        proof: Proof,
        chain: _Chain,
        before: SealHead | None,
        after: SealHead | None,
        expected: Digest | None,
    ) -> None:
        """Compare the chain's end with the head in the state, as read before and after the segments, and with the
        expected digest. The head moves after its segment is written, so it may be one behind."""
        last = max(chain.ends, default=0)
        if before is not None and before.number in chain.digests and chain.digests[before.number] != before.digest:
            what = (
                f"the segment {before.number} has the digest {chain.digests[before.number].short}, "
                f"the head in the state names {before.digest.short}"
            )
            proof.add(FlawKind.SEGMENT_ALTERED, what, _place(before.number), chain.ends.get(before.number - 1))
        if last > (after.number if after else 0) + 1:
            what = f"the head in the state is at {after.number if after else 0}, the archive has {last} segments"
            proof.add(FlawKind.CHAIN_CUT, what, _place(last))
        if expected is not None and expected not in chain.digests.values():
            what = f"no segment has the digest {expected}: the chain was cut before it, or written again"
            proof.add(FlawKind.CHAIN_CUT, what, _place(last))

    def _check_entries(self, proof: Proof, chain: _Chain, rows: sqlite3.Connection, on_entry: OnEntry | None) -> None:
        oldest: datetime | None = None
        now = self.clock()
        for entry, found in _compared(self.entries.every(), rows):
            proof.entries += 1
            if on_entry is not None:
                on_entry(entry, found[1] if found else None)
            if found is not None:
                proof.sealed += 1
                if found[0] != entry.hash:
                    what = f"{_described(entry)} is not as the segment {found[1]} sealed it"
                    proof.add(FlawKind.ENTRY_ALTERED, what, f"{entry.pk} {entry.sk}", chain.ends[found[1]])
                continue
            seen = entry.seen
            if seen is None or seen > now + SKEW:
                why = "the index of arrival does not have it" if seen is None else "it says that it arrives later"
                proof.add(FlawKind.ENTRY_HIDDEN, f"{_described(entry)} is not sealed: {why}", f"{entry.pk} {entry.sk}")
            elif chain.limit is None or seen > chain.limit:
                proof.waiting += 1
                oldest = min(oldest or seen, seen)
            elif any((not a or a <= seen) and (not b or seen <= b) for a, b in chain.gaps):
                proof.unproven += 1
            else:
                what = f"{_described(entry)} was written after its place was sealed"
                proof.add(FlawKind.ENTRY_INSERTED, what, f"{entry.pk} {entry.sk}", seen)
        if oldest is not None and now - oldest > UNSEALED:
            what = f"{proof.waiting} entries are not sealed, the oldest has waited since {format_time(oldest)}"
            proof.add(FlawKind.NOT_SEALED, what, "seals/", oldest)


def _compared(
    entries: Iterator[LedgerEntry], rows: sqlite3.Connection
) -> Iterator[tuple[LedgerEntry, tuple[str, int] | None]]:
    """Yield each entry with its sealed hash and segment number; None: it is not sealed."""
    for entry in entries:
        key = f"{entry.pk}\0{entry.sk}"
        found = rows.execute("SELECT hash, segment FROM sealed WHERE key = ?", (key,)).fetchone()
        if found:
            rows.execute("UPDATE sealed SET met = 1 WHERE key = ?", (key,))
        yield entry, found


def _place(number: int) -> str:
    return f"seals/{number:010d}"


def _described(entry: LedgerEntry) -> str:
    """A description of the entry for people, from its own attributes."""
    about = [str(entry.item[name]) for name in ("repository", "tag", "environment") if name in entry.item]
    of = f" of {' '.join(about)}" if about else ""
    return f"the entry {entry.item.get('kind', 'without a kind')}{of} at {entry.item.get('at', '?')}"
