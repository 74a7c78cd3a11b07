"""The gate `scan`: what the vulnerability scanner found stays within the policy's maxima."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import field
from datetime import date, datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from tallyman.domain.gates import approvals
from tallyman.domain.gates.case import FAILED, PASSED, WAITING, Case, Gate, GateResult
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.names import Digest
from tallyman.domain.policy import end_of_day, format_duration
from tallyman.domain.policy.gates import GateConfig
from tallyman.domain.policy.shapes import Choice, Day, Duration, Integer, Key, ListOf, Record, String
from tallyman.domain.times import format_time
from tallyman.values import value

_WORST = {FAILED: 0, WAITING: 1, PASSED: 2}


SEVERITIES = ("critical", "high", "medium", "low", "informational", "undefined")  # worst first, as ECR names them


class Unscannable(StrEnum):
    """What happens to an image that the scanner can't scan at all."""

    REFUSE = "refuse"
    APPROVE = "approve"
    PASS = "pass"


@value
class Ignore:
    """A finding that does not count, through the day `until` (UTC)."""

    id: str
    until: date
    because: str | None = None

    def holds(self, now: datetime) -> bool:
        """Whether the finding is still ignored."""
        return now < end_of_day(self.until)


@value
class ScanGate(GateConfig):
    """A completed scan has at most `max` findings of each severity; one that is not named has no maximum.

    `max_age`: how old a scan may be; None: any age.
    """

    max: Mapping[str, int] = field(default_factory=dict)
    unscannable: Unscannable = Unscannable.REFUSE
    ignore: tuple[Ignore, ...] = ()
    max_age: timedelta | None = None

    def __str__(self) -> str:
        maxima = " and ".join(f"at most {most} {severity}" for severity, most in self.max.items())
        parts = [maxima or "any findings"]
        parts += [f"not older than {format_duration(self.max_age)}"] if self.max_age is not None else []
        parts += [f"{entry.id} ignored until {entry.until}" for entry in self.ignore]
        parts += [f"unscannable: {self.unscannable}"] if self.unscannable is not Unscannable.REFUSE else []
        return f"scan ({'; '.join(parts)})"

    def ignored(self, now: datetime) -> frozenset[str]:
        """The ids of the findings that don't count now."""
        return frozenset(entry.id for entry in self.ignore if entry.holds(now))


_SCAN = Record(
    {
        "max": Key(
            Record(
                {s: Key(Integer(minimum=0), f"The largest number of {s} findings that passes.") for s in SEVERITIES},
                lambda **maxima: MappingProxyType(maxima),
                expected="a number for each severity, as in {critical: 0, high: 0}",
            ),
            "The largest number of findings of each severity that passes; a severity that is not named has no maximum.",
        ),
        "unscannable": Key(
            Choice(Unscannable),
            "What happens to an image that can't be scanned at all (scratch, a new distribution): refuse (default), "
            "approve (wait for an approval), or pass.",
        ),
        "ignore": Key(
            ListOf(
                Record(
                    {
                        "id": Key(String(), "The finding's id, such as CVE-2026-1234.", required=True),
                        "until": Key(Day(), "The last day, in UTC, on which it is ignored.", required=True),
                        "because": Key(String(), "Why it does not matter here."),
                    },
                    lambda id, until, because=None: Ignore(id, until, because),
                    expected="a finding, as in {id: CVE-2026-1234, until: 2027-01-31, because: not reachable}",
                )
            ),
            "Findings that do not count, each until a day.",
        ),
        "max_age": Key(Duration(), "How old the scan may be, such as 7d; without it, any age."),
    },
    ScanGate,
    expected="what a scan may show, as in {max: {critical: 0}}",
)


def judge(config: ScanGate, case: Case) -> GateResult:
    """An index is judged by its platform images (ECR can't scan an index; attestations are no platform images)."""
    if case.image.is_index is None:
        return GateResult("scan", WAITING, "the image's manifest is not known yet")
    if not case.image.is_index:
        return _judge_one(config, case, case.image.digest, case.image.facts, "")
    if not case.image.platforms:
        return GateResult("scan", FAILED, "the index lists no platform image: there is nothing to scan")
    names = case.image.platform_names
    results = [
        _judge_one(config, case, digest, facts, names.get(digest, digest.short))
        for digest, facts in sorted(case.image.platforms.items())
    ]
    worst = min(results, key=lambda r: _WORST[r.verdict])
    reasons = [r.reason for r in results if r.verdict == worst.verdict]
    reason = f"{len(results)} platform images: " + (reasons[0] if worst.verdict == PASSED else "; ".join(reasons))
    facts: dict[str, Any] = {
        digest: result.facts for digest, result in zip(sorted(case.image.platforms), results, strict=True)
    }
    untils = [r.until for r in results if r.until]
    return GateResult("scan", worst.verdict, reason, facts, min(untils) if untils else None, worst.held)


def _judge_one(config: ScanGate, case: Case, digest: Digest, facts: tuple[Fact, ...], name: str) -> GateResult:
    label = f"{name}: " if name else ""
    scans = [f for f in facts if f.kind is Kind.SCANNED]
    near = [f for f in scans if f.repository in case.source_repositories] or scans
    if not near:
        return GateResult("scan", WAITING, f"{label}no scan yet", {"digest": digest})
    scan = max(near, key=lambda f: (f.at, f.seen, f.id))
    status = scan.detail["status"]
    told: dict[str, Any] = {"digest": digest, "status": status, "at": format_time(scan.at)}
    if status == "unsupported":
        verdict, what = _unscannable(config, case)
        return GateResult("scan", verdict, f"{label}it can't be scanned; {what}", told, held=True)
    if status != "complete":
        return GateResult("scan", WAITING, f"{label}the scan is {status.replace('_', ' ')}", told)
    if config.max_age is not None and case.now - scan.at > config.max_age:
        age = format_duration(config.max_age)
        return GateResult(
            "scan", WAITING, f"{label}the scan of {format_time(scan.at)} is older than {age}", told, held=True
        )
    counts, ignored = _counted(config, scan.detail, case.now)
    told |= {"counts": dict(scan.detail["counts"]), "ignored": ignored, "max": dict(config.max)}
    over = [f"{_findings(counts.get(s, 0), s)} (at most {m})" for s, m in config.max.items() if counts.get(s, 0) > m]
    if over:
        return GateResult("scan", FAILED, label + ", ".join(over), told)
    until = scan.at + config.max_age if config.max_age is not None else None
    return GateResult("scan", PASSED, f"{label}scanned {format_time(scan.at)}: {_summary(counts)}", told, until)


def _unscannable(config: ScanGate, case: Case) -> tuple[str, str]:
    if config.unscannable is Unscannable.REFUSE:
        return FAILED, "the policy refuses that"
    if config.unscannable is Unscannable.PASS:
        return PASSED, "the policy lets it"
    tally = approvals.count(case, approvals.approvers(case.policy, case.promotion))
    if tally.people:
        return PASSED, f"approved by {', '.join(tally.people.values())}"
    return (FAILED, tally.denied) if tally.denied else (WAITING, f"it waits for an approval{tally.barred}")


def _counted(config: ScanGate, detail: Mapping[str, Any], now: datetime) -> tuple[dict[str, int], list[str]]:
    """Counts by severity without the ignored findings. A finding that is counted but not named can't be ignored."""
    ignored = config.ignored(now)
    named = {(f["id"], f["severity"]) for f in detail["findings"] if f["id"] in ignored}
    without = Counter(severity for _, severity in named)
    counts = {severity: max(0, number - without[severity]) for severity, number in detail["counts"].items()}
    return counts, sorted({finding for finding, _ in named})


def _findings(number: int, severity: str) -> str:
    return f"{number} {severity} finding{'' if number == 1 else 's'}"


def _summary(counts: Mapping[str, int]) -> str:
    return ", ".join(_findings(n, s) for s, n in counts.items() if n) or "no findings"


GATE: Gate = Gate(_SCAN, "What the vulnerability scan may show.", judge)
