"""Read repositories, their settings and their scans through ECR's API."""

from collections.abc import Iterator, Mapping
from typing import Any

from tallyman.adapters.aws.absent import absent
from tallyman.adapters.aws.paging import items, listed, pages
from tallyman.adapters.ecr.calls import EcrAdapter, names
from tallyman.adapters.ecr.scans import report_of
from tallyman.adapters.errors.translate import translated
from tallyman.domain.images.details import RepositorySettings, ScanReport
from tallyman.domain.names import Digest, EcrRegistry, Repository
from tallyman.domain.permissions import permissions
from tallyman.errors import BadInput, NotFound, Refused, Unreachable, Unsupported


class EcrView(EcrAdapter):
    """`RegistryView`, with the role that reads."""

    PERMISSIONS: tuple[str, ...] = permissions(
        "ecr:DescribeImageScanFindings",
        "ecr:DescribeRepositories",
        "ecr:StartImageScan",
        "inspector2:ListFindings",
    )

    def repositories(self, registry: EcrRegistry) -> Iterator[RepositorySettings]:
        what = f"list the repositories of {registry}"
        request = {"registryId": registry.account, "maxResults": 1000}
        client = self._clients.get("ecr", registry)
        for found in items(client.describe_repositories, request, "repositories", what):
            yield _settings(registry, found)

    def settings(self, repository: Repository) -> RepositorySettings | None:
        registry = repository.registry
        try:
            with translated(f"describe the repository {repository}"):
                answer = self._clients.get("ecr", registry).describe_repositories(
                    registryId=registry.account, repositoryNames=[repository.name]
                )
        except NotFound:
            return None
        (found, *_) = listed(answer, "repositories", f"describe the repository {repository}") or [None]
        if found is None:
            raise Unreachable(f"describe the repository {repository}: the answer does not name it")
        return _settings(registry, found)

    def scan(self, repository: Repository, digest: Digest) -> ScanReport:
        """DescribeImageScanFindings, all pages. Raises NotFound where there is no such repository or image."""
        client = self._client(repository)
        request = {**names(repository), "imageId": {"imageDigest": digest}, "maxResults": 1000}
        try:
            what = f"read the scan of {repository}@{digest}"
            return report_of(list(pages(client.describe_image_scan_findings, request, what)))
        except NotFound as error:
            if error.code == "ScanNotFoundException":
                return ScanReport("none")
            raise
        except Unsupported as error:
            if error.code != "UnsupportedImageTypeException":
                raise  # the registry does not know the call: the image may well be scannable
            return ScanReport("unsupported", reason=str(error))

    def epss(self, repository: Repository, digest: Digest) -> dict[str, float]:
        """The EPSS score of each vulnerability, by its id; empty where the region has no Inspector, or it does not scan
        the registry or denies the call. Inspector's ListFindings, 100 a page: ECR's own answer has no scores."""
        client = self._clients.get("inspector2", repository.registry)
        equal = {"comparison": "EQUALS"}
        wanted = {
            "resourceType": [{**equal, "value": "AWS_ECR_CONTAINER_IMAGE"}],
            "ecrImageHash": [{**equal, "value": digest}],
            "ecrImageRepositoryName": [{**equal, "value": repository.name}],
        }
        what = f"list Inspector's findings of {repository}@{digest}"
        found: dict[str, float] = {}
        try:
            for each in items(client.list_findings, {"filterCriteria": wanted, "maxResults": 100}, "findings", what):
                name = (each.get("packageVulnerabilityDetails") or {}).get("vulnerabilityId")
                score = (each.get("epss") or {}).get("score")
                if name and score is not None:
                    found[str(name)] = max(float(score), found.get(str(name), 0.0))
        except (Refused, BadInput):
            return {}
        except Unreachable as error:
            if not absent("inspector2", repository.registry.region, error):
                raise
        return found

    def start_scan(self, repository: Repository, digest: Digest) -> None:
        """One StartImageScan. Raises Unsupported for an image that can't be scanned (an index), and where enhanced
        scanning starts scans by itself."""
        what = f"start a scan of {repository}@{digest}"
        try:
            with translated(what):
                self._client(repository).start_image_scan(**names(repository), imageId={"imageDigest": digest})
        except Refused as error:
            if error.code != "LimitExceededException":  # one scan per image and day: it has run, or is running
                raise
        except BadInput as error:
            if error.code == "ValidationException":
                raise Unsupported(str(error)) from error
            raise


def _settings(registry: EcrRegistry, found: Mapping[str, Any]) -> RepositorySettings:
    """The settings of a `repositories` item of DescribeRepositories. MUTABLE_WITH_EXCLUSION, under which only some tags
    are fixed, counts as mutable: a tag can't be relied on to stay."""
    mutability = found.get("imageTagMutability", "MUTABLE")
    immutable = mutability in ("IMMUTABLE", "IMMUTABLE_WITH_EXCLUSION")
    filters = found.get("imageTagMutabilityExclusionFilters") or []
    encryption = found.get("encryptionConfiguration") or {}
    return RepositorySettings(
        repository=Repository(registry, found["repositoryName"]),
        immutable=immutable,
        mutable_tags=tuple(f["filter"] for f in filters) if immutable else (),
        encryption=encryption.get("encryptionType", "AES256"),
        kms_key=encryption.get("kmsKey"),
        scan_on_push=bool((found.get("imageScanningConfiguration") or {}).get("scanOnPush")),
    )
