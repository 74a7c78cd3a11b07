"""What the ledger says of one image: whether it is there, recalled, verified, scanned, and what was decided about it.

Pure functions of facts, by which every command and page judges alike.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from tallyman.domain.gates import FAILED, ImageFacts, recalled
from tallyman.domain.history.details.changes import Change
from tallyman.domain.history.details.decisions import Decided
from tallyman.domain.history.details.promotions import Promoted
from tallyman.domain.history.details.scans import Scanned
from tallyman.domain.history.details.verifications import Verified
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.history.fold import PUSHES
from tallyman.domain.names import Repository
from tallyman.domain.times import format_time

PRESENCE = PUSHES | {Kind.DELETED, Kind.UNTAGGED}
"""The kinds of facts that say whether a repository holds an image."""

SAID = frozenset({Kind.APPROVED, Kind.DENIED, Kind.OVERRIDDEN, Kind.CHECKED, Kind.RECALLED, Kind.ROLLED_BACK})
"""The kinds of facts in which a person says something about an image."""

_STATUSES = ("failed", "unsupported", "none", "in_progress", "complete")
"""Of scans, the worst first."""


def is_there(facts: Iterable[Fact]) -> bool:
    """Whether the repository of these facts holds the image, without regard to tags: it was pushed, perhaps untagged by
    a move of its tag, and not removed since. Removing the last tag removes the image."""
    about = [fact for fact in facts if fact.kind in PRESENCE]
    last = max(about, key=lambda f: (f.at, f.kind not in PUSHES, f.seen), default=None)
    return last is not None and last.kind in PUSHES


def is_recalled(image: ImageFacts, until: datetime | None = None) -> bool:
    """Whether the image, or one beneath it, was recalled, by then: as the gate `recalled` judges."""
    return any(until is None or fact.at <= until for _, fact in recalled.recalls(image))


def is_known_as_recalled(facts: Sequence[Fact]) -> bool:
    """The same by the image's own facts: it was recalled, or a decision on it found one beneath it recalled. A recall
    is never undone."""
    return any(
        gate["name"] == recalled.NAME and gate["verdict"] == FAILED
        for fact in facts
        if fact.kind is Kind.DECIDED
        for gate in Decided.parse(fact).gates
    ) or any(fact.kind is Kind.RECALLED for fact in facts)


def built(facts: Iterable[Fact]) -> Mapping[str, str]:
    """What the image says of its build, by the first push that holds it; nobody has verified it."""
    changes = Change.of(fact for fact in facts if fact.kind in PUSHES)
    return next((change.built for change in changes if change.built), {})


def newest_verification(facts: Iterable[Fact], place: Repository) -> Fact | None:
    """The newest verification in the repository, else anywhere."""
    return max(_near(facts, Kind.VERIFIED, place), key=lambda f: (f.seen, f.at, f.id), default=None)


def verification_row(fact: Fact | None) -> dict[str, Any]:
    """How a verification ended: `{verdict, level, at, checks: [{name, verdict, reason}]}`; verdict null without one."""
    if fact is None:
        return {"verdict": None, "level": None, "at": None, "checks": []}
    verified = Verified.parse(fact)
    checks = [{"name": c["name"], "verdict": c["verdict"], "reason": c.get("reason")} for c in verified.checks]
    return {"verdict": verified.verdict, "level": verified.level, "at": format_time(fact.at), "checks": checks}


def newest_scan(facts: Iterable[Fact], place: Repository) -> Fact | None:
    """The newest scan in the repository, else anywhere."""
    return max(_near(facts, Kind.SCANNED, place), key=lambda f: (f.at, f.seen, f.id), default=None)


def scan_row(scan: Fact | None) -> dict[str, Any]:
    """How a scan ended: `{status, counts, at}`; status null without a scan."""
    if scan is None:
        return {"status": None, "counts": {}, "at": None}
    scanned = Scanned.parse(scan)
    return {"status": scanned.outcome, "counts": dict(scanned.counts), "at": format_time(scan.at)}


def worst(scans: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The scans of an index's platforms as one, `{status, counts, at}`: the worst status, the highest count of each
    severity, the oldest time. Status null: a platform has no scan, and none failed."""
    counts: dict[str, int] = {}
    for severity, number in (pair for scan in scans for pair in scan["counts"].items()):
        counts[severity] = max(number, counts.get(severity, 0))
    statuses = {scan["status"] or "none" for scan in scans}
    status = next((each for each in _STATUSES if each in statuses), None)
    times = [scan["at"] for scan in scans if scan["at"]]
    return {"status": None if status == "none" else status, "counts": counts, "at": min(times, default=None)}


def decisions(facts: Iterable[Fact]) -> list[dict[str, Any]]:
    """The last decision on each promotion of the image: `{from, to, repository, tags, verdict, at, gate, reason}`."""
    last: dict[tuple[str, str, str], tuple[Fact, Decided | Promoted]] = {}
    for fact in facts:
        if fact.kind in (Kind.DECIDED, Kind.PROMOTED):
            detail = Decided.parse(fact) if fact.kind is Kind.DECIDED else Promoted.parse(fact)
            last[detail.name, detail.source, detail.target] = fact, detail
    return [_decision(*each) for each in last.values()]


def _decision(fact: Fact, detail: Decided | Promoted) -> dict[str, Any]:
    verdict = detail.verdict if isinstance(detail, Decided) else "promoted"
    deciding = detail.deciding if isinstance(detail, Decided) and verdict != "promoted" else None
    return {
        "from": detail.source,
        "to": detail.target,
        "repository": detail.name,
        "tags": list(detail.tags),
        "verdict": verdict,
        "at": format_time(fact.at),
        "gate": deciding["name"] if deciding else None,
        "reason": deciding["reason"] if deciding else None,
    }


def _near(facts: Iterable[Fact], kind: Kind, place: Repository) -> list[Fact]:
    found = [fact for fact in facts if fact.kind is kind]
    return [fact for fact in found if fact.repository == place] or found
