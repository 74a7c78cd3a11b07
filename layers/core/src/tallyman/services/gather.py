"""Reads everything that is known of an image, consistently, so that it can be judged."""

from collections.abc import Iterable

from tallyman.domain.facts import Fact, Kind
from tallyman.domain.gates import ImageFacts
from tallyman.domain.history import PUSHES
from tallyman.domain.names import Digest, Repository
from tallyman.ports import Ledger, State

MAX_DEPTH = 8
"""Indexes within indexes; deeper ones are not followed."""


def tag_partition(repository: Repository) -> str:
    """The partition of the state table that holds what the tags of a repository point to, one item a tag.

    What is in an item: see `holdings.tag_change`.
    """
    return f"T#{repository}"


def gather(ledger: Ledger, state: State, digest: Digest) -> ImageFacts:
    """The facts of a digest and of the platform images beneath it, and where its tags point now.

    Consistent: what this process wrote before is in it. Cost: one Query for the digest and for each image beneath
    it, one BatchGetItem for a hundred tags.
    """
    facts = tuple(ledger.of_digest(digest))
    platforms: dict[Digest, tuple[Fact, ...]] = {}
    _descend(ledger, facts, platforms, {digest}, MAX_DEPTH)
    places = sorted({(f.repository, f.tag) for f in facts if f.kind in PUSHES and f.repository and f.tag})
    items = state.get_many([(tag_partition(repository), tag) for repository, tag in places])
    pointing: dict[tuple[Repository, str], Digest | None] = {}
    for repository, tag in places:
        item = items.get((tag_partition(repository), tag))
        pointing[repository, tag] = Digest(item.data["digest"]) if item and item.data.get("digest") else None
    return ImageFacts(digest, facts, platforms, pointing)


def _descend(
    ledger: Ledger, facts: Iterable[Fact], found: dict[Digest, tuple[Fact, ...]], seen: set[Digest], depth: int
) -> None:
    if depth == 0:
        return
    for fact in facts:
        if fact.kind not in PUSHES:
            continue
        for child in fact.detail.get("platforms", ()):
            digest = Digest(child["digest"])
            if digest in seen:
                continue
            seen.add(digest)
            beneath = tuple(ledger.of_digest(digest))
            if child.get("index"):
                _descend(ledger, beneath, found, seen, depth - 1)
            else:
                found[digest] = beneath


def above(ledger: Ledger, digest: Digest) -> list[Digest]:
    """The indexes that list this digest, directly or through others: what its facts may decide anew."""
    found: dict[Digest, None] = {}
    waiting = [digest]
    while waiting:
        for fact in ledger.of_digest(waiting.pop()):
            if fact.kind is Kind.CHILD_OF:
                index = Digest(fact.detail["index"])
                if index not in found and index != digest:
                    found[index] = None
                    waiting.append(index)
    return list(found)
