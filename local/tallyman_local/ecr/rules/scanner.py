"""Basic scanning without a scanner: a scan is IN_PROGRESS until a test or a person gives its findings."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from tallyman.domain.names import EcrRegistry, Repository
from tallyman_local.ecr import errors
from tallyman_local.ecr.errors import EcrError
from tallyman_local.ecr.rules.events import Events
from tallyman_local.ecr.store.rows import ImageRow, RepositoryRow
from tallyman_local.ecr.store.tables import Store

SEVERITIES = ("CRITICAL", "HIGH", "MEDIUM", "LOW", "INFORMATIONAL", "UNDEFINED")
Finding = Mapping[str, Any]  # name and severity; uri, description and attributes are optional
DAY = 24 * 3600.0


@dataclass(frozen=True)
class Scan:
    """A stored scan; times are seconds since the epoch."""

    status: str
    description: str | None
    started: float
    completed: float | None
    findings: tuple[dict[str, Any], ...]

    @property
    def counts(self) -> dict[str, int]:
        """The number of findings by severity, without severities that have none."""
        found = [finding["severity"] for finding in self.findings]
        return {severity: found.count(severity) for severity in SEVERITIES if severity in found}


class Scanner:
    """The scans of all registries. Mode `clean` completes each scan at once without findings; `manual` waits for
    `complete`."""

    def __init__(
        self, store: Store, events: Events, clock: Callable[[], datetime], mode: Literal["manual", "clean"]
    ) -> None:
        self._store, self._events, self._clock, self.mode = store, events, clock, mode

    def scan(self, repository_id: int, digest: str) -> Scan | None:
        """The latest scan of an image; None: it was never scanned."""
        row = self._store.db.row("SELECT * FROM scans WHERE repository = ? AND digest = ?", repository_id, digest)
        if row is None:
            return None
        findings = tuple(json.loads(row["findings"]))
        return Scan(row["status"], row["description"], row["started"], row["completed"], findings)

    def _save(self, repository_id: int, digest: str, scan: Scan) -> None:
        self._store.db.run(
            "INSERT OR REPLACE INTO scans VALUES (?, ?, ?, ?, ?, ?, ?)",
            repository_id,
            digest,
            scan.status,
            scan.description,
            scan.started,
            scan.completed,
            json.dumps(scan.findings),
        )

    def _check_exists(self, repository: RepositoryRow, image: ImageRow) -> None:
        if self._store.image(repository.id, image.digest) is None:  # deleted since it was read
            raise errors.image_not_found(repository.name, image.digest, None)

    def begin(self, repository: RepositoryRow, image: ImageRow) -> None:
        """Start a scan, on push or by StartImageScan. Raises UnsupportedImageTypeException, ImageArchivedException,
        and LimitExceededException for the second scan of an image within a day."""
        _check_scannable(image)
        if image.status == "ARCHIVED":
            raise EcrError("ImageArchivedException", f"The image with digest '{image.digest}' is archived")
        now = self._clock().timestamp()
        with self._store.db.transaction():
            self._check_exists(repository, image)
            last = self.scan(repository.id, image.digest)
            if last and now - last.started < DAY:
                text = "The scan quota per image has been exceeded. Wait and try again."
                raise EcrError("LimitExceededException", text)
            kept = last.findings if last else ()
            self._save(repository.id, image.digest, Scan("IN_PROGRESS", None, now, None, kept))
        if self.mode == "clean":
            self._finish(repository, image, "COMPLETE", ())

    def complete(
        self,
        registry: EcrRegistry,
        repository: str,
        digest: str,
        findings: Iterable[Finding] = (),
        status: Literal["COMPLETE", "FAILED"] = "COMPLETE",
    ) -> Scan:
        """Complete a scan with these findings; may be repeated with others. Send one event "ECR Image Scan" each
        time.

        A scan that was never started counts as started now. Raises EcrError: RepositoryNotFoundException,
        ImageNotFoundException, UnsupportedImageTypeException (index, artifact), InvalidParameterException (severity).
        """
        row = self._store.get(Repository(registry, repository))
        image = self._store.image(row.id, digest)
        if image is None:
            raise errors.image_not_found(row.name, digest, None)
        _check_scannable(image)
        return self._finish(row, image, status, findings)

    def _finish(self, repository: RepositoryRow, image: ImageRow, status: str, findings: Iterable[Finding]) -> Scan:
        listed = []
        for finding in findings:
            severity = str(finding["severity"]).upper()
            if severity not in SEVERITIES:
                raise errors.not_one_of("severity", SEVERITIES)
            name = str(finding["name"])
            uri = f"https://cve.mitre.org/cgi-bin/cvename.cgi?name={name}"
            known = {"uri": uri, "description": f"{name} ({severity})"}
            listed.append({**known, **finding, "name": name, "severity": severity})
        now = self._clock().timestamp()
        with self._store.db.transaction():
            self._check_exists(repository, image)
            last = self.scan(repository.id, image.digest)
            unsupported = "UnsupportedImageError: The operating system and/or package manager are not supported."
            description = "The scan was completed successfully." if status == "COMPLETE" else unsupported
            scan = Scan(status, description, last.started if last else now, now, tuple(listed))
            self._save(repository.id, image.digest, scan)
            tags = self._store.tags_of(repository.id, image.digest)
        self._events.scan(repository.name, image.digest, status, scan.counts, tags)
        return scan


def _check_scannable(image: ImageRow) -> None:
    if not image.scannable:
        raise errors.scan_unsupported(image.media_type if image.artifact_type is None else image.artifact_type)
