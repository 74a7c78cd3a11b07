"""In-memory fakes of every port, a clock to set, and crashes on demand. The contract suites test them beside the real
ones.

Facts and state use the same codec as in DynamoDB, so that anything that does not survive JSON fails here too.
"""

import functools
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, cast

import pytest

from support.fakes.registries import FakeRegistries
from tallyman.adapters.dynamodb.codec import (
    Plain,
    change_to_plain,
    fact_from_plain,
    fact_to_plain,
    ledger_entry,
    marshal,
    state_from_plain,
)
from tallyman.domain.events.letters import Letter
from tallyman.domain.history.facts import BEFORE_ALL, Fact
from tallyman.domain.history.seals import LedgerEntry
from tallyman.domain.images.details import ApiCall, SigningStatus
from tallyman.domain.names import Digest, EcrRegistry, Repository
from tallyman.domain.times import sort_time
from tallyman.errors import BadInput, DigestMismatch, NotFound, RevisionConflict
from tallyman.ports.records import Appended, State
from tallyman.ports.registries import TrailPage
from tallyman.state.items import StateChange, StateCheck, StateItem

__all__ = [
    "Crash",
    "CrashAfter",
    "FakeAnnouncements",
    "FakeArchive",
    "FakeClock",
    "FakeHints",
    "FakeLedger",
    "FakeLetters",
    "FakeNotices",
    "FakePeople",
    "FakeRegistries",
    "FakeSigning",
    "FakeState",
    "FakeTrail",
]


T = TypeVar("T")
_END: Any = object()


class FakeClock:
    """A `Clock` that stands still until it is moved."""

    def __init__(self, now: datetime = datetime(2026, 11, 16, 1, 54, 34, tzinfo=UTC)) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **by: float) -> datetime:
        """Move on: `advance(hours=24)`."""
        self.now += timedelta(**by)
        return self.now


class FakeState:
    """`State`; `items` maps (pk, sk) to the stored item."""

    def __init__(self) -> None:
        self.items: dict[tuple[str, str], Plain] = {}
        self.lock = threading.RLock()

    def get(self, pk: str, sk: str) -> StateItem | None:
        item = self.items.get((pk, sk))
        return state_from_plain(item) if item else None

    def get_many(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], StateItem]:
        return {key: state_from_plain(self.items[key]) for key in keys if key in self.items}

    def list(self, pk: str, prefix: str = "") -> Iterator[StateItem]:
        for key in sorted(k for k in self.items if k[0] == pk and k[1].startswith(prefix)):
            if key in self.items:
                yield state_from_plain(self.items[key])

    def put(self, change: StateChange) -> None:
        item = change_to_plain(change)
        with self.lock:
            if not self.would_take(change):
                raise RevisionConflict(f"write the state {change.pk} {change.sk}: another writer was faster")
            self.items[change.pk, change.sk] = item

    def would_take(self, change: StateChange | StateCheck) -> bool:
        """Whether the condition holds now."""
        item = self.items.get((change.pk, change.sk))
        return (int(item["revision"]) if item else 0) == change.revision


def listed(state: State, pk: str) -> list[StateItem]:
    """The items of a partition, without the markers of removed ones."""
    return [item for item in state.list(pk) if not item.removed]


def stored(state: State, pk: str, sk: str) -> StateItem | None:
    """An item; None also if only the marker of a removed one exists."""
    item = state.get(pk, sk)
    return None if item is None or item.removed else item


class FakeLedger:
    """`Ledger`, in one transaction with the given state. `facts` are all of them, in the order of writing."""

    def __init__(self, state: FakeState | None = None) -> None:
        self.state = state or FakeState()
        self.items: dict[tuple[str, str], Plain] = {}
        self._parsed: dict[int, tuple[Plain, Fact]] = {}

    @property
    def facts(self) -> list[Fact]:
        """All facts in the order of writing."""
        return [self._fact(item) for item in self.items.values()]

    def _fact(self, item: Plain) -> Fact:
        """The fact of an item, parsed once: neither changes."""
        known = self._parsed.get(id(item))
        if known is None or known[0] is not item:
            known = self._parsed[id(item)] = (item, fact_from_plain(item))
        return known[1]

    def append(self, fact: Fact, change: StateChange | None = None, *more: StateChange | StateCheck) -> Appended:
        item = fact_to_plain(fact)
        conditions = [*([change] if change else []), *more]
        changes = [each for each in conditions if isinstance(each, StateChange)]
        after = [change_to_plain(each) for each in changes]
        key = (str(item["pk"]), str(item["sk"]))
        with self.state.lock:
            if key in self.items:
                return Appended.KNOWN
            if not all(self.state.would_take(each) for each in conditions):
                raise RevisionConflict(f"write the fact {fact.kind.value} of {fact.partition}: nothing was written")
            self.items[key] = item
            self.state.items.update(zip(((each.pk, each.sk) for each in changes), after, strict=True))
            return Appended.WRITTEN

    def of_digest(self, digest: Digest) -> list[Fact]:
        return list(self._read("pk", f"D#{digest}", newest_first=False, since=sort_time(BEFORE_ALL) + "#~"))

    def indexes_of(self, digest: Digest, after: str = "", most: int | None = None) -> list[Fact]:
        since = max(after + "\x00", sort_time(BEFORE_ALL))
        return list(self._read("pk", f"D#{digest}", BEFORE_ALL, newest_first=False, since=since, most=most))

    def of_repository(
        self, repository: Repository, until: datetime | None = None, page: int | None = None
    ) -> Iterator[Fact]:
        return self._read("repo_pk", f"R#{repository}", until)

    def written_since(self, moment: datetime) -> Iterator[Fact]:
        rows = [item for item in self.items.values() if str(item["seen_sk"]) >= sort_time(moment)]
        return (self._fact(item) for item in sorted(rows, key=lambda row: str(row["seen_sk"])))

    def arrived(self, since: datetime) -> Iterator[LedgerEntry]:
        rows = [item for item in self.items.values() if str(item.get("seen_sk", "")) >= sort_time(since)]
        return (ledger_entry(marshal(item)) for item in sorted(rows, key=lambda row: str(row["seen_sk"])))

    def every(self) -> Iterator[LedgerEntry]:
        return (ledger_entry(marshal(item)) for item in list(self.items.values()))

    def of_tag(self, repository: Repository, tag: str, until: datetime | None = None) -> Iterator[Fact]:
        return self._read("tag_pk", f"T#{repository}:{tag}", until)

    def of_environment(self, environment: str, repository: str | None = None) -> Iterator[Fact]:
        return self._read("pk", f"E#{environment}/{repository}" if repository else f"E#{environment}")

    def _read(
        self,
        key: str,
        value: str,
        until: datetime | None = None,
        *,
        newest_first: bool = True,
        since: str = "",
        most: int | None = None,
    ) -> Iterator[Fact]:
        last = sort_time(until) + "#~" if until else "~"
        rows = [item for item in self._partition(key, value) if since <= str(item["sk"]) <= last]
        rows = sorted(rows, key=lambda row: str(row["sk"]), reverse=newest_first)[:most]
        self._was_read(key, rows)
        return (self._fact(item) for item in rows)

    def _partition(self, key: str, value: str) -> Iterable[Plain]:
        """The items with this value of a key."""
        return [item for item in self.items.values() if item.get(key) == value]

    def _was_read(self, key: str, rows: Sequence[Plain]) -> None:
        """Hook for counters: one Query was made."""


class FakeSeals:
    """`Seals` and `SealList`; a test may damage or remove its `objects`, and mark one as `rewritten`."""

    def __init__(self) -> None:
        self.objects: dict[int, bytes] = {}
        self.rewritten: set[int] = set()

    def read(self, number: int) -> bytes | None:
        return self.objects.get(number)

    def write(self, number: int, raw: bytes) -> bool:
        return self.objects.setdefault(number, raw) is raw

    def versions(self) -> dict[int, int]:
        return {number: 2 if number in self.rewritten else 1 for number in (*self.objects, *self.rewritten)}


class FakeArchive:
    """`Archive`; `objects` maps (folder, digest) to bytes, which tests may damage. `seals`: of the same bucket."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, Digest], bytes] = {}
        self.seals = FakeSeals()

    def put(self, folder: str, raw: bytes) -> Digest:
        digest = Digest.of(raw)
        self.objects.setdefault((folder, digest), raw)
        return digest

    def get(self, folder: str, digest: Digest) -> bytes | None:
        raw = self.objects.get((folder, digest))
        if raw is not None and Digest.of(raw) != digest:
            raise DigestMismatch(f"the archive's object {folder}/{digest.hex} is not what its name says")
        return raw


@dataclass
class FakeLetters:
    """`Letters`, in the order of arrival; `sent` are those that were sent again."""

    boxes: list[Letter] = field(default_factory=list)
    sent: list[Letter] = field(default_factory=list)

    @contextmanager
    def opened(self, queue: str, most: int = 1000) -> Iterator[Iterator[Letter]]:
        yield iter([letter for letter in self.boxes if letter.queue == queue][:most])

    def send_again(self, letter: Letter) -> None:
        self.sent.append(letter)

    def remove(self, letter: Letter) -> None:
        self.boxes.remove(letter)


@dataclass
class FakeHints:
    """`Hints`; `sent` are (queue, body, delay) in the order of sending."""

    sent: list[tuple[str, dict[str, Any], int]] = field(default_factory=list)

    def send(self, queue: str, body: Mapping[str, Any], delay: int = 0) -> None:
        if not 0 <= delay <= 900:
            raise BadInput(f"a hint's delay is 0 to 900 seconds, not {delay}")
        self.sent.append((queue, dict(body), delay))

    def to(self, queue: str) -> list[dict[str, Any]]:
        """The bodies sent to one queue."""
        return [body for name, body, _ in self.sent if name == queue]

    def take(self, queue: str | None = None) -> list[tuple[str, dict[str, Any], int]]:
        """Remove and return what was sent (to one queue), as a consumer does."""
        taken = [row for row in self.sent if queue in (None, row[0])]
        self.sent = [row for row in self.sent if queue not in (None, row[0])]
        return taken


@dataclass
class FakeNotices:
    """`Channels`; `published` are (subject, text, attributes), `posted` (channel, message); `missing`: channels that do
    not exist."""

    published: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    posted: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    missing: tuple[str, ...] = ()

    def publish(self, subject: str, text: str, attributes: Mapping[str, str]) -> None:
        self.published.append((subject, text, dict(attributes)))

    def post(self, channel: str, message: Mapping[str, Any]) -> None:
        if channel in self.missing:
            raise NotFound(f"there is no channel {channel}")
        self.posted.append((channel, dict(message)))


@dataclass
class FakeAnnouncements:
    """`Announcements`; `emitted` are (detail type, detail)."""

    emitted: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def emit(self, detail_type: str, detail: Mapping[str, Any]) -> None:
        self.emitted.append((detail_type, dict(detail)))


@dataclass
class FakeTrail:
    """`Trail`; a test fills `recorded`. A page holds `page_size` calls."""

    recorded: list[ApiCall] = field(default_factory=list)
    page_size: int = 50

    def page(
        self, registry: EcrRegistry, since: datetime, until: datetime, position: str | None, waiting: Callable[[], None]
    ) -> TrailPage:
        """Newest page first, as CloudTrail's."""
        rows = [c for c in self.recorded if c.repository.registry == registry and since <= c.at <= until]
        rows.sort(key=lambda c: c.at)
        end = len(rows) - int(position or 0) * self.page_size
        start = max(0, end - self.page_size)
        return TrailPage(tuple(rows[start:end]), str(int(position or 0) + 1) if start else None)


@dataclass
class FakePeople:
    """`People`; `ids` maps an entry (`role/release-managers`) to its unique id (`AROA…`)."""

    ids: dict[str, str] = field(default_factory=dict)

    def principal(self, sender_id: str, allowed: Sequence[str]) -> str | None:
        who = sender_id.partition(":")[0]
        return next((entry for entry in allowed if who and self.ids.get(entry) == who), None)


@dataclass
class FakeSigning:
    """`SigningView`; a test sets the `statuses` of an image. `silent`: the registry does not answer."""

    statuses: dict[tuple[Repository, Digest], list[SigningStatus]] = field(default_factory=dict)
    silent: bool = False

    def signing(self, repository: Repository, digest: Digest) -> list[SigningStatus] | None:
        return None if self.silent else list(self.statuses.get((repository, digest), []))


class Crash(BaseException):
    """The process dies here. Not an Exception: no `except Exception` may continue after it."""


class CrashAfter:
    """Kills the process at the n-th call of any port, before or after the call did its work.

    >>> crash = CrashAfter(3, when="after")
    >>> service = build(ledger=crash.wrap(ledger), state=crash.wrap(state))

    The wrapped ports share one count. `CrashAfter(0)` never crashes: run once with it and read `count`, then run with 1
    … count and both `when`. Each chunk of a blob and each item of an iterator counts as a call too.
    """

    def __init__(self, n: int = 0, when: str = "before") -> None:
        if when not in ("before", "after"):
            raise ValueError(f"when is before or after, not {when!r}")
        self.n, self.when, self.count = n, when, 0
        self.calls: list[str] = []
        self._lock = threading.Lock()

    def wrap(self, port: T) -> T:
        """The port, with its calls counted."""
        return cast("T", _Crashing(port, self))

    @contextmanager
    def counted(self, name: str) -> Iterator[None]:
        """One call."""
        with self._lock:
            self.count += 1
            mine = self.count == self.n
            self.calls.append(name)
        if mine and self.when == "before":
            raise Crash(f"before call {self.n}: {name}")
        yield
        if mine and self.when == "after":
            raise Crash(f"after call {self.n}: {name}")


CRASH_STEPS = pytest.mark.parametrize(
    "step", [pytest.param(5, id="some"), pytest.param(1, id="each", marks=pytest.mark.heavy)]
)
"""For tests that take long, which die at the calls `range(1, count + 1, step)`: some of them, or each (`-m heavy`)."""


class _Crashing:
    def __init__(self, port: Any, crash: CrashAfter) -> None:
        self._port, self._crash = port, crash

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._port, name)
        if not callable(value):
            return value

        @functools.wraps(value)
        def call(*args: Any, **kwargs: Any) -> Any:
            with self._crash.counted(name):
                result = value(*args, **kwargs)
            if isinstance(result, AbstractContextManager):
                return self._opened(name, result)
            return self._items(name, result) if isinstance(result, Iterator) else result

        return call

    def _items(self, name: str, items: Iterator[Any]) -> Iterator[Any]:
        while True:
            with self._crash.counted(f"{name}: next"):
                item = next(items, _END)
            if item is _END:
                return
            yield item

    @contextmanager
    def _opened(self, name: str, manager: AbstractContextManager[Any]) -> Iterator[Any]:
        with manager as stream:
            yield _CrashingStream(stream, lambda: self._items(name, iter(stream)))


@dataclass
class _CrashingStream:
    stream: Any
    items: Callable[[], Iterator[bytes]]

    @property
    def size(self) -> int | None:
        return cast("int | None", self.stream.size)

    def __iter__(self) -> Iterator[bytes]:
        return self.items()
