"""Records the present result of a scan in the registry after its event, and evaluates the image."""

from collections.abc import Sequence
from dataclasses import replace
from enum import Enum

from tallyman.domain.events.eventbridge import ScanEnded, parse_event
from tallyman.domain.gates.scan import ScanGate
from tallyman.domain.history.details.base import new_fact
from tallyman.domain.history.details.scans import Scanned
from tallyman.domain.history.facts import Fact, Kind, Via
from tallyman.domain.images.details import Finding, ScanReport
from tallyman.domain.images.findings import FOLDER, first_of, rows_of, to_object
from tallyman.domain.names import Digest, Repository
from tallyman.domain.times import text_or_none, whole_millis
from tallyman.errors import BadMessage, NotFound
from tallyman.ports.clocks import Clock
from tallyman.ports.records import Appended, Archive, Ledger
from tallyman.ports.registries import RegistryView
from tallyman.services.deciding.evaluator import Evaluator
from tallyman.services.recording.finding_index import FindingIndex
from tallyman.values import value

_ENDED = frozenset({"complete", "failed", "unsupported"})


class News(Enum):
    """The difference that a scan makes to the recorded scans of an image."""

    NONE = "none"  # it has not ended, or was recorded before
    SAME = "same"  # another scan with the same result, which changes no decision about an index above
    NEW = "new"


@value
class RecordScan:
    """The reaction to scan events. A new result of a platform image also evaluates the indexes above it."""

    registries: RegistryView
    ledger: Ledger
    archive: Archive
    evaluator: Evaluator
    index: FindingIndex
    clock: Clock

    def handle(self, body: str) -> str:
        """React to one event; return the line for the log. Cost: a page of findings a call, one object, one or two
        writes, and those of the index."""
        event = parse_event(body)
        if not isinstance(event, ScanEnded):
            raise BadMessage("record_scan expects the event of a scan")
        try:
            report = self.registries.scan(event.repository, event.digest)
        except NotFound:
            return "gone: the image was removed since"
        news = self.record(event.repository, event.digest, report, Via.EVENT)
        if news is News.SAME:
            self.evaluator.hint(self.evaluator.image(event.digest), event.id)
        else:  # also a known result: the reaction that wrote it may have died before the evaluation
            self.evaluator.digest(event.digest, event.id)
        return f"scan {report.status}" + (" (known)" if report.status in _ENDED and news is News.NONE else "")

    def record(self, repository: Repository, digest: Digest, report: ScanReport, via: Via) -> News:
        """Record the scan if it has ended and was not recorded yet; return what it adds."""
        if report.status not in _ENDED:
            return News.NONE
        now = self.clock()
        at = whole_millis(report.completed_at or now)
        rows = rows_of(self._findings(repository, digest, report))
        counts = {severity: number for severity, number in sorted(report.counts.items()) if number}
        said = to_object(report.status, counts, rows)
        last = [f for f in self.ledger.of_digest(digest) if f.kind is Kind.SCANNED and f.repository == repository]
        if report.completed_at is None and last and Scanned.parse(last[-1]).said == Digest.of(said):
            return News.NONE  # without a completion time only a changed result is new
        archived = self.archive.put(FOLDER, said) if rows else None
        if report.status == "complete":
            found = [fact for fact in last if Scanned.parse(fact).status == "complete"]
            self.index.update(repository, digest, rows, at, found[-1] if found else None)
        details = Scanned(
            status=report.status,
            counts=counts,
            findings=first_of(rows),
            listed=len(rows),
            archived=archived,
            completed_at=text_or_none(report.completed_at),
            said=Digest.of(said),
            reason=report.reason,
        )
        key = (repository, digest, report.completed_at, said.decode())
        fact = new_fact(Kind.SCANNED, key, details, now, at=at, via=via, digest=digest, repository=repository)
        if self.ledger.append(fact) is Appended.KNOWN:
            return News.NONE
        return News.SAME if last and not self._asks_for_age and self._is_same(fact) else News.NEW

    def _is_same(self, scan: Fact) -> bool:
        """Whether the newest other scan in each repository has the same result: then this scan changes no gate, except
        one that depends on the age of a scan. Called after this scan was written: of two scans that are recorded at the
        same time at least one sees the other."""
        scans = [
            f for f in self.ledger.of_digest(Digest(str(scan.digest))) if f.kind is Kind.SCANNED and f.id != scan.id
        ]
        newest = {f.repository: Scanned.parse(f) for f in sorted(scans, key=lambda f: (f.at, f.seen, f.id))}
        said = Scanned.parse(scan).said
        return scan.repository in newest and all(s.said == said and s.outcome == s.status for s in newest.values())

    @property
    def _asks_for_age(self) -> bool:
        """Whether a gate of the policy depends on the age of a scan."""
        gates = (p.gates.get("scan") for rule in self.evaluator.policy.repositories for p in rule.promotions)
        return any(isinstance(gate, ScanGate) and gate.max_age is not None for gate in gates)

    def _findings(self, repository: Repository, digest: Digest, report: ScanReport) -> Sequence[Finding]:
        """The findings, with EPSS scores where a gate needs them: one more call, to another service."""
        if report.status != "complete" or not report.findings or not self._asks_for_epss(repository):
            return report.findings
        scores = self.registries.epss(repository, digest)
        return [replace(finding, epss=scores.get(finding.id)) for finding in report.findings]

    def _asks_for_epss(self, repository: Repository) -> bool:
        gates = (p.gates.get("scan") for p in self.evaluator.policy.promotions_out_of(repository))
        return any(isinstance(gate, ScanGate) and gate.epss is not None for gate in gates)
