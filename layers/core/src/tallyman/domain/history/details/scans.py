"""What a scan found."""

from collections.abc import Mapping, Sequence
from typing import Any

from tallyman.domain.history.details.base import Details
from tallyman.values import value


@value
class Scanned(Details):
    """Of scanned. `counts` by severity. `findings`: the first rows (see `domain/images/findings.py`) of `listed`;
    `archived`: the object with all of them. `said`: the digest of what the scan says, to tell whether it is news."""

    status: str
    counts: Mapping[str, int]
    findings: Sequence[Mapping[str, Any]] = ()
    listed: int | None = None
    archived: str | None = None
    completed_at: str | None = None
    said: str | None = None
    reason: str | None = None

    @property
    def inline(self) -> tuple[Mapping[str, Any], ...] | None:
        """All rows; None where the fact holds only a part of them and the archive has the rest."""
        return tuple(self.findings) if self.archived is None or self.listed == len(self.findings) else None
