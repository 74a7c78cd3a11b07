"""Counts the findings of a scan that count, for the gate `scan`, and says why the others do not."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tallyman.domain.gates.case import Case
from tallyman.domain.gates.vex import VexOfImage
from tallyman.domain.history.details.scans import Scanned
from tallyman.domain.images.findings import Row, packages_of
from tallyman.domain.policy import end_of_day
from tallyman.domain.policy.tags import glob_matches
from tallyman.domain.times import parse_time

if TYPE_CHECKING:
    from tallyman.domain.gates.scan import ScanGate

_MOST_REASONS = 10
"""The most reasons why findings do not count that a result lists; each VEX statement may have its own."""


class Tally:
    """Counts the findings of a scan that count now, each as often as it occurs.

    Findings that the scanner counts but does not list always count. `until`: when time alone changes the counts.
    """

    def __init__(self, config: "ScanGate", now: datetime, vex: VexOfImage | None) -> None:
        self._config, self._now, self._vex = config, now, vex
        self._ignored_now = config.ignored(now)
        self.counts: Counter[str] = Counter()
        self.ignored: set[str] = set()
        self.by_vex: list[dict[str, Any]] = []
        self.until: datetime | None = min(vex.begins(), default=None) if vex else None
        self._unknown: Counter[str] = Counter()
        self._left_out: Counter[str] = Counter()

    def unnamed(self, severity: str, number: int) -> None:
        """Add `number` findings of which only the severity is known."""
        self.counts[severity] += number
        if number and self._config.asks_for_findings:
            self._unknown["which they are"] += number

    def add(self, row: Row) -> None:
        """Add one finding."""
        if row["id"] in self._ignored_now:
            self.ignored.add(row["id"])
            self._left_out["ignored"] += 1
            self._changes(
                min(end_of_day(e.until) for e in self._config.ignore if e.id == row["id"] and e.holds(self._now))
            )
            return
        said = self._vex.ignoring(row) if self._vex is not None else None
        if said is not None:
            self.by_vex.append({"id": row["id"], "package": row.get("package"), **said.as_json()})
            self._left_out[said.words] += 1
            return
        doubts: list[str] = []
        if why := self._exclusion(row, doubts):
            self._left_out[why] += 1
            return
        self.counts[row["severity"]] += 1
        self._unknown.update(doubts)

    @property
    def left_out(self) -> list[str]:
        """The numbers of findings that do not count, with the reasons, in words."""
        words = [f"{number} {why}" for why, number in self._left_out.items()]
        more = [f"{len(words) - _MOST_REASONS} more reasons"] if len(words) > _MOST_REASONS else []
        return [", ".join(words[:_MOST_REASONS] + more)] if words else []

    @property
    def doubts(self) -> list[str]:
        """Data that the scanner does not report about findings that count, in words."""
        return [
            f"for {n} that count{'s' if n == 1 else ''} it is not known {what}" for what, n in self._unknown.items()
        ]

    def _exclusion(self, row: Row, doubts: list[str]) -> str | None:
        """Why the finding does not count, in words; None: it counts. Adds missing data to `doubts`."""
        config = self._config
        if config.packages is not None and self._is_ignored(config.packages.ignore, row, doubts):
            return "in ignored packages"
        if config.fixable is not None:
            if row.get("fix") is False:
                return "without a fix"
            doubts += ["whether there is a fix"] if row.get("fix") is None else []
        if config.exploit is not None:
            if row.get("exploit") is False:
                return "without a known exploit"
            doubts += ["whether there is an exploit"] if row.get("exploit") is None else []
        if config.epss is not None:
            if row.get("epss") is None:
                doubts.append("how likely an exploit is (EPSS)")
            elif row["epss"] < config.epss:
                return f"of an EPSS below {config.epss:g}"
        return "not known for long enough" if self._is_new(row, doubts) else None

    def _is_ignored(self, globs: Sequence[str], row: Row, doubts: list[str]) -> bool:
        names = packages_of(row)
        if not names:
            doubts.append("in which package")
        return bool(names) and all(any(glob_matches(glob, name) for glob in globs) for name in names)

    def _is_new(self, row: Row, doubts: list[str]) -> bool:
        if self._config.since is None:
            return False
        if row.get("since") is None:
            doubts.append("since when it is known")
            return False
        counts_from = parse_time(row["since"]) + self._config.since
        if counts_from <= self._now:
            return False
        self._changes(counts_from)
        return True

    def _changes(self, at: datetime) -> None:
        self.until = at if self.until is None else min(self.until, at)


def tally_of(config: "ScanGate", scan: Scanned, case: Case, vex: VexOfImage | None) -> Tally:
    """The tally of a complete scan: of the findings that it or the archive lists, and of those that it only counts."""
    rows: Sequence[Row] | None = scan.inline
    if rows is None:
        rows = case.image.findings.get(scan.archived or "", ()) if config.asks_for_findings else ()
    tally = Tally(config, case.now, vex)
    for row in rows:
        tally.add(row)
    listed = Counter(row["severity"] for row in rows)
    for severity, number in scan.counts.items():
        tally.unnamed(severity, max(0, number - listed[severity]))
    return tally
