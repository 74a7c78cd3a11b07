"""What a registry says of its repositories and images: plain values, as read, before anything is decided."""

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from typing import Any

from tallyman.domain.images.purls import Package
from tallyman.domain.names import Digest, Repository
from tallyman.values import value


@value
class ImageDetail:
    """One image as DescribeImages shows it. `size`: compressed bytes by ECR's count; `tags` in no order."""

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
    """How far ECR's replication of an image to one registry is. `status`: in_progress, complete or failed;
    `failure`: the code of why."""

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
    created_at: datetime | None = None


@value
class Finding:
    """One vulnerability: `id` (CVE-…), `severity` in lower case (`critical` to `informational`, or `undefined`).

    `package` is the first vulnerable package, `packages` all of them where there are several (`?`: one without a
    name); `installed`: each of them as it is in the image, where the scanner says more than their names. Of the others
    None means that the scanner does not say: `fix` whether a fixed version exists, `exploit`
    whether an exploit is known, `epss` the probability (0 to 1) that it is exploited, `since` when the vulnerability
    was first known.
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
    """What a scanner says of one digest.

    `status`: `complete`, `in_progress`, `failed`, `unsupported` (can't be scanned at all), `none` (never asked) or
    `unknown` (called complete, without what would prove it). Only `complete` has a result, and its time.
    `counts` by severity in lower case, every finding once for each time that it occurs; `findings` may be fewer.
    """

    status: str
    counts: Mapping[str, int] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    completed_at: datetime | None = None
    reason: str | None = None


@value
class SigningStatus:
    """How far ECR's managed signing of one image by one profile (its ARN) is: in_progress, complete or failed."""

    profile: str
    status: str
    reason: str | None = None


@value
class ApiCall:
    """One management call that CloudTrail recorded: who did what to which repository."""

    id: str
    name: str
    at: datetime
    actor: str | None
    repository: Repository
    tag: str | None = None
    digest: Digest | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
