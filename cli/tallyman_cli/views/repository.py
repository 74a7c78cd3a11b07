"""A repository of one environment: its images, newest push first, and its tags over time; now or as of a moment."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tallyman.domain.history.details.changes import Change
from tallyman.domain.history.facts import Fact
from tallyman.domain.history.fold import PUSHES, digest_at
from tallyman.domain.names import Digest, Repository
from tallyman.domain.times import format_time, parse_time, text_or_none
from tallyman.services.releases.pointer import releases
from tallyman.state import freezes as freeze_items
from tallyman.state import marks as mark_items
from tallyman.state import sweeps as sweep_items
from tallyman.state.freezes import FREEZES
from tallyman.state.marks import MARKS, Mark
from tallyman.state.releases import ReleaseState, of_fact
from tallyman.state.sweeps import SWEEPS, SweepState
from tallyman_cli.promotion import pending
from tallyman_cli.shared.addresses import Named
from tallyman_cli.shared.context import Stack
from tallyman_cli.shared.rows import tag_facts
from tallyman_cli.views import places, record, window
from tallyman_cli.views.board import freeze_row, release_row, versions_first
from tallyman_cli.views.reading import each
from tallyman_cli.views.timeline import timeline

SIZE = 25
"""Images of a page."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page ended: its last image, and when that was last pushed. Several may be pushed within one second."""

    at: datetime
    digest: Digest

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """From `TIME~DIGEST`; raises BadInput."""
        time, _, digest = text.partition("~")
        return cls(parse_time(time), Digest.parse(digest))

    def __str__(self) -> str:
        return f"{format_time(self.at)}~{self.digest}"


def repository(
    stack: Stack, named: Named, at: datetime | None = None, before: Cursor | None = None, size: int = SIZE
) -> dict[str, Any]:
    """A page of images with what is known of each, the timeline of the tags, and what every environment runs.

    `at`: everything as it was known then; `before`: where the previous page ended.
    Cost: a Query for 125 facts (about 12 images), one for each image shown and for each environment, two BatchGetItem
    for tags; on later pages also a Query for each platform image. It does not grow with what the repository holds.
    """
    place = named.place
    name = named.canonical or place.name
    now = at or stack.clock()

    def known(fact: Fact) -> bool:
        return at is None or (fact.seen <= at and fact.at <= at)

    until = min((m for m in (at, before.at if before else None) if m is not None), default=None)
    beyond = _within(stack, place, before) if before else 0
    read = window.read(stack.ledger, place, until, size + beyond, keep=known)
    listed = list(read.images)
    first = listed.index(before.digest) + 1 if before and before.digest in read.images else 0
    page = listed[first : first + size]
    ledger_facts = dict(zip(page, each(stack.ledger.of_digest, page), strict=True))
    facts = {digest: [f for f in found if known(f)] for digest, found in ledger_facts.items()}
    digests = [d for d in page if before is None or _last_push(facts[d], place) <= before.at]
    tags = _tags(stack, place, read, facts, at, whole=before is None)
    children = _children(stack, read, facts, known, whole=before is None)
    running = _running(stack, name, at)
    marks = {} if at else {e.sk: e.value for e in MARKS.list(stack.state, mark_items.partition(place))}
    older = len(listed) > first + size or read.oldest is not None
    end = Cursor(read.images[page[-1]][0].at, page[-1]) if page else None
    held = SWEEPS.get(stack.state, sweep_items.key(place)) or SweepState()
    grace = stack.policy.repository(name).retention.grace
    return {
        "repository": name,
        "environment": named.environment.name if named.environment else None,
        "registry": str(place.registry),
        "place": str(place),
        "at": text_or_none(at),
        "now": format_time(now),
        "images": [
            _image(place, name, digest, facts[digest], tags, children, running)
            | {"marked": _mark(marks[digest], grace) if digest in marks else None}
            for digest in digests
        ],
        "before": str(end) if older and end else None,
        "held": {"images": held.images, "bytes": held.bytes, "swept": text_or_none(held.swept)},
        "environments": list(running.values()),
        "timeline": timeline(read.facts, now),
    }


def _within(stack: Stack, place: Repository, before: Cursor) -> int:
    """How many images of the moment at which the previous page ended have to be read to find its end again."""
    count = 0
    for fact in stack.ledger.of_repository(place, before.at, page=window.PAGE):
        if fact.at < before.at or fact.digest == before.digest:
            break
        count += 1
    return count + 1


def _last_push(facts: Iterable[Fact], place: Repository) -> datetime:
    """When the image was last pushed here under a tag. It is shown on the page of that push alone."""
    return max(f.at for f in facts if f.kind in PUSHES and f.tag and f.repository == place)


def _tags(
    stack: Stack,
    place: Repository,
    read: window.Window,
    facts: Mapping[Digest, Sequence[Fact]],
    at: datetime | None,
    whole: bool,
) -> dict[str, Digest | None]:
    """What each tag of these images points to, or pointed to at the moment. One BatchGetItem; for a later page of a
    past moment the facts of each tag."""
    wanted = sorted({f.tag for found in facts.values() for f in found if f.tag and f.repository == place})
    if at is None:
        return places.pointing(stack, place, wanted)
    if whole:
        return {tag: digest_at(read.facts, place, tag, at) for tag in wanted}
    pointed = each(lambda tag: digest_at(tag_facts(stack.ledger, place, tag, at), place, tag, at), wanted)
    return dict(zip(wanted, pointed, strict=True))


def _children(
    stack: Stack,
    read: window.Window,
    facts: Mapping[Digest, Sequence[Fact]],
    known: Callable[[Fact], bool],
    whole: bool,
) -> dict[Digest, list[Fact]]:
    """The facts of the platform images beneath these. Those of the first page (`whole`) are in the window."""
    wanted = list(dict.fromkeys(d for found in facts.values() for d, _ in _platforms(found)))
    if whole:
        return {digest: read.of(digest)[::-1] for digest in wanted}
    return {
        d: [f for f in found if known(f)] for d, found in zip(wanted, each(stack.ledger.of_digest, wanted), strict=True)
    }


def _platforms(facts: Iterable[Fact]) -> list[tuple[Digest, str]]:
    for fact in facts:
        if fact.kind in PUSHES and (children := Change.parse(fact).children):
            return [(child.digest, child.platform or "unknown") for child in children]
    return []


def _running(stack: Stack, name: str, at: datetime | None) -> dict[str, dict[str, Any]]:
    """What each environment runs (or ran then) of the repository, what waits to get in, and whether it is frozen."""
    environments = list(stack.policy.environments)
    released: Mapping[str, ReleaseState] = {}
    freezes = {}
    if at is None:
        released = places.releases(stack, name)
        keys = [freeze_items.key(e, which) for e in environments for which in (name, None)]
        freezes = FREEZES.get_many(stack.state, keys)
    found = {}
    for environment in environments:
        if at is None:
            release = released.get(environment)
        else:
            fact = next(releases(stack.ledger, environment, name, at), None)
            release = of_fact(fact) if fact else None
        mine = [freezes.get(freeze_items.key(environment, which)) for which in (name, None)]
        frozen = next((f for f in mine if f and f.frozen), None)
        found[environment] = {
            "environment": environment,
            "registries": [str(r) for r in stack.policy.environment(environment).registries],
            "release": release_row(release),
            "waiting": [] if at else [r for r in pending.rows(stack, [environment]) if r["repository"] == name],
            "frozen": freeze_row(frozen),
        }
    return found


def _image(  # noqa: PLR0913 - a row of the page: a reading for each of its columns
    place: Repository,
    name: str,
    digest: Digest,
    facts: Sequence[Fact],
    tags: Mapping[str, Digest | None],
    children: Mapping[Digest, Sequence[Fact]],
    running: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    here = [f for f in facts if f.repository == place]
    pushes = [f for f in here if f.kind in PUSHES]
    mine = versions_first(sorted(tag for tag, pointing in tags.items() if pointing == digest))
    under = {f.tag for f in pushes if f.tag}
    platforms = _platforms(facts)
    beneath = [children.get(d, ()) for d, _ in platforms]
    scans = [record.scan_row(record.newest_scan(each, place)) for each in beneath or [facts]]
    last = max(pushes, key=lambda f: (f.at, f.seen))
    return {
        "digest": digest,
        "tags": mine,
        "former_tags": sorted(under - set(mine)),
        "gone": not mine and not record.is_there(here),
        "pushed_at": format_time(last.at),
        "actor": next((f.actor for f in reversed(pushes) if f.actor), None),
        "via": str(last.via),
        "commit": record.built(facts).get("revision"),
        "size": _size(last, beneath),
        "platforms": [platform for _, platform in platforms],
        "verified": _verified(facts, place),
        "scan": {key: value for key, value in record.worst(scans).items() if key != "at"},
        "decisions": [row for row in record.decisions(facts) if row["repository"] == name],
        "recalled": record.is_known_as_recalled(facts),
        "released": [e for e, each in running.items() if each["release"] and each["release"]["digest"] == digest],
    }


def _size(push: Fact, children: Sequence[Sequence[Fact]]) -> int | None:
    """Compressed bytes; of an index those of its platforms."""
    if not children:
        return push.size
    sizes = [next((f.size for f in facts if f.kind in PUSHES and f.size), None) for facts in children]
    return sum(size for size in sizes if size) if all(sizes) else push.size


def _verified(facts: Iterable[Fact], place: Repository) -> dict[str, Any] | None:
    newest = record.newest_verification(facts, place)
    if newest is None:
        return None
    row = record.verification_row(newest)
    failed = [f"{c['name']}: {c['reason'] or c['verdict']}" for c in row["checks"] if c["verdict"] != "passed"]
    return {"verdict": row["verdict"], "at": row["at"], "reasons": failed}


def _mark(mark: Mark, grace: timedelta) -> dict[str, Any]:
    """That retention is to remove the image: since when, why, and not before when."""
    since, until = format_time(mark.marked_at), format_time(mark.marked_at + grace)
    return {"since": since, "reason": mark.reason, "until": until, "failed": mark.failed}
