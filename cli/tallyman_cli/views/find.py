"""Finds images by a CVE, a package, a commit, a digest, a tag or a person, with what is released and what runs."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from tallyman.domain.history.details.changes import Change, children_of
from tallyman.domain.history.details.promotions import Promoted
from tallyman.domain.history.details.scans import Scanned
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.history.fold import PUSHES
from tallyman.domain.images.findings import Row, packages_of
from tallyman.domain.names import Digest, Repository
from tallyman.domain.people import person_of_arn, person_of_sender
from tallyman.domain.retention import Reading
from tallyman.domain.text import counted
from tallyman.errors import BadInput
from tallyman.services.deciding.image_facts import Once, above
from tallyman.services.deciding.noncompliant import is_released
from tallyman.services.recording.finding_index import not_indexed, where
from tallyman.state import releases as release_items
from tallyman.state import tags as tag_items
from tallyman.state.releases import RELEASES
from tallyman.state.tags import TAGS
from tallyman_cli.shared.context import Stack
from tallyman_cli.views import findings, places, usage
from tallyman_cli.views.board import versions_first
from tallyman_cli.views.ignored import ignored_by_vex
from tallyman_cli.views.reading import each
from tallyman_cli.views.record import PRESENCE, SAID, is_there

SHORTEST = 6
"""Digits that a text needs at least to be taken for a commit or a digest; a shorter one is a tag, package or person."""

_BARE = re.compile(r"[\s@]")  # between a package's name and its version
_VULNERABILITY = re.compile(
    r"(?:CVE-\d{4}-\d+|GHSA(?:-[0-9a-z]{4}){3}|[A-Z]{2,12}-\d{4}-?[:0-9A-Z-]*\d+)", re.IGNORECASE
)
_HEX = re.compile(r"(?:sha256:)?([0-9a-f]{6,64})")


@dataclass
class Hits:
    """The digests that were found, platform images among them, each with the reasons."""

    because: dict[Digest, dict[str, None]] = field(default_factory=dict)

    def add(self, digest: Digest, reason: str) -> None:
        """Add a reason for a digest."""
        self.because.setdefault(digest, {})[reason] = None


def find(
    stack: Stack, query: str, readings: Sequence[Reading] | None = None, say: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """`{query, images: [{digest, repository, environment, registries, tags, released, running, because,
    ignored_by_vex}], unread}`, running ones first, then released ones, then the newest pushes. `unread`: sources of
    usage that could not be read.

    Cost: for a whole digest a Query for it and for each index above it; for an existing tag a BatchGetItem for a
    hundred repositories; for a vulnerability, and for a package in the index of findings, two Queries; for anything
    else all facts of every known repository.
    """
    wanted = query.strip()
    if not wanted:
        raise BadInput("nothing to find: name a CVE, a package, a commit, a digest, a tag or a person")
    once = Once(stack.ledger)
    hits = _hits(stack, wanted, say)
    images: dict[Digest, dict[str, None]] = {}
    for digest, because in hits.because.items():
        for root in _roots(once, digest):
            images.setdefault(root, {}).update(because)
    if readings is None:
        readings = usage.read_usage(stack)
    rows = [row for digest, because in images.items() for row in _rows(stack, once, digest, list(because), readings)]
    for row in rows:
        facts = once.of_digest(row["digest"])
        row["ignored_by_vex"] = ignored_by_vex(facts, row["repository"], row["environment"], wanted)
    rows.sort(key=lambda row: row.pop("pushed_at"), reverse=True)
    rows.sort(key=lambda row: (not row["running"], not row["released"], not row["registries"]))
    return {
        "query": wanted,
        "images": rows,
        "unread": usage.unread(readings),
    }


def _hits(stack: Stack, query: str, say: Callable[[str], None]) -> Hits:
    hits = Hits()
    try:
        whole = Digest.parse(query if query.startswith("sha256:") else f"sha256:{query}")
    except BadInput:
        whole = None
    if whole is not None and stack.ledger.of_digest(whole):
        hits.add(whole, "its digest")
        return hits
    known = list(places.sweeps(stack))
    if not any(c in query for c in places.ANY) and _tagged(stack, known, query, hits):
        return hits
    indexed, others = _indexed(stack, known, wanted=query, hits=hits)
    if indexed:
        known = others
    if known:
        say(f"reading what is recorded of {counted(len(known), 'repository', 'repositories')}")
    for found in each(lambda place: _search(stack, place, query), known):
        for digest, because in found.because.items():
            for reason in because:
                hits.add(digest, reason)
    if not indexed:
        _said(stack, query, hits)
    return hits


def _indexed(stack: Stack, known: Sequence[Repository], wanted: str, hits: Hits) -> tuple[bool, list[Repository]]:
    """Look a vulnerability or a package up in the index of findings. Return whether the index answers, and then the
    repositories whose scans it does not hold yet. Two Queries, and a read for a hundred repositories."""
    found = where(stack.state, wanted)
    is_vulnerability = _VULNERABILITY.fullmatch(wanted) is not None
    if not is_vulnerability and not found:
        return False, []
    for (digest, _), each_found in found.items():
        names = ", ".join(each_found.names)
        reason = f"{wanted} ({each_found.severity})" + (f" in {names}" if names else "")
        hits.add(digest, reason if is_vulnerability else f"{names} ({each_found.severity}) in {wanted}")
    return True, not_indexed(stack.state, known)


def _tagged(stack: Stack, known: Iterable[Repository], tag: str, hits: Hits) -> bool:
    for found in TAGS.get_many(stack.state, [tag_items.key(place, tag) for place in known]).values():
        if found.digest:
            hits.add(found.digest, f"its tag {tag}")
    return bool(hits.because)


def _search(stack: Stack, place: Repository, query: str) -> Hits:
    """Search every fact of one repository. Only the newest scan of a digest counts."""
    hits, scans = Hits(), dict[Digest, Fact]()
    digits = _HEX.fullmatch(query.lower())
    low = query.lower()
    for fact in stack.ledger.of_repository(place):  # newest first
        if fact.digest is None:
            continue
        if fact.kind is Kind.SCANNED:
            scans.setdefault(fact.digest, fact)
        elif fact.kind in PUSHES:
            _pushed(fact, query, digits[1] if digits else None, hits)
    for digest, scan in scans.items():
        if Scanned.parse(scan).counts:
            for finding in findings.named(stack, scan):
                _finding(digest, finding, low, hits)
    return hits


def _pushed(fact: Fact, query: str, digits: str | None, hits: Hits) -> None:
    assert fact.digest is not None  # of every push
    if fact.tag and fnmatchcase(fact.tag, query):
        hits.add(fact.digest, f"its tag {fact.tag}")
    if fact.actor and query.lower() in (fact.actor.lower(), person_of_arn(fact.actor).lower()):
        hits.add(fact.digest, f"pushed by {person_of_arn(fact.actor)}")
    if digits:
        if fact.digest.hex.startswith(digits):
            hits.add(fact.digest, "its digest")
        commit = (Change.parse(fact).built or {}).get("revision") or ""
        suffix = (fact.tag or "").rpartition("-")[2].lower()
        if commit.lower().startswith(digits):
            hits.add(fact.digest, f"built from {commit}")
        elif (
            len(suffix) >= SHORTEST
            and _HEX.fullmatch(suffix)
            and (suffix.startswith(digits) or digits.startswith(suffix))
        ):
            hits.add(fact.digest, f"its tag names the commit {suffix}")


def _finding(digest: Digest, finding: Row, low: str, hits: Hits) -> None:
    packages = packages_of(finding)
    if finding["id"].lower() == low or any(low in (p.lower(), _BARE.split(p.lower())[0]) for p in packages):
        where = f" in {', '.join(packages[:3])}" if packages else ""
        hits.add(digest, f"{finding['id']} ({finding['severity']}){where}")


def _said(stack: Stack, query: str, hits: Hits) -> None:
    """Find what a person approved, denied, overrode, recalled or rolled back among what is released or wait."""
    from tallyman_cli.promotion import pending

    low, known = query.lower(), dict[Digest, None]()
    for environment in stack.policy.environments:
        for release in RELEASES.list(stack.state, release_items.partition(environment)):
            known[release.value.digest] = None
        known.update((Digest(row["digest"]), None) for row in pending.rows(stack, [environment]))
    if _HEX.fullmatch(low) or not known:
        return  # a commit or a digest, no person
    for digest, facts in zip(known, each(stack.ledger.of_digest, known), strict=True):
        for fact in facts:
            if fact.kind in SAID and fact.actor and low in (fact.actor.lower(), person_of_sender(fact.actor).lower()):
                hits.add(digest, f"{str(fact.kind).replace('_', ' ')} by {person_of_sender(fact.actor)}")


def _roots(once: Once, digest: Digest) -> list[Digest]:
    """The image itself if it ever had a tag, and every index above it that ever had one; else the image."""
    found = [d for d in (digest, *above(once, digest)) if any(f.kind in PUSHES and f.tag for f in once.of_digest(d))]
    return found or [digest]


def _rows(
    stack: Stack, once: Once, digest: Digest, because: list[str], readings: Sequence[Reading]
) -> list[dict[str, Any]]:
    """A row for each repository that holds the image; a single row if none holds it any more."""
    facts = once.of_digest(digest)
    pushes = [f for f in facts if f.kind in PUSHES and f.repository]
    held: dict[tuple[str | None, str | None], list[Repository]] = {}
    tags: dict[Repository, list[str]] = {}
    for place in dict.fromkeys(f.repository for f in pushes if f.repository):
        mine = sorted({f.tag for f in pushes if f.tag and f.repository == place})
        pointing = [tag for tag, there in places.pointing(stack, place, mine).items() if there == digest]
        if pointing or is_there([f for f in facts if f.repository == place]):
            held.setdefault(places.canonical(stack.policy, place), []).append(place)
            tags[place] = pointing
    brought = Promoted.of(f for f in facts if f.kind is Kind.PROMOTED)
    for promoted in (b for b in brought if b.target in stack.policy.environments):
        for place in stack.policy.environment(promoted.target).repositories(promoted.name):
            if not any(f.repository == place for f in facts if f.kind in PRESENCE):  # its events are still under way
                held.setdefault((promoted.target, promoted.name), []).append(place)
                tags[place] = list(promoted.tags)
    pushed = max((f.at for f in pushes), default=None)
    base = {"digest": digest, "because": because, "pushed_at": pushed.isoformat() if pushed else ""}
    if not held:
        name = places.canonical(stack.policy, pushes[0].repository)[1] if pushes and pushes[0].repository else None
        held[None, name] = []
    members = {digest, *(child.digest for child in children_of(pushes))}
    return [
        {
            **base,
            "repository": name,
            "environment": environment,
            "registries": [str(place.registry) for place in there],
            "tags": versions_first(sorted({tag for place in there for tag in tags[place]})),
            "released": bool(environment and name and is_released(stack.state, environment, name, digest)),
            "running": [
                {"kind": use.kind, "name": use.name, "where": str(use.where)}
                for use in usage.running(readings, members, {place: tags[place] for place in there}, there or None)
            ],
        }
        for (environment, name), there in held.items()
    ]
