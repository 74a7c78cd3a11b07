"""The gate `scan`: what the vulnerability scanner found stays within the policy's maxima."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tallyman.domain.facts import Fact, Kind
from tallyman.domain.gates.case import FAILED, PASSED, WAITING, Case, GateResult
from tallyman.domain.names import Digest
from tallyman.domain.policy import ScanGate, format_duration
from tallyman.domain.times import format_time

_WORST = {FAILED: 0, WAITING: 1, PASSED: 2}


def judge(config: ScanGate, case: Case) -> GateResult:
    """An index is judged by its platform images (ECR can't scan an index; attestations are no platform images)."""
    if case.image.is_index is None:
        return GateResult("scan", WAITING, "the image's manifest is not known yet")
    if not case.image.is_index:
        return _judge_one(config, case, case.image.digest, case.image.facts, "")
    if not case.image.platforms:
        return GateResult("scan", FAILED, "the index lists no platform image: there is nothing to scan")
    names = _platform_names(case)
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


def _platform_names(case: Case) -> dict[Digest, str]:
    names: dict[Digest, str] = {}
    for fact in case.image.of(Kind.PUSHED, Kind.REPLICATED):
        for child in fact.detail.get("platforms", ()):
            names[Digest(child["digest"])] = child["platform"]
    return names


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
        verdict = {"refuse": FAILED, "approve": WAITING, "pass": PASSED}[config.unscannable]
        what = {
            "refuse": "the policy refuses that",
            "approve": "it waits for an approval",
            "pass": "the policy lets it",
        }
        return GateResult("scan", verdict, f"{label}it can't be scanned; {what[config.unscannable]}", told, held=True)
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
