"""Loads all facts about an image with consistent reads, for its evaluation."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from tallyman.domain.decide import candidates
from tallyman.domain.gates import Freeze, ImageFacts, Released
from tallyman.domain.gates.scan import ScanGate
from tallyman.domain.gates.signers import signers_of
from tallyman.domain.history.details.changes import Change
from tallyman.domain.history.details.referrers import ChildOf
from tallyman.domain.history.details.scans import Scanned
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.history.fold import PUSHES, digest_at
from tallyman.domain.images.findings import FOLDER, Row, from_object
from tallyman.domain.images.referrers import is_gone, referrers
from tallyman.domain.names import Digest, Repository
from tallyman.domain.policy import Policy
from tallyman.ports.records import Ledger, Objects
from tallyman.services.deciding.freezes import in_force
from tallyman.state import tags
from tallyman.state.items import ReadsTable
from tallyman.state.releases import RELEASES
from tallyman.state.releases import key as release_key
from tallyman.state.tags import TAGS


class Facts(Protocol):
    """The one method of a Ledger that `load_image_facts` needs."""

    def of_digest(self, digest: Digest) -> list[Fact]: ...


class Listing(Facts, Protocol):
    """The two methods that finding the indexes above an image needs."""

    def indexes_of(self, digest: Digest, after: str = "", most: int | None = None) -> list[Fact]: ...


MAX_DEPTH = 8
"""The deepest nesting of indexes that is followed."""


class Once:
    """A ledger for the reads of one reaction: the facts of each digest are read once.

    Consistent if the reaction has written its facts before, and makes a new one after a RevisionConflict.
    """

    def __init__(self, ledger: Listing) -> None:
        self._ledger, self._read = ledger, dict[Digest, list[Fact]]()

    def of_digest(self, digest: Digest) -> list[Fact]:
        """As the ledger's."""
        if digest not in self._read:
            self._read[digest] = self._ledger.of_digest(digest)
        return self._read[digest]

    def indexes_of(self, digest: Digest, after: str = "", most: int | None = None) -> list[Fact]:
        """As the ledger's."""
        return self._ledger.indexes_of(digest, after, most)


def load_image_facts(
    ledger: Facts, state: ReadsTable, digest: Digest, policy: Policy | None = None, archive: Objects | None = None
) -> ImageFacts:
    """Load the facts of a digest and of the images and indexes beneath it, and what its tags point to now.

    With the policy, also the freezes and releases of the environments that its promotions lead to; without it those
    gates stay closed. Consistent: includes what this process wrote before. Cost: one Query for the digest, for each
    image beneath it and for the freezes of each environment; one BatchGetItem for a hundred tags; for the gate `order`
    a read and a Query; for signers or statements a Query for each referrer; for findings by name a GetObject for each
    scan whose fact holds only a part of its list (without the archive, those findings have no names).
    """
    facts = tuple(ledger.of_digest(digest))
    platforms: dict[Digest, tuple[Fact, ...]] = {}
    indexes: dict[Digest, tuple[Fact, ...]] = {}
    _descend(ledger, facts, platforms, indexes, {digest}, MAX_DEPTH)
    places = sorted({(f.repository, f.tag) for f in facts if f.kind in PUSHES and f.repository and f.tag})
    items = TAGS.get_many(state, [tags.key(*place) for place in places])
    pointing: dict[tuple[Repository, str], Digest | None] = {}
    for place in places:
        tag = items.get(tags.key(*place))
        pointing[place] = tag.digest if tag else None
    freezes: dict[str, tuple[Freeze, ...]] = {}
    released: dict[tuple[str, str], Released | None] = {}
    gone: frozenset[tuple[str, str]] | None = None
    findings: dict[str, tuple[Row, ...]] | None = None
    for name, promotion in candidates(policy, facts) if policy else ():
        asks = "attested" in promotion.gates or "signed" in promotion.gates or signers_of([promotion])
        if gone is None and asks:
            gone = _gone(ledger, facts, platforms)
        scan = promotion.gates.get("scan")
        if archive is not None and findings is None and isinstance(scan, ScanGate) and scan.asks_for_findings:
            findings = _findings(archive, facts, *platforms.values())
        if promotion.target not in freezes:
            freezes[promotion.target] = in_force(state, promotion.target)
        if "order" in promotion.gates:
            released[promotion.target, name] = _released(ledger, state, promotion.target, name)
    return ImageFacts(
        digest, facts, platforms, pointing, indexes, freezes, released, gone or frozenset(), findings or {}
    )


def _findings(archive: Objects, *of: tuple[Fact, ...]) -> dict[str, tuple[Row, ...]]:
    """The full lists of findings of the newest scan of each image in each repository, where its fact holds only a
    part."""
    found: dict[str, tuple[Row, ...]] = {}
    for facts in of:
        newest = {
            fact.repository: fact
            for fact in sorted(facts, key=lambda f: (f.at, f.seen, f.id))
            if fact.kind is Kind.SCANNED
        }
        for scan in Scanned.of(newest.values()):
            if scan.inline is None and (raw := archive.get(FOLDER, Digest(str(scan.archived)))) is not None:
                found[str(scan.archived)] = from_object(raw)
    return found


def _gone(
    ledger: Facts, facts: tuple[Fact, ...], platforms: Mapping[Digest, tuple[Fact, ...]]
) -> frozenset[tuple[str, str]]:
    """The removed referrers of the image and of the images beneath it."""
    known = referrers(facts).union(*(referrers(theirs) for theirs in platforms.values()))
    read = {digest: ledger.of_digest(Digest(digest)) for _, digest in known}
    return frozenset(pair for pair in known if is_gone(read[pair[1]], pair[0]))


def _released(ledger: Facts, state: ReadsTable, environment: str, name: str) -> Released | None:
    release = RELEASES.get(state, release_key(environment, name))
    if release is None:
        return None
    pushes = [f.at for f in ledger.of_digest(release.digest) if f.kind in PUSHES]
    return Released(release.digest, release.tags, min(pushes, default=None))


def _descend(
    ledger: Facts,
    facts: Iterable[Fact],
    platforms: dict[Digest, tuple[Fact, ...]],
    indexes: dict[Digest, tuple[Fact, ...]],
    seen: set[Digest],
    depth: int,
) -> None:
    if depth == 0:
        return
    for fact in facts:
        if fact.kind not in PUSHES:
            continue
        for child in Change.parse(fact).children:
            digest = child.digest
            if digest in seen:
                continue
            seen.add(digest)
            beneath = tuple(ledger.of_digest(digest))
            if child.is_index:
                indexes[digest] = beneath
                _descend(ledger, beneath, platforms, indexes, seen, depth - 1)
            else:
                platforms[digest] = beneath


def is_plain(facts: Sequence[Fact]) -> bool:
    """Whether these facts are of an image that is not an index and was never removed. (A push of an image that was
    removed may be news to an index: it may be a statement that the index had lost.)"""
    listed = [Change.parse(fact).index for fact in facts if fact.kind in PUSHES]
    return False in listed and not any(fact.kind in (Kind.DELETED, Kind.UNTAGGED) for fact in facts)


def above(ledger: Listing, digest: Digest) -> list[Digest]:
    """All indexes that list this digest, directly or through other indexes."""
    found: dict[Digest, None] = {}
    waiting = [digest]
    while waiting:
        page, _ = indexes_of(ledger, waiting.pop())
        fresh = [index for index in page if index not in found and index != digest]
        found.update(dict.fromkeys(fresh))
        waiting += fresh
    return list(found)


def indexes_of(
    ledger: Listing, digest: Digest, after: str = "", most: int | None = None
) -> tuple[list[Digest], str | None]:
    """The indexes that list this digest directly, at most `most` after a position; and the position after which the
    next call goes on, None at the end. One Query, besides the one for the digest's own facts."""
    limit = None if most is None else most + 1
    facts = ledger.indexes_of(digest, after, limit)
    if limit is None or len(facts) < limit:  # then those that earlier versions wrote
        facts += [f for f in ledger.of_digest(digest) if f.kind is Kind.CHILD_OF and f.sort > after]
    page = facts[:most]
    position = None if len(page) == len(facts) else page[-1].sort if page else after
    return list(dict.fromkeys(Digest(ChildOf.parse(fact).index) for fact in page)), position


def digest_then(ledger: Ledger, repository: Repository, tag: str, at: datetime) -> Digest | None:
    """The digest that a tag pointed to at a past time; None: not known. Two or more Queries, the first of an index that
    may lag some milliseconds."""
    facts = list(ledger.of_tag(repository, tag, at))
    for digest in {fact.digest for fact in facts if fact.digest}:
        facts.extend(f for f in ledger.of_digest(digest) if f.kind is Kind.DELETED and f.at <= at)
    return digest_at(facts, repository, tag, at)
