"""Convert the answers of DescribeImageScanFindings (basic and enhanced scanning) to a ScanReport."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tallyman.adapters.aws.paging import Answer
from tallyman.adapters.ecr.calls import utc
from tallyman.domain.images.details import Finding, ScanReport
from tallyman.domain.images.findings import SEVERITIES
from tallyman.domain.images.purls import Package

_STATUS = {
    "COMPLETE": "complete",
    "ACTIVE": "complete",  # enhanced scanning: scanned, and monitored from now on
    "IN_PROGRESS": "in_progress",
    "PENDING": "in_progress",
    "UNSUPPORTED_IMAGE": "unsupported",
    "IMAGE_SIZE_EXCEEDED": "unsupported",
}
"""Every other status (FAILED, SCAN_ELIGIBILITY_EXPIRED, FINDINGS_UNAVAILABLE, LIMIT_EXCEEDED, IMAGE_ARCHIVED and new
ones) is `failed`: there is no result to trust."""


def report_of(answers: Sequence[Answer]) -> ScanReport:
    """The report of one scan from all its pages.

    ECR says COMPLETE before Inspector has scanned, with neither a time nor counts (aws-sdk #289). So a scan is complete
    only with its time and with counts or findings. Pages of two scans make an `unknown` report.
    """
    status = answers[0].get("imageScanStatus") or {}
    code, words = str(status.get("status", "")), status.get("description")
    known = _STATUS.get(code, "failed")
    if known == "failed" and "UnsupportedImageError" in str(words):  # basic scanning has no status for it
        known = "unsupported"
    reason = f"{code}: {words}" if words else code or None
    found = [answer.get("imageScanFindings") or {} for answer in answers]
    times = {page["imageScanCompletedAt"] for page in found if page.get("imageScanCompletedAt") is not None}
    completed = next(iter(times), None)
    active, closed = _findings(found)
    counted = [page["findingSeverityCounts"] for page in found if page.get("findingSeverityCounts") is not None]
    if known == "complete":
        if len(times) > 1 or any((a.get("imageScanStatus") or {}).get("status", code) != code for a in answers):
            return ScanReport("unknown", reason=f"{code}: the scan changed while its pages were read")
        if completed is None or not (counted or active):
            lacks = "its time" if completed is None else "its counts"
            return ScanReport("unknown", reason=f"{code}, but the answer lacks {lacks}")
        reason = None
    return ScanReport(
        status=known,
        counts=_counts(counted[0] if counted else {}, active, closed),
        findings=tuple(active),
        completed_at=utc(completed) if completed else None,
        reason=reason,
    )


def _findings(pages: Iterable[Mapping[str, Any]]) -> tuple[list[Finding], list[Finding]]:
    """The findings that are open, and those that were closed or suppressed."""
    active: list[Finding] = []
    closed: list[Finding] = []
    for page in pages:
        active += [_basic(found) for found in page.get("findings") or []]
        for found in page.get("enhancedFindings") or []:
            (active if found.get("status", "ACTIVE") == "ACTIVE" else closed).append(_enhanced(found))
    return active, closed


def _counts(counted: Mapping[str, Any], active: Sequence[Finding], closed: Sequence[Finding]) -> dict[str, int]:
    """Findings by severity: the listed ones, and those that ECR counts beyond its list. AWS does not document whether
    its counts contain closed findings; so listed ones, open or closed, are subtracted from them."""
    listed = Counter(finding.severity for finding in active)
    known = listed + Counter(finding.severity for finding in closed)
    reported: Counter[str] = Counter()
    for severity, count in counted.items():
        if severity != "TOTAL":
            reported[_severity(severity)] += int(count)
    return dict(listed + (reported - known))


def _severity(text: Any) -> str:
    """The severity in lower case; Inspector's UNTRIAGED is ECR's UNDEFINED. An unknown one counts as `critical`."""
    severity = str(text or "undefined").lower()
    if severity == "untriaged":
        return "undefined"
    return severity if severity in SEVERITIES else "critical"


def _basic(found: Mapping[str, Any]) -> Finding:
    """A finding of basic scanning, which reports no fix, no exploit and no time at which it became known."""
    attributes = {a.get("key"): a.get("value") for a in found.get("attributes") or []}
    name, version = attributes.get("package_name"), attributes.get("package_version")
    installed = (Package(str(name), str(version), "OS"),) if name and version else ()  # it scans only OS packages
    return Finding(str(found.get("name", "")), _severity(found.get("severity")), name, installed=installed)


def _enhanced(found: Mapping[str, Any]) -> Finding:
    details = found.get("packageVulnerabilityDetails") or {}
    packages = details.get("vulnerablePackages") or []
    names = tuple(dict.fromkeys(str(package.get("name") or "?") for package in packages))
    known = [utc(t) for t in (details.get("vendorCreatedAt"), found.get("firstObservedAt")) if t is not None]
    return Finding(
        id=str(details.get("vulnerabilityId") or found.get("title") or found.get("findingArn") or ""),
        severity=_severity(found.get("severity")),
        package=names[0] if names else None,
        packages=names if len(names) > 1 else (),
        fix={"YES": True, "PARTIAL": True, "NO": False}.get(str(found.get("fixAvailable"))),
        exploit={"YES": True, "NO": False}.get(str(found.get("exploitAvailable"))),
        since=min(known, default=None),
        installed=tuple(dict.fromkeys(p for p in map(_installed, packages) if p.manager)),
    )


def _installed(package: Mapping[str, Any]) -> Package:
    version, release, epoch = (package.get(key) for key in ("version", "release", "epoch"))
    whole = "-".join(str(each) for each in (version, release) if each) or None
    if whole is not None and epoch:
        whole = f"{epoch}:{whole}"
    return Package(str(package.get("name") or "?"), whole, package.get("packageManager"))
