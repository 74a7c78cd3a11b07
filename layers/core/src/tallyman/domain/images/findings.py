"""A scanner's findings as rows, the form in which a scan's fact and its object in the archive store them.

A row: {id, severity, package}, and where the scanner reports them {packages: all names where there are several, fix,
exploit, epss, since, installed: [name, version, manager] of each package (see `Package`)}. A missing key: not known.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tallyman.domain.images.details import Finding
from tallyman.domain.images.purls import Package
from tallyman.domain.times import format_time

FOLDER = "findings"
"""The folder of the archive. Each object is JSON: [status, counts, rows]."""

INLINE, INLINE_BYTES = 400, 32 * 1024
"""The most rows, and bytes of rows, that a fact stores; only the archive has all rows of a longer list."""

SEVERITIES = ("critical", "high", "medium", "low", "informational", "undefined")
"""ECR's severities in lower case, the worst first."""

Row = Mapping[str, Any]


def row_of(finding: Finding) -> dict[str, Any]:
    """The row of a finding."""
    row: dict[str, Any] = {"id": finding.id, "severity": finding.severity, "package": finding.package}
    if finding.packages:
        row["packages"] = sorted(finding.packages)
    known = {"fix": finding.fix, "exploit": finding.exploit, "epss": finding.epss}
    row |= {key: value for key, value in known.items() if value is not None}
    if finding.since is not None:
        row["since"] = format_time(finding.since)
    if finding.installed:
        row["installed"] = sorted(([p.name, p.version, p.manager] for p in finding.installed), key=str)
    return row


def rows_of(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """The rows of all findings, each as often as it occurs, in an order that does not depend on the scanner's."""

    def order(row: Row) -> tuple[str, str, str, str]:
        return row["severity"], row["id"], row["package"] or "", json.dumps(row, sort_keys=True)

    return sorted(map(row_of, findings), key=order)


def first_of(rows: Sequence[Row]) -> list[Row]:
    """The first rows, as many as a fact stores (see INLINE)."""
    kept, room = [], INLINE_BYTES
    for row in rows[:INLINE]:
        room -= len(json.dumps(row))
        if room < 0:
            break
        kept.append(row)
    return kept


def to_object(status: str, counts: Mapping[str, int], rows: Sequence[Row]) -> bytes:
    """The bytes of the object in the archive."""
    return json.dumps([status, dict(counts), list(rows)], sort_keys=True).encode()


def from_object(raw: bytes) -> tuple[Row, ...]:
    """The rows in an object of the archive."""
    return tuple(json.loads(raw)[2])


def packages_of(row: Row) -> list[str]:
    """The names of a row's packages; empty where the scanner names none."""
    named = row.get("packages") or [row.get("package")]
    return [str(name) for name in named if name]


def installed_of(row: Row) -> list[Package]:
    """A row's packages, with version and manager where they are known; empty where the scanner names none."""
    known = [Package(*each) for each in row.get("installed", ())]
    names = {package.name for package in known}
    return known + [Package(name) for name in packages_of(row) if name not in names]
