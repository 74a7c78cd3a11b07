"""Reads the rows of a history from the ledger, with no more facts than they need.

The fold joins neighbours and derives rows from them, so a row is right only if its neighbours were read: the facts of
its tag, and the removals of the images that the tag pointed to.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice

from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.history.fold import PUSHES, TAG_MOVED, Row, history
from tallyman.domain.names import Digest, Repository
from tallyman.ports.records import Ledger

_JOINED = timedelta(seconds=6)
"""Reports of one call lie up to five seconds apart, so rows that are nearer to the last fact read may still change."""

_FIRST = 64


def tag_facts(ledger: Ledger, repository: Repository, tag: str, until: datetime | None = None) -> list[Fact]:
    """The facts of a tag up to `until`, and the removals of every image that it pointed to.

    Cost: a Query a MiB of the tag's facts (some 2,000), and one for each image.
    """
    facts = list(ledger.of_tag(repository, tag, until))
    for digest in {f.digest for f in facts if f.digest}:
        facts.extend(f for f in _of_image(ledger, repository, digest, until) if f.kind is Kind.DELETED)
    return facts


def of_tag(ledger: Ledger, repository: Repository, tag: str, until: datetime | None = None) -> list[Row]:
    """The history of a tag, newest first, with the removals of the image while the tag pointed to it."""
    kept: list[Row] = []
    pointing: Digest | None = None
    for row in reversed(history(tag_facts(ledger, repository, tag, until))):
        if row.tag == tag:
            kept.append(row)
            if row.kind != TAG_MOVED:
                pointing = row.digest if row.kind in PUSHES else None
        elif row.kind == Kind.DELETED and row.digest == pointing:
            kept.append(row)
            pointing = None
    return kept[::-1]


def of_digest(ledger: Ledger, repository: Repository, digest: Digest, until: datetime | None = None) -> list[Row]:
    """The history of an image in one repository, newest first: its pushes with every tag, and what happened to it."""
    facts = _of_image(ledger, repository, digest, until)
    for tag in {f.tag for f in facts if f.tag}:
        facts.extend(tag_facts(ledger, repository, tag, until))
    return [row for row in history(facts) if row.digest == digest]


def of_repository(
    ledger: Ledger, repository: Repository, until: datetime | None = None, limit: int | None = None
) -> list[Row]:
    """The history of a repository, newest first.

    With `limit` it reads growing chunks of the newest facts, and all facts of the tags and images that the rows
    concern; without it, every fact of the repository.
    """
    facts = ledger.of_repository(repository, until)
    if limit is None:
        return history(facts)
    reading = _Reading(ledger, repository, until)
    chunk = max(_FIRST, 2 * limit)
    while True:
        rows, ended = reading.take(facts, chunk)
        if ended or len(rows) >= limit:
            return rows[:limit]
        chunk *= 2


def newest(rows: Iterable[Row], limit: int | None = None) -> list[Row]:
    """Rows of several repositories as one history, newest first."""
    ordered = sorted(rows, key=lambda r: (r.at, r.kind == TAG_MOVED, r.seen, r.tag or "", r.digest), reverse=True)
    return ordered[:limit]


@dataclass
class _Reading:
    """The facts that were read so far. `tags`, `digests`: those whose facts were all read, into `whole`."""

    ledger: Ledger
    repository: Repository
    until: datetime | None
    facts: list[Fact] = field(default_factory=list)
    whole: list[Fact] = field(default_factory=list)
    tags: set[str] = field(default_factory=set)
    digests: set[Digest] = field(default_factory=set)

    def take(self, facts: Iterator[Fact], chunk: int) -> tuple[list[Row], bool]:
        """Read another chunk. Return the rows that no older fact can change, and whether the chunk was the last."""
        read = list(islice(facts, chunk))
        self.facts.extend(read)
        if len(read) < chunk:
            return history(self.facts), True
        edge = read[-1].at + _JOINED
        recent = [f for f in self.facts if f.at >= edge]
        for tag in {f.tag for f in recent if f.tag} - self.tags:
            self.tags.add(tag)
            self.whole.extend(tag_facts(self.ledger, self.repository, tag, self.until))
        for digest in {f.digest for f in recent if f.digest} - self.digests:
            self.digests.add(digest)
            self.whole.extend(_of_image(self.ledger, self.repository, digest, self.until))
        return [row for row in history([*self.facts, *self.whole]) if row.at >= edge], False


def _of_image(ledger: Ledger, repository: Repository, digest: Digest, until: datetime | None) -> list[Fact]:
    return [f for f in ledger.of_digest(digest) if f.repository == repository and (not until or f.at <= until)]
