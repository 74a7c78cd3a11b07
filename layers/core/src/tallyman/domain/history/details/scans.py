"""What a scan found."""

from collections.abc import Mapping, Sequence
from dataclasses import field
from types import MappingProxyType
from typing import Any

from tallyman.domain.history.details.base import Details
from tallyman.values import value

_NO_COUNTS: Mapping[str, int] = MappingProxyType({})
"""What a fact without the key has, as against one that counted nothing."""


@value
class Scanned(Details):
    """Of scanned. `counts` by severity. `findings`: the first rows (see `domain/images/findings.py`) of `listed`;
    `archived`: the object with all of them. `said`: the digest of what the scan says, to know whether it is new."""

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
        """The status; `unknown` where a scan is called complete without its time or its counts. Earlier versions
        stored such scans, which nothing proves to be clean."""
        if self.status == "complete" and (self.completed_at is None or self.counts is _NO_COUNTS):
            return "unknown"
        return self.status

    @property
    def inline(self) -> tuple[Mapping[str, Any], ...] | None:
        """All rows; None where the fact holds only a part of them and the archive has the rest."""
        return tuple(self.findings) if self.archived is None or self.listed == len(self.findings) else None
