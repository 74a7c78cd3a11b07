"""Bounds the size of facts: long parts of a detail are stored in the archive, and are put back when the fact is read.

An index may list thousands of images, an image may have a thousand tags, a decision names the facts that it used. An
item of the ledger holds 400 KB, and every read of its partition pays for all of it. So the longest parts of a detail
over LIMIT are stored in one object of the archive, written before the fact that names it. Readers see no difference.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from tallyman.domain.history.facts import Fact
from tallyman.domain.names import Digest, Repository
from tallyman.errors import NotFound
from tallyman.ports.records import Appended, Archive, Ledger
from tallyman.state.items import StateChange, StateCheck

LIMIT = 64 * 1024
"""The largest detail that is stored in the fact whole, in bytes of JSON."""
FOLDER = "details"
"""The folder of the archive."""
_ARCHIVED = "archived_detail"
"""The key under which a fact names the object with the rest of its detail."""
_KEPT = 64
"""The most objects that a process caches: decisions about one image read the same ones again and again."""


class LongDetails:
    """A `Ledger` over another one and the archive. Cost: nothing for short details; else one object to write, and one
    to read unless it is cached."""

    def __init__(self, ledger: Ledger, archive: Archive) -> None:
        self._ledger, self._archive = ledger, archive
        self._read: dict[Digest, Mapping[str, Any]] = {}

    def append(self, fact: Fact, change: StateChange | None = None, *more: StateChange | StateCheck) -> Appended:
        return self._ledger.append(self._cut(fact), change, *more)

    def of_digest(self, digest: Digest) -> list[Fact]:
        return [self._whole(fact) for fact in self._ledger.of_digest(digest)]

    def indexes_of(self, digest: Digest, after: str = "", most: int | None = None) -> list[Fact]:
        return self._ledger.indexes_of(digest, after, most)

    def of_repository(
        self, repository: Repository, until: datetime | None = None, page: int | None = None
    ) -> Iterator[Fact]:
        return map(self._whole, self._ledger.of_repository(repository, until, page))

    def of_tag(self, repository: Repository, tag: str, until: datetime | None = None) -> Iterator[Fact]:
        return map(self._whole, self._ledger.of_tag(repository, tag, until))

    def written_since(self, moment: datetime) -> Iterator[Fact]:
        return map(self._whole, self._ledger.written_since(moment))

    def of_environment(self, environment: str, repository: str | None = None) -> Iterator[Fact]:
        return map(self._whole, self._ledger.of_environment(environment, repository))

    def _cut(self, fact: Fact) -> Fact:
        """The fact without the longest parts of its detail."""
        try:
            sizes = {key: len(_json(part)) for key, part in fact.detail.items()}
        except (TypeError, ValueError):
            return fact  # not plain JSON data: the ledger raises the error
        if sum(sizes.values()) <= LIMIT:
            return fact
        long: dict[str, Any] = {}
        for key in sorted(sizes, key=lambda key: -sizes[key]):
            if sum(sizes[k] for k in sizes if k not in long) <= LIMIT // 2:
                break
            long[key] = fact.detail[key]
        name = self._archive.put(FOLDER, _json(long))
        short = {key: part for key, part in fact.detail.items() if key not in long}
        return replace(fact, detail={**short, _ARCHIVED: name})

    def _whole(self, fact: Fact) -> Fact:
        if _ARCHIVED not in fact.detail:
            return fact
        detail = dict(fact.detail)
        name = Digest(detail.pop(_ARCHIVED))
        return replace(fact, detail={**detail, **self._part(name, fact)})

    def _part(self, name: Digest, fact: Fact) -> Mapping[str, Any]:
        if name not in self._read:
            raw = self._archive.get(FOLDER, name)
            if raw is None:
                raise NotFound(f"{FOLDER}/{name.hex}, which a fact {fact.kind} of {fact.partition} names, is not there")
            while len(self._read) >= _KEPT:
                del self._read[next(iter(self._read))]
            self._read[name] = json.loads(raw)
        return self._read[name]


def _json(data: Any) -> bytes:
    return json.dumps(data, separators=(",", ":"), sort_keys=True).encode()
