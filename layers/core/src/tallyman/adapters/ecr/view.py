"""What a registry holds and how it is set, by ECR's API."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from tallyman.adapters.aws.clients import Clients
from tallyman.adapters.ecr.calls import names, settings_of, utc
from tallyman.adapters.errors.translate import translated
from tallyman.domain.images.details import Finding, RepositorySettings, ScanReport
from tallyman.domain.names import Digest, Registry, Repository
from tallyman.domain.permissions import permissions
from tallyman.errors import BadInput, NotFound, Refused, Unsupported

_STATUS = {
    "COMPLETE": "complete",
    "ACTIVE": "complete",  # enhanced scanning: found, and watched from now on
    "IN_PROGRESS": "in_progress",
    "PENDING": "in_progress",
    "UNSUPPORTED_IMAGE": "unsupported",
    "IMAGE_SIZE_EXCEEDED": "unsupported",
}
"""Every other status (FAILED, SCAN_ELIGIBILITY_EXPIRED, FINDINGS_UNAVAILABLE, LIMIT_EXCEEDED, IMAGE_ARCHIVED and what
may be added) is `failed`: there is no result that could be trusted now."""


class EcrView:
    """`RegistryView`, with the role that reads."""

    PERMISSIONS: tuple[str, ...] = permissions(
        "ecr:DescribeImageScanFindings",
        "ecr:DescribeRepositories",
        "ecr:StartImageScan",
    )

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def repositories(self, registry: Registry) -> Iterator[RepositorySettings]:
        request: dict[str, Any] = {"registryId": registry.account, "maxResults": 1000}
        client = self._clients.get("ecr", registry)
        while True:
            with translated(f"list the repositories of {registry}"):
                answer = client.describe_repositories(**request)
            for found in answer["repositories"]:
                yield settings_of(registry, found)
            if not answer.get("nextToken"):
                return
            request["nextToken"] = answer["nextToken"]

    def settings(self, repository: Repository) -> RepositorySettings | None:
        registry = repository.registry
        try:
            with translated(f"describe the repository {repository}"):
                answer = self._clients.get("ecr", registry).describe_repositories(
                    registryId=registry.account, repositoryNames=[repository.name]
                )
        except NotFound:
            return None
        return settings_of(registry, answer["repositories"][0])

    def scan(self, repository: Repository, digest: Digest) -> ScanReport:
        """DescribeImageScanFindings, all pages. NotFound: no such repository or image."""
        client = self._clients.get("ecr", repository.registry)
        request: dict[str, Any] = {
            **names(repository),
            "imageId": {"imageDigest": digest},
            "maxResults": 1000,
        }
        findings: list[Finding] = []
        while True:
            try:
                with translated(f"read the scan of {repository}@{digest}"):
                    answer = client.describe_image_scan_findings(**request)
            except NotFound as error:
                if "ScanNotFoundException" in str(error):
                    return ScanReport("none")
                raise
            except Unsupported as error:
                return ScanReport("unsupported", reason=str(error))
            found = answer.get("imageScanFindings") or {}
            findings.extend(_basic(f) for f in found.get("findings") or [])
            findings.extend(
                _enhanced(f) for f in found.get("enhancedFindings") or [] if f.get("status", "ACTIVE") == "ACTIVE"
            )
            if not answer.get("nextToken"):
                return _report(answer.get("imageScanStatus") or {}, found, findings)
            request["nextToken"] = answer["nextToken"]

    def start_scan(self, repository: Repository, digest: Digest) -> None:
        """Unsupported: what can't be scanned (an index), or a registry whose enhanced scanning scans by itself."""
        what = f"start a scan of {repository}@{digest}"
        try:
            with translated(what):
                self._clients.get("ecr", repository.registry).start_image_scan(
                    **names(repository), imageId={"imageDigest": digest}
                )
        except Refused as error:
            if "LimitExceededException" not in str(error):  # one a day and image: it ran, or runs
                raise
        except BadInput as error:
            if "ValidationException" in str(error):
                raise Unsupported(str(error)) from error
            raise


def _report(status: Mapping[str, Any], found: Mapping[str, Any], findings: list[Finding]) -> ScanReport:
    code, words = str(status.get("status", "")), status.get("description")
    known = _STATUS.get(code, "failed")
    if known == "failed" and "UnsupportedImageError" in str(words):  # how basic scanning says so
        known = "unsupported"
    counts: Counter[str] = Counter()
    for severity, count in (found.get("findingSeverityCounts") or {}).items():
        counts[_severity(severity)] += int(count)
    completed = found.get("imageScanCompletedAt")
    return ScanReport(
        status=known,
        counts=dict(counts or Counter(f.severity for f in findings)),
        findings=tuple(findings),
        completed_at=utc(completed) if completed else None,
        reason=None if known == "complete" else f"{code}: {words}" if words else code or None,
    )


def _severity(text: Any) -> str:
    """Lower case; Inspector's UNTRIAGED is what ECR calls UNDEFINED."""
    severity = str(text or "undefined").lower()
    return "undefined" if severity == "untriaged" else severity


def _basic(found: Mapping[str, Any]) -> Finding:
    attributes = {a.get("key"): a.get("value") for a in found.get("attributes") or []}
    return Finding(str(found.get("name", "")), _severity(found.get("severity")), attributes.get("package_name"))


def _enhanced(found: Mapping[str, Any]) -> Finding:
    details = found.get("packageVulnerabilityDetails") or {}
    packages = details.get("vulnerablePackages") or [{}]
    return Finding(
        id=str(details.get("vulnerabilityId") or found.get("title") or found.get("findingArn") or ""),
        severity=_severity(found.get("severity")),
        package=packages[0].get("name"),
    )
