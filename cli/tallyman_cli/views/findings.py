"""What scanners found in an image: each finding once, the worst first."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from tallyman.domain.gates.scan import SEVERITIES
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.names import Digest, Repository
from tallyman.domain.times import format_time
from tallyman.errors import DigestMismatch
from tallyman_cli.shared.context import Stack


def newest_scan(facts: Iterable[Fact], place: Repository) -> Fact | None:
    """The newest scan in the repository, else anywhere."""
    scans = [f for f in facts if f.kind is Kind.SCANNED]
    near = [f for f in scans if f.repository == place] or scans
    return max(near, key=lambda f: (f.at, f.seen, f.id), default=None)


def named(stack: Stack, scan: Fact) -> list[Mapping[str, Any]]:
    """The findings of one scan with their packages, from the archive; where it has them not, as the fact names them
    (at most 400, without packages)."""
    digest = scan.detail.get("archived")
    try:
        raw = stack.archive.get("findings", Digest(digest)) if digest else None
    except DigestMismatch:
        raw = None
    if raw is None:
        return list(scan.detail["findings"])
    document = json.loads(raw)
    return list(document[2])


def findings(stack: Stack, place: Repository, images: Mapping[str, Iterable[Fact]]) -> list[dict[str, Any]]:
    """Of the newest scan of each platform (name → facts): `{id, severity, packages, fixable, platforms}`, the worst
    first. `fixable` None: the scanner did not say. One GetObject a platform."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for platform, facts in images.items():
        scan = newest_scan(facts, place)
        for each in named(stack, scan) if scan else ():
            entry = found.setdefault(
                (each["id"], each["severity"]),
                {"id": each["id"], "severity": each["severity"], "packages": [], "fixable": None, "platforms": []},
            )
            for key, value in (("packages", each.get("package")), ("platforms", platform)):
                if value and value not in entry[key]:
                    entry[key].append(value)
            if each.get("fixable") is not None:
                entry["fixable"] = bool(entry["fixable"] or each["fixable"])
    return sorted(found.values(), key=lambda f: (_rank(f["severity"]), f["id"]))


def scans(place: Repository, images: Mapping[str, Iterable[Fact]]) -> list[dict[str, Any]]:
    """How the newest scan of each platform ended."""
    rows = []
    for platform, facts in images.items():
        scan = newest_scan(facts, place)
        rows.append(
            {
                "platform": platform,
                "status": scan.detail["status"] if scan else None,
                "counts": dict(scan.detail["counts"]) if scan else {},
                "at": format_time(scan.at) if scan else None,
                "reason": scan.detail.get("reason") if scan else None,
            }
        )
    return rows


def _rank(severity: str) -> int:
    return SEVERITIES.index(severity) if severity in SEVERITIES else len(SEVERITIES)
