"""Results of scans."""

from collections.abc import Mapping, Sequence
from dataclasses import field
from types import MappingProxyType
from typing import Any

from tallyman.domain.history.details.base import Details
from tallyman.values import value

_NO_COUNTS: Mapping[str, int] = MappingProxyType({})
"""The counts of a fact without that key; distinguished from counts that are empty."""


@value
class Scanned(Details):
    """Details of scanned. `counts` by severity. `findings`: the first of `listed` rows (see
    `domain/images/findings.py`); `archived`: the digest of the archive's object with all of them. `said`: the digest of
    the scan's content, to tell whether a later scan is new."""

    status: str
    counts: Mapping[str, int] = field(default_factory=lambda: _NO_COUNTS)
    findings: Sequence[Mapping[str, Any]] = ()
    listed: int | None = None
    archived: str | None = None
    completed_at: str | None = None
    said: str | None = None
    reason: str | None = None

    @property
    def outcome(self) -> str:
        """The status; `unknown` for a scan that is `complete` without its time or its counts. Earlier versions stored
        such scans; nothing proves that they are clean."""
        if self.status == "complete" and (self.completed_at is None or self.counts is _NO_COUNTS):
            return "unknown"
        return self.status

    @property
    def inline(self) -> tuple[Mapping[str, Any], ...] | None:
        """All rows; None where the fact holds only the first of them, and the archive all."""
        return tuple(self.findings) if self.archived is None or self.listed == len(self.findings) else None
