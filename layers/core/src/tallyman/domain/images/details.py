"""Values that AWS reports about repositories and images: settings, scans, replication, signing, API calls."""

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from typing import Any

from tallyman.domain.images.purls import Package
from tallyman.domain.names import Digest, Repository
from tallyman.values import value


@value
class ImageDetail:
    """One image as DescribeImages reports it. `size`: compressed bytes, as ECR counts them; `tags` in no order."""

    repository: Repository
    digest: Digest
    tags: tuple[str, ...]
    size: int | None
    pushed_at: datetime
    media_type: str | None
    artifact_type: str | None = None
    subject: Digest | None = None
    archived: bool = False
    pulled_at: datetime | None = None


@value
class ReplicationStatus:
    """The state of ECR's replication of an image to one registry. `status`: in_progress, complete or failed;
    `failure`: ECR's failure code."""

    status: str
    failure: str | None = None


@value
class RepositorySettings:
    """A repository's settings. `mutable_tags`: the exclusion filters (globs) of an immutable repository."""

    repository: Repository
    immutable: bool
    mutable_tags: tuple[str, ...] = ()
    encryption: str = "AES256"
    kms_key: str | None = None
    scan_on_push: bool = False


@value
class Finding:
    """One vulnerability: `id` (CVE-…), `severity` in lower case (`critical` to `informational`, or `undefined`).

    `package` is the first vulnerable package, `packages` all of them where there are several (`?`: one without a
    name); `installed`: the packages with their versions, where the scanner reports these. `fix`: whether a fixed
    version exists; `exploit`: whether an exploit is known; `epss`: the probability (0 to 1) that it is exploited;
    `since`: when the vulnerability was first known. For these four, None: the scanner does not say.
    """

    id: str
    severity: str
    package: str | None = None
    packages: tuple[str, ...] = ()
    fix: bool | None = None
    exploit: bool | None = None
    epss: float | None = None
    since: datetime | None = None
    installed: tuple[Package, ...] = ()


@value
class ScanReport:
    """A scanner's result for one digest.

    `status`: `complete`, `in_progress`, `failed`, `unsupported` (can't be scanned at all), `none` (no scan was
    requested) or `unknown` (reported as complete, but without the time or the counts). Only `complete` has a result
    and `completed_at`. `counts`: occurrences of findings by severity in lower case; `findings` may list fewer.
    """

    status: str
    counts: Mapping[str, int] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    completed_at: datetime | None = None
    reason: str | None = None


@value
class SigningStatus:
    """The state of ECR's managed signing of one image with one profile (its ARN): in_progress, complete or failed."""

    profile: str
    status: str
    reason: str | None = None


@value
class ApiCall:
    """One management call that CloudTrail recorded. `name`: the call's, such as PutImage; `actor`: the caller's ARN;
    `parameters`: those of the request, empty where the call failed."""

    id: str
    name: str
    at: datetime
    actor: str | None
    repository: Repository
    tag: str | None = None
    digest: Digest | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
