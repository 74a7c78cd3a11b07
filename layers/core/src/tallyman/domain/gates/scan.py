"""The gate `scan`: a complete scan has no more findings than the policy allows."""

from collections.abc import Mapping
from dataclasses import field
from datetime import date, datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from tallyman.domain.gates import approvals
from tallyman.domain.gates.case import FAILED, PASSED, WAITING, Case, Gate, GateResult
from tallyman.domain.gates.signers import KEYS, Signers, signers_from
from tallyman.domain.gates.tally import tally_of
from tallyman.domain.gates.vex import VexOfImage
from tallyman.domain.history.details.scans import Scanned
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.images.findings import SEVERITIES
from tallyman.domain.names import Digest
from tallyman.domain.policy import Promotion, end_of_day, format_duration
from tallyman.domain.policy.gates import GateConfig
from tallyman.domain.policy.reading import Node
from tallyman.domain.policy.shapes import Choice, Day, Duration, Integer, Key, ListOf, Record, Schema, Share, String
from tallyman.domain.text import counted
from tallyman.domain.times import format_time
from tallyman.values import value

_MOST_SHOWN = 3
"""The most reasons why VEX does not count that a result lists."""
_MOST_NAMED = 100
"""The most findings ignored by VEX whose statement the facts of a result list."""
_WORST = {FAILED: 0, WAITING: 1, PASSED: 2}


class Unscannable(StrEnum):
    """The verdict for an image that the scanner can't scan at all."""

    REFUSE = "refuse"
    APPROVE = "approve"
    PASS = "pass"


class Fixable(StrEnum):
    """Which findings count, by whether there is a fixed version."""

    ONLY = "only"


class Exploit(StrEnum):
    """Which findings count, by whether an exploit is known."""

    KNOWN = "known"


@value
class Packages:
    """Findings in packages with these names (globs) only do not count."""

    ignore: tuple[str, ...] = ()


@value
class Ignore:
    """A finding that does not count until the end of the day `until` (UTC)."""

    id: str
    until: date
    because: str | None = None

    def holds(self, now: datetime) -> bool:
        """Whether the finding is still ignored."""
        return now < end_of_day(self.until)


@value
class ScanGate(GateConfig):
    """Requires a complete scan with at most `max` findings of each severity; a severity without a maximum is ignored.

    `max_age`: how old the scan may be; None: any age. The other fields limit the findings that count: `fixable` to
    those with a fix, `exploit` to those with a known exploit, `epss` to those with at least this EPSS, `packages` to
    those in other packages, `since` to those known for at least this long. Data that the scanner does not report never
    excludes a finding. `vex`: the signers whose VEX statements exclude findings; None: nobody's.
    """

    max: Mapping[str, int] = field(default_factory=dict)
    unscannable: Unscannable = Unscannable.REFUSE
    ignore: tuple[Ignore, ...] = ()
    max_age: timedelta | None = None
    fixable: Fixable | None = None
    exploit: Exploit | None = None
    epss: float | None = None
    packages: Packages | None = None
    since: timedelta | None = None
    vex: Signers | None = None

    @property
    def trusted(self) -> Signers | None:
        return self.vex

    def __str__(self) -> str:
        maxima = " and ".join(f"at most {most} {severity}" for severity, most in self.max.items())
        parts = [maxima or "any findings"]
        parts += [f"not older than {format_duration(self.max_age)}"] if self.max_age is not None else []
        parts += [f"{entry.id} ignored until {entry.until}" for entry in self.ignore]
        parts += ["only findings with a fix"] if self.fixable else []
        parts += ["only findings with a known exploit"] if self.exploit else []
        parts += [f"only findings of an EPSS of {self.epss:g} or more"] if self.epss is not None else []
        parts += [f"packages {', '.join(self.packages.ignore)} ignored"] if self.packages else []
        parts += [f"only findings known for {format_duration(self.since)}"] if self.since is not None else []
        parts += [f"VEX of {self.vex.by} counts"] if self.vex else []
        parts += [f"unscannable: {self.unscannable}"] if self.unscannable is not Unscannable.REFUSE else []
        return f"scan ({'; '.join(parts)})"

    def ignored(self, now: datetime) -> frozenset[str]:
        """The ids of the findings that `ignore` excludes now."""
        return frozenset(entry.id for entry in self.ignore if entry.holds(now))

    @property
    def asks_for_findings(self) -> bool:
        """Whether the verdict needs the list of findings, not only their counts."""
        asked = (self.fixable, self.exploit, self.epss, self.packages, self.since, self.vex)
        return bool(self.ignore) or any(key is not None for key in asked)


class _Vex(Record):
    """`keys`, `identities`, or both."""

    def read(self, node: Node) -> Signers:
        signers: Signers = super().read(node)
        if not (signers.keys or signers.identities):
            raise node.expected("keys or identities")
        return signers

    def schema(self) -> Schema:
        return {**super().schema(), "anyOf": [{"required": ["keys"]}, {"required": ["identities"]}]}


_SCAN = Record(
    {
        "max": Key(
            Record(
                {s: Key(Integer(minimum=0), f"The maximum number of {s} findings.") for s in SEVERITIES},
                lambda **maxima: MappingProxyType(maxima),
                expected="a number for each severity, as in {critical: 0, high: 0}",
            ),
            "The maximum number of findings of each severity; a severity that is not listed has no maximum.",
        ),
        "unscannable": Key(
            Choice(Unscannable),
            "The verdict for an image that can't be scanned at all (scratch, a new distribution): refuse (default), "
            "approve (wait for an approval), or pass.",
        ),
        "ignore": Key(
            ListOf(
                Record(
                    {
                        "id": Key(String(), "The finding's id, such as CVE-2026-1234.", required=True),
                        "until": Key(Day(), "The last day, in UTC, on which it is ignored.", required=True),
                        "because": Key(String(), "Why it is ignored."),
                    },
                    lambda id, until, because=None: Ignore(id, until, because),
                    expected="a finding, as in {id: CVE-2026-1234, until: 2027-01-31, because: not reachable}",
                )
            ),
            "Findings that do not count, each until the end of a day.",
        ),
        "max_age": Key(Duration(), "The maximum age of the scan, such as 7d (default: any age)."),
        "fixable": Key(
            Choice(Fixable),
            "only: findings without a fix do not count. `since` allows time to apply a fix.",
        ),
        "exploit": Key(Choice(Exploit), "known: findings without a known exploit do not count."),
        "epss": Key(
            Share(),
            "Findings whose EPSS (the probability, 0 to 1, that they are exploited) is lower do not count.",
        ),
        "packages": Key(
            Record(
                {
                    "ignore": Key(
                        ListOf(String(what='a package or a glob such as "linux-*"'), least=1),
                        "Names, or globs of names, of packages whose findings do not count.",
                        required=True,
                    )
                },
                Packages,
                expected="{ignore: [linux-libc-dev]}",
            ),
            "Packages whose findings do not count; a finding in several packages counts unless all of them are listed.",
        ),
        "since": Key(
            Duration(),
            "A finding counts only after it has been known for this long, such as 14d, counted from the vendor's "
            "publication or Inspector's first observation, whichever is earlier.",
        ),
        "vex": Key(
            _Vex(
                {name: key for name, key in KEYS.items() if name != "on"},
                signers_from,
                expected='signers, as in {keys: ["-----BEGIN PUBLIC KEY-----…"]}',
            ),
            "The signers whose VEX statements exclude findings. Same keys as in `signed`.",
        ),
    },
    ScanGate,
    expected="what a scan may show, as in {max: {critical: 0}}",
)


def asks_for_approvals(promotion: Promotion) -> bool:
    """Whether people's approvals count in it: by its gate `approvals`, or of images that can't be scanned."""
    config = promotion.gates.get("scan")
    unscannable = isinstance(config, ScanGate) and config.unscannable is Unscannable.APPROVE
    return unscannable or "approvals" in promotion.gates


def judge(config: ScanGate, case: Case) -> GateResult:
    """The verdict for the image; for an index, the worst of its platform images (ECR can't scan an index)."""
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
    if worst.verdict == PASSED:  # list those with findings, or else one of them
        reasons = [r.reason for r in results if any(r.facts.get("counts", {}).values())] or reasons[:1]
    reason = f"{len(results)} platform images: {'; '.join(reasons)}"
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
    found = Scanned.parse(scan)
    status = found.outcome
    evidence: dict[str, Any] = {"digest": digest, "status": status, "at": format_time(scan.at)}
    if status == "unsupported":
        verdict, what = _unscannable(config, case)
        return GateResult("scan", verdict, f"{label}it can't be scanned; {what}", evidence, held=True)
    if status != "complete":
        lacks = ": it was stored as complete without its time and counts" if found.status == "complete" else ""
        return GateResult("scan", WAITING, f"{label}the scan is {status.replace('_', ' ')}{lacks}", evidence)
    if config.max_age is not None and case.now - scan.at > config.max_age:
        age = format_duration(config.max_age)
        return GateResult(
            "scan", WAITING, f"{label}the scan of {format_time(scan.at)} is older than {age}", evidence, held=True
        )
    vex = VexOfImage(config.vex, case, digest, facts) if config.vex else None
    tally = tally_of(config, found, case, vex)
    counts = tally.counts
    evidence |= {"counts": dict(found.counts), "ignored": sorted(tally.ignored), "max": dict(config.max)}
    if tally.left_out:
        evidence["counting"] = {severity: number for severity, number in counts.items() if number}
    if vex is not None:
        outdated = {"outdated": sorted(vex.outdated)} if vex.outdated else {}
        unseen = {"not_looked_at": sorted(vex.not_looked_at), **outdated}
        evidence["vex"] = {"ignored": tally.by_vex[:_MOST_NAMED], **unseen}
    over = [f"{counted(counts[s], f'{s} finding')} (at most {m})" for s, m in config.max.items() if counts[s] > m]
    remarks = "".join(f"; {remark}" for remark in (*tally.left_out, *tally.doubts))
    if over:
        remarks += _not_counting(vex) if vex is not None else ""
        return GateResult("scan", FAILED, label + ", ".join(over) + remarks, evidence, tally.until)
    untils = [scan.at + config.max_age] if config.max_age is not None else []
    untils += [tally.until] if tally.until is not None else []
    nothing = "no findings that count" if tally.left_out else "no findings"
    reason = f"{label}scanned {format_time(scan.at)}: {_summary(counts) or nothing}{remarks}"
    return GateResult("scan", PASSED, reason, evidence, min(untils, default=None))


def _unscannable(config: ScanGate, case: Case) -> tuple[str, str]:
    if config.unscannable is Unscannable.REFUSE:
        return FAILED, "the policy refuses that"
    if config.unscannable is Unscannable.PASS:
        return PASSED, "the policy allows that"
    tally = approvals.count(case, approvals.approvers(case.policy, case.promotion))
    if tally.people:
        return PASSED, f"approved by {', '.join(tally.people.values())}"
    return (FAILED, tally.denied) if tally.denied else (WAITING, f"it waits for an approval{tally.barred}")


def _not_counting(vex: VexOfImage) -> str:
    """The attached VEX that does not count, or not yet, in words."""
    number, flaws = len(vex.not_looked_at), sorted(set(vex.flaws))
    waiting = [f"; {number} VEX not verified yet"] if number else []
    more = [f"{len(flaws) - _MOST_SHOWN} more"] if len(flaws) > _MOST_SHOWN else []
    return "".join(waiting + ([f"; VEX that does not count: {'; '.join(flaws[:_MOST_SHOWN] + more)}"] if flaws else []))


def _summary(counts: Mapping[str, int]) -> str:
    return ", ".join(counted(n, f"{s} finding") for s, n in counts.items() if n)


GATE: Gate = Gate(_SCAN, "The findings that a vulnerability scan may have.", judge)
