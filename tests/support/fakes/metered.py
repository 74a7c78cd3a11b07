"""The AWS cost of a flow, counted on fakes: units of DynamoDB as it bills them, and calls of ECR.

DynamoDB bills a consistent read by 4 KiB and a write by 1 KiB, each rounded up; a Query by the sum of what it reads; a
batch item by item; a missing item as one unit; each write of a transaction twice. Each index that contains the item
adds one write. An item's size is that of its attributes' names and values.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from support.fakes.ports import FakeArchive, FakeLedger, FakeState
from support.fakes.registries import FakeRegistries
from tallyman.adapters.dynamodb.codec import Plain, change_to_plain, fact_to_plain
from tallyman.domain.history.facts import Fact
from tallyman.domain.names import Digest
from tallyman.errors import RevisionConflict
from tallyman.ports.records import Appended
from tallyman.state.items import StateChange, StateCheck, StateItem

INDEXES = ("repo_pk", "tag_pk", "seen_pk")
"""The partition keys of the ledger's indexes (template.yaml)."""
PAGE = 1024 * 1024
"""Bytes of a Query's page."""
ECR_CALLS = {
    "manifest": 1,  # BatchGetImage
    "manifests": 1,  # BatchGetImage, a hundred a call
    "describe": 1,  # DescribeImages, a hundred a call
    "images": 1,  # DescribeImages, a thousand a page
    "missing_blobs": 1,  # BatchCheckLayerAvailability
    "open_blob": 1,  # GetDownloadUrlForLayer
    "referrers": 1,  # ListImageReferrers
    "repositories": 1,  # DescribeRepositories
    "settings": 1,  # DescribeRepositories
    "scan": 1,  # DescribeImageScanFindings
    "start_scan": 1,  # StartImageScan
    "mount": 1,  # POST …/blobs/uploads/?mount=
    "upload": 3,  # InitiateLayerUpload, UploadLayerPart, CompleteLayerUpload
    "put_manifest": 1,  # PutImage
    "create": 2,  # CreateRepository, SetRepositoryPolicy
}
"""By the fake's method the calls that the adapter makes of it."""
_BATCH = {"manifests": 100, "describe": 100, "missing_blobs": 100}


def size_of(item: Plain) -> int:
    """Size of an item in bytes, as DynamoDB counts."""
    values = (len(str(v).encode()) if isinstance(v, str) else len(str(v)) // 2 + 2 for v in item.values())
    return sum(len(name) for name in item) + sum(values)


def read_units(sizes: Sequence[int]) -> int:
    """Units of one consistent read of these items."""
    return max(1, ceil(sum(sizes) / 4096))


def write_units(size: int) -> int:
    """Units of one write."""
    return max(1, ceil(size / 1024))


@dataclass
class Meter:
    """The counters. `calls` of DynamoDB, by name; `items` read; `index`: units of the indexes."""

    reads: int = 0
    writes: int = 0
    index: int = 0
    items: int = 0
    read_bytes: int = 0
    calls: Counter[str] = field(default_factory=Counter)

    def read(self, name: str, sizes: Sequence[int], eventual: bool = False) -> None:
        """Count one read call."""
        self.calls[name] += max(1, ceil(sum(sizes) / PAGE))
        self.items += len(sizes)
        self.read_bytes += sum(sizes)
        units = read_units(sizes)
        self.reads += ceil(units / 2) if eventual else units

    def write(self, name: str, sizes: Sequence[int], index: int = 0) -> None:
        """Count one write call; with several items it is a transaction."""
        self.calls[name] += 1
        self.writes += sum(write_units(size) for size in sizes) * (2 if name == "transact" else 1)
        self.index += index


class MeteredArchive(FakeArchive):
    """`FakeArchive`, counted."""

    def __init__(self, meter: Meter) -> None:
        super().__init__()
        self.meter = meter

    def put(self, folder: str, raw: bytes) -> Digest:
        self.meter.calls["archived"] += 1
        return super().put(folder, raw)


class MeteredState(FakeState):
    """`FakeState`, counted."""

    def __init__(self, meter: Meter) -> None:
        super().__init__()
        self.meter = meter

    def get(self, pk: str, sk: str) -> StateItem | None:
        self.meter.read("get", self._sizes([(pk, sk)]))
        return super().get(pk, sk)

    def get_many(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], StateItem]:
        wanted = list(dict.fromkeys(keys))
        if wanted:
            self.meter.calls["batch get"] += ceil(len(wanted) / 100)
            for key in wanted:
                self.meter.read("item of a batch", self._sizes([key]))
        return super().get_many(keys)

    def list(self, pk: str, prefix: str = "") -> Iterator[StateItem]:
        found = list(super().list(pk, prefix))
        self.meter.read("list", self._sizes([(item.pk, item.sk) for item in found]))
        return iter(found)

    def put(self, change: StateChange) -> None:
        self.meter.write("put", [size_of(change_to_plain(change))])
        super().put(change)

    def _sizes(self, keys: Sequence[tuple[str, str]]) -> Sequence[int]:
        return [size_of(self.items[key]) for key in keys if key in self.items]


class MeteredLedger(FakeLedger):
    """`FakeLedger`, counted."""

    def __init__(self, state: MeteredState, meter: Meter) -> None:
        super().__init__(state)
        self.meter = meter
        self.partitions: dict[str, dict[tuple[str, str], Plain]] = {}

    def append(self, fact: Fact, change: StateChange | None = None, *more: StateChange | StateCheck) -> Appended:
        item = fact_to_plain(fact)
        conditions = [*([change] if change else []), *more]
        sizes = [size_of(item)]
        for each in conditions:
            there = self.state.items.get((each.pk, each.sk))
            written = change_to_plain(each) if isinstance(each, StateChange) else there
            sizes.append(size_of(written) if written else 0)
        try:
            done = super().append(fact, change, *more)
        except RevisionConflict:
            self.meter.write("transact", sizes)
            raise
        index = write_units(sizes[0]) * sum(key in item for key in INDEXES) if done is Appended.WRITTEN else 0
        self.meter.write("transact" if conditions else "append", sizes, index)
        if done is Appended.WRITTEN:
            self.partitions.setdefault(str(item["pk"]), {})[str(item["pk"]), str(item["sk"])] = item
        return done

    def _partition(self, key: str, value: str) -> Iterable[Plain]:
        """By partition: a test with a million facts would otherwise read them all for each digest."""
        return self.partitions.get(value, {}).values() if key == "pk" else super()._partition(key, value)

    def _was_read(self, key: str, rows: Sequence[Plain]) -> None:
        sizes = [size_of(item) for item in rows]
        self.meter.read("query" if key == "pk" else "query of an index", sizes, eventual=key != "pk")


def ecr_calls(registries: FakeRegistries, since: int = 0) -> Counter[str]:
    """ECR's calls for the fake's requests from an index on, by the fake's method."""
    calls: Counter[str] = Counter()
    for method, _, argument in registries.requests[since:]:
        times = ceil(len(argument) / _BATCH[method]) if method in _BATCH and isinstance(argument, tuple) else 1
        calls[method] += ECR_CALLS[method] * times
    return calls


def total(calls: Counter[Any]) -> int:
    """The total number of calls."""
    return sum(calls.values())
