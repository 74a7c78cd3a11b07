"""Storage: the ledger, the state table, the archive and the seal."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from enum import Enum
from typing import Protocol

from tallyman.domain.history.facts import Fact
from tallyman.domain.history.seals import LedgerEntry
from tallyman.domain.names import Digest, Repository
from tallyman.state.items import Key, StateChange, StateCheck, StateItem


class Appended(Enum):
    """The result of an append."""

    WRITTEN = "written"
    KNOWN = "known"  # the ledger had the fact already; nothing was written, including the StateChange


class Ledger(Protocol):
    """The ledger: facts, which are only added."""

    def append(self, fact: Fact, change: StateChange | None = None, *more: StateChange | StateCheck) -> Appended:
        """Write the fact, if it is new, together with the changes in one transaction, if all of their conditions and
        checks hold. Raises RevisionConflict where one of these fails; then nothing is written."""

    def of_digest(self, digest: Digest) -> list[Fact]:
        """All facts of a digest in the order of time, without those that `indexes_of` returns; a consistent read. One
        Query per MiB."""

    def indexes_of(self, digest: Digest, after: str = "", most: int | None = None) -> list[Fact]:
        """The facts CHILD_OF of a digest, one for each index that lists it: those whose `sort` comes after `after`, in
        that order, at most `most`; a consistent read. `of_digest` returns those that versions before this method
        wrote."""

    def of_repository(
        self, repository: Repository, until: datetime | None = None, page: int | None = None
    ) -> Iterator[Fact]:
        """The facts of a repository in one registry with a time of at most `until`, newest first. Read page by page
        while it is consumed, from an index that may lag by milliseconds: for display, never for decisions. `page`: the
        most facts per Query, for callers that want the newest few; without it a Query reads a MiB."""

    def of_tag(self, repository: Repository, tag: str, until: datetime | None = None) -> Iterator[Fact]:
        """The same for one tag."""

    def written_since(self, moment: datetime) -> Iterator[Fact]:
        """Facts of every kind with `seen` at or after `moment`, in the order of `seen`; from an index, at least one
        Query per day (UTC). Facts of the same moment may become visible in any order: read again from a few seconds
        before, and skip known ones."""

    def of_environment(self, environment: str, repository: str | None = None) -> Iterator[Fact]:
        """The facts of an environment, or of one repository in it, newest first; a consistent read."""


class State(Protocol):
    """The state table: small mutable items; every read is consistent. `tallyman.state` has the kinds of items; no other
    module reads or writes their data."""

    def get(self, pk: str, sk: str) -> StateItem | None:
        """The item under the key; None: there is none."""

    def get_many(self, keys: Sequence[Key]) -> dict[Key, StateItem]:
        """The items of the keys that exist. One call per 100."""

    def list(self, pk: str, prefix: str = "") -> Iterator[StateItem]:
        """The items of a partition whose sort key begins with `prefix`, ordered by sort key; read page by page."""

    def put(self, change: StateChange) -> None:
        """Write the change. Raises RevisionConflict where the item has another revision."""


class Objects(Protocol):
    """The archive, for reading: objects by the SHA-256 of their bytes."""

    def get(self, folder: str, digest: Digest) -> bytes | None:
        """The bytes of the object; None: there is none. Raises DigestMismatch."""


class Archive(Objects, Protocol):
    """The archive: objects by the SHA-256 of their bytes, kept permanently."""

    def put(self, folder: str, raw: bytes) -> Digest:
        """Write `<folder>/<sha256 hex>` unless it exists; return the digest of the bytes."""


class Entries(Protocol):
    """The ledger's items as they are stored, for the seal."""

    def arrived(self, since: datetime) -> Iterator[LedgerEntry]:
        """The items with `seen` at or after `since`, in the order of `seen`; from an index, at least one Query per day
        (UTC), read page by page while it is consumed."""


class AllEntries(Entries, Protocol):
    """Every item of the ledger, including those that no index has."""

    def every(self) -> Iterator[LedgerEntry]:
        """All items in no order; consistent reads of the whole table, page by page."""


class Seals(Protocol):
    """The segments of the seal, by their number."""

    def read(self, number: int) -> bytes | None:
        """The bytes of the segment; None: there is none."""

    def write(self, number: int, raw: bytes) -> bool:
        """Write the segment unless there is one of this number; return whether it was written."""


class SealList(Protocol):
    """The segments of the seal, for checking them."""

    def read(self, number: int) -> bytes | None: ...

    def versions(self) -> dict[int, int]:
        """How often each segment was written or removed, by its number; 1 where nobody tampered with it. One call per
        1,000."""
