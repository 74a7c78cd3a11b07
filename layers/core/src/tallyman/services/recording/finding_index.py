"""The index of findings: the images in which the newest scans found a vulnerability or a package.

It is for display only; decisions use the facts. It is written before the fact of a scan, so that a repeated message
completes it. An entry has the time of its scan, and an older scan never replaces a newer one.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import islice

from tallyman.domain.history.details.scans import Scanned
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.images.findings import FOLDER, SEVERITIES, Row, from_object, packages_of
from tallyman.domain.names import Digest, Repository
from tallyman.errors import RevisionConflict
from tallyman.ports.clocks import Clock
from tallyman.ports.records import Ledger, Objects, State
from tallyman.state import findings
from tallyman.state.findings import FINDINGS, INDEXED, Found, Indexed
from tallyman.state.items import Key
from tallyman.values import value

MOST_NAMES = 20
"""The most packages of a vulnerability, or vulnerabilities of a package, that an entry names."""
MOST_FACTS = 2000
"""The most facts of a repository that are read to add its older scans to the index. A repository with more is not
indexed completely: its facts are read at each request, until its images are scanned again."""


@value
class FindingIndex:
    """Writes the index."""

    ledger: Ledger
    state: State
    archive: Objects
    clock: Clock

    def update(
        self, repository: Repository, digest: Digest, rows: Sequence[Row], at: datetime, last: Fact | None
    ) -> None:
        """Index the findings of a scan that ended at `at`. `last`: the scan before; its findings that this one lacks
        are removed.

        Cost: a read for a hundred vulnerabilities and packages, and a write for each that is new, changed or gone.
        """
        self._complete(repository, digest)
        now = entries_of(rows, at)
        before = entries_of(self.rows(last), last.at) if last is not None else {}
        self._write(repository, digest, now, at, before)

    def rows(self, scan: Fact) -> Sequence[Row]:
        """All findings of a scan's fact, from the archive where the fact holds only a part."""
        scanned = Scanned.parse(scan)
        rows = scanned.inline
        if rows is None:
            raw = self.archive.get(FOLDER, Digest(str(scanned.archived)))
            rows = from_object(raw) if raw is not None else tuple(scanned.findings)
        return rows

    def _complete(self, repository: Repository, digest: Digest) -> None:
        """Add the scans of a repository that are older than the index, once."""
        entry = INDEXED.read(self.state, findings.indexed_key(repository))
        if entry.found is not None:
            return
        facts = list(islice(self.ledger.of_repository(repository), MOST_FACTS + 1))
        if len(facts) > MOST_FACTS:
            return
        scans: dict[Digest, Fact] = {}
        for fact in facts:  # the newest first
            if fact.kind is Kind.SCANNED and fact.digest is not None and fact.digest != digest:
                scans.setdefault(fact.digest, fact)
        for other, scan in scans.items():
            self._write(repository, other, entries_of(self.rows(scan), scan.at), scan.at, {})
        with suppress(RevisionConflict):  # another worker does the same
            self.state.put(entry.write(Indexed(self.clock())))

    def _write(
        self,
        repository: Repository,
        digest: Digest,
        now: Mapping[str, Found],
        at: datetime,
        before: Mapping[str, Found],
    ) -> None:
        keys: list[Key] = [findings.key(name, repository, digest) for name in {**before, **now}]
        items = self.state.get_many(keys)
        for key in keys:
            entry = FINDINGS.entry(key, items.get(key))
            there, wanted = entry.found, now.get(key[0])
            if there is not None and there.at > at:
                continue  # a newer scan has written it
            if there is None or wanted is None:
                same = there is wanted
            else:
                same = (there.severity, there.names) == (wanted.severity, wanted.names)
            if same:
                continue
            with suppress(RevisionConflict):  # another scan of the image is recorded just now
                self.state.put(entry.write(wanted) if wanted is not None else entry.remove(self.clock()))


def entries_of(rows: Iterable[Row], at: datetime) -> dict[str, Found]:
    """The entries of these findings, by partition of the index."""
    names: dict[str, dict[str, None]] = {}
    worst: dict[str, int] = {}
    for row in rows:
        packages = packages_of(row)
        pairs = [(findings.vulnerability(str(row["id"])), packages)]
        pairs += [(findings.package(package), [str(row["id"])]) for package in packages]
        severity = SEVERITIES.index(row["severity"]) if row["severity"] in SEVERITIES else len(SEVERITIES) - 1
        for partition, others in pairs:
            names.setdefault(partition, {}).update(dict.fromkeys(others))
            worst[partition] = min(worst.get(partition, severity), severity)
    return {
        partition: Found(at, SEVERITIES[worst[partition]], tuple(sorted(others))[:MOST_NAMES])
        for partition, others in names.items()
    }


def where(state: State, name: str) -> dict[tuple[Digest, Repository], Found]:
    """The images in which the newest scans found this vulnerability, or this package. Two Queries."""
    found: dict[tuple[Digest, Repository], Found] = {}
    for partition in (findings.vulnerability(name), findings.package(name)):
        for entry in FINDINGS.list(state, partition):
            found.setdefault(findings.parse_key((entry.pk, entry.sk)), entry.value)
    return found


def not_indexed(state: State, repositories: Sequence[Repository]) -> list[Repository]:
    """The repositories whose scans are not all in the index. A read for a hundred."""
    there = INDEXED.get_many(state, [findings.indexed_key(repository) for repository in repositories])
    return [repository for repository in repositories if findings.indexed_key(repository) not in there]
