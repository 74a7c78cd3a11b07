"""A scanner's findings as rows: how a scan's fact and its object in the archive hold them.

A row: {id, severity, package}, and where the scanner says so {packages: all names where there are several, fix,
exploit, epss, since, installed: [name, version, manager] of each package (see `Package`)}. A key that is missing is not
known.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tallyman.domain.images.details import Finding
from tallyman.domain.images.purls import Package
from tallyman.domain.times import format_time

FOLDER = "findings"
"""The folder of the archive. An object is JSON: [status, counts, rows]."""

INLINE, INLINE_BYTES = 400, 32 * 1024
"""Rows, and bytes of them, that a fact holds; a longer list is whole in the archive only."""

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
    """The rows of all findings, each as often as it was found, in an order that does not depend on the scanner's."""

    def order(row: Row) -> tuple[str, str, str, str]:
        return row["severity"], row["id"], row["package"] or "", json.dumps(row, sort_keys=True)

    return sorted(map(row_of, findings), key=order)


def first_of(rows: Sequence[Row]) -> list[Row]:
    """The rows that a fact holds: all, unless they are too many."""
    kept, room = [], INLINE_BYTES
    for row in rows[:INLINE]:
        room -= len(json.dumps(row))
        if room < 0:
            break
        kept.append(row)
    return kept


def to_object(status: str, counts: Mapping[str, int], rows: Sequence[Row]) -> bytes:
    """The object in the archive."""
    return json.dumps([status, dict(counts), list(rows)], sort_keys=True).encode()


def from_object(raw: bytes) -> tuple[Row, ...]:
    """The rows of an object in the archive."""
    return tuple(json.loads(raw)[2])


def packages_of(row: Row) -> list[str]:
    """The names of the packages of a row; none where the scanner names none."""
    named = row.get("packages") or [row.get("package")]
    return [str(name) for name in named if name]


def installed_of(row: Row) -> list[Package]:
    """The packages of a row, with what is known of each; none where the scanner names none."""
    known = [Package(*each) for each in row.get("installed", ())]
    names = {package.name for package in known}
    return known + [Package(name) for name in packages_of(row) if name not in names]
