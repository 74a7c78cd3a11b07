"""What scanners found in an image: each finding once, the worst first."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tallyman.domain.history.details.scans import Scanned
from tallyman.domain.history.facts import Fact
from tallyman.domain.images.findings import FOLDER, SEVERITIES, Row, from_object, packages_of
from tallyman.domain.names import Digest, Repository
from tallyman.errors import DigestMismatch
from tallyman_cli.shared.context import Stack
from tallyman_cli.views.record import newest_scan, scan_row


def named(stack: Stack, scan: Fact) -> Sequence[Row]:
    """The findings of one scan: from its fact, or from the archive where the fact holds only the first of them."""
    scanned = Scanned.parse(scan)
    rows = scanned.inline
    if rows is not None:
        return rows
    try:
        raw = stack.archive.get(FOLDER, Digest(str(scanned.archived)))
    except DigestMismatch:
        raw = None
    return from_object(raw) if raw is not None else tuple(scanned.findings)


def findings(stack: Stack, place: Repository, images: Mapping[str, Iterable[Fact]]) -> list[dict[str, Any]]:
    """The findings of the newest scan of each platform: `{id, severity, packages, fixable, exploit, platforms}`, the
    worst first. `images`: facts by the platform's name. `fixable`, `exploit` null: the scanner did not say. Cost: at
    most one GetObject a platform."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for platform, facts in images.items():
        scan = newest_scan(facts, place)
        for row in named(stack, scan) if scan else ():
            fresh: dict[str, Any] = {"id": row["id"], "severity": row["severity"], "packages": [], "fixable": None}
            entry = found.setdefault((row["id"], row["severity"]), {**fresh, "exploit": None, "platforms": []})
            for key, values in (("packages", packages_of(row)), ("platforms", [platform])):
                entry[key] += [value for value in values if value not in entry[key]]
            for key, flag in (("fixable", row.get("fix")), ("exploit", row.get("exploit"))):
                if flag is not None:
                    entry[key] = bool(entry[key] or flag)
    return sorted(found.values(), key=lambda f: (_rank(f["severity"]), f["id"]))


def scans(place: Repository, images: Mapping[str, Iterable[Fact]]) -> list[dict[str, Any]]:
    """How the newest scan of each platform ended: `{platform, status, counts, at, reason}`."""
    rows = []
    for platform, facts in images.items():
        scan = newest_scan(facts, place)
        rows.append({"platform": platform, **scan_row(scan), "reason": Scanned.parse(scan).reason if scan else None})
    return rows


def _rank(severity: str) -> int:
    return SEVERITIES.index(severity) if severity in SEVERITIES else len(SEVERITIES)
