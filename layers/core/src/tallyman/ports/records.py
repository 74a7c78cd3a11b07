"""What is recorded: facts, projections, and permanent objects."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from enum import Enum
from typing import Protocol

from tallyman.domain.history.facts import Fact
from tallyman.domain.history.seals import LedgerEntry
from tallyman.domain.names import Digest, Repository
from tallyman.state.items import Key, StateChange, StateCheck, StateItem


class Appended(Enum):
    """What became of an append."""

    WRITTEN = "written"
    KNOWN = "known"  # the same fact was there already; nothing was changed, the StateChange neither


class Ledger(Protocol):
    """The append-only facts."""

    def append(self, fact: Fact, change: StateChange | None = None, *more: StateChange | StateCheck) -> Appended:
        """Writes the fact if it is new, and the changes with it in one transaction, if all their conditions and checks
        hold. Raises RevisionConflict where only one of those failed: nothing was written."""

    def of_digest(self, digest: Digest) -> list[Fact]:
        """All facts of a digest in the order of time, without those that `indexes_of` reads; a consistent read. One
        Query a MiB."""

    def indexes_of(self, digest: Digest, after: str = "", most: int | None = None) -> list[Fact]:
        """Which indexes list this digest: the facts CHILD_OF whose `sort` comes after `after`, in that order, at most
        so many; a consistent read. Those that versions before this method wrote are among `of_digest`'s."""

    def of_repository(
        self, repository: Repository, until: datetime | None = None, page: int | None = None
    ) -> Iterator[Fact]:
        """Facts of a repository of one registry that happened at or before `until`, newest first; read page by page
        as it is consumed, from an index (may lag some milliseconds: for showing, never for deciding). `page`: facts a
        Query at most, for callers that want the newest few; without it a Query reads a MiB."""

    def of_tag(self, repository: Repository, tag: str, until: datetime | None = None) -> Iterator[Fact]:
        """The same for one tag."""

    def written_since(self, moment: datetime) -> Iterator[Fact]:
        """Facts of every kind with `seen` at or after `moment`, the first written first; from an index, a Query a day
        (UTC) at least. Two that are written in the same moment may become visible in another order: look back a few
        seconds, and pass over what is known."""

    def of_environment(self, environment: str, repository: str | None = None) -> Iterator[Fact]:
        """Facts of an environment (or of one repository name in it), newest first; a consistent read."""


class State(Protocol):
    """Small mutable projections; every read is consistent. `tallyman.state` has the kinds of items: nobody else reads
    or writes their data."""

    def get(self, pk: str, sk: str) -> StateItem | None: ...

    def get_many(self, keys: Sequence[Key]) -> dict[Key, StateItem]:
        """Those of the keys that exist; 100 a call."""

    def list(self, pk: str, prefix: str = "") -> Iterator[StateItem]:
        """Items of a partition whose sk begins with prefix, in the order of sk; page by page."""

    def put(self, change: StateChange) -> None:
        """Raises RevisionConflict where the revision is another one."""


class Objects(Protocol):
    """Reading the archive: objects by the SHA-256 of their bytes."""

    def get(self, folder: str, digest: Digest) -> bytes | None:
        """The bytes, checked against the digest (DigestMismatch), or None."""


class Archive(Objects, Protocol):
    """Objects by the SHA-256 of their bytes, kept permanently."""

    def put(self, folder: str, raw: bytes) -> Digest:
        """Writes `<folder>/<sha256 hex>` unless it is there; the digest of the bytes."""


class Entries(Protocol):
    """The ledger's items as they are stored, for the seal."""

    def arrived(self, since: datetime) -> Iterator[LedgerEntry]:
        """Those with `seen` at or after the moment, in the order of arrival; from an index, a Query a day (UTC) at
        least, read page by page as it is consumed."""


class AllEntries(Entries, Protocol):
    """Every item of the ledger, also one that no index has."""

    def every(self) -> Iterator[LedgerEntry]:
        """In no order; consistent reads of the whole table, page by page."""


class Seals(Protocol):
    """The segments of the seal, by their number."""

    def read(self, number: int) -> bytes | None: ...

    def write(self, number: int, raw: bytes) -> bool:
        """Writes it unless there is one of this number; whether it was written."""


class SealList(Protocol):
    """The segments for whoever proves them."""

    def read(self, number: int) -> bytes | None: ...

    def versions(self) -> dict[int, int]:
        """How often each was written or removed: once, where nobody meddled. A call for a thousand."""
