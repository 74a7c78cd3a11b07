"""The history of tags: a pure fold over facts. ECR keeps no time per tag; this is the tag time machine.

A push reported by an event, by the trail and by a sweep is one row: of what happened to one tag, equal neighbours are
joined. That a push moved a tag is derived here, from its neighbour, and so needs no order of arrival.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import groupby

from tallyman.domain.history.details.changes import Change, took_the_image
from tallyman.domain.history.facts import Fact, Kind, Via
from tallyman.domain.names import Digest, Repository
from tallyman.domain.times import second_of
from tallyman.values import value

TAG_MOVED = "tag_moved"
PUSHES = frozenset({Kind.PUSHED, Kind.REPLICATED})
_OF_IMAGES = frozenset({Kind.DELETED, Kind.ARCHIVED, Kind.RESTORED})
_SAME = timedelta(seconds=5)
"""CloudTrail's and EventBridge's clocks for one call differ by a second or so; within this they mean one call."""


@value
class Row:
    """One thing that happened to a tag, or (tag None) to an image without one. `kind`: a Kind, or `tag_moved`;
    `commit`: what a pushed image says that it was built from."""

    at: datetime
    seen: datetime
    kind: str
    repository: Repository
    tag: str | None
    digest: Digest
    actor: str | None
    via: Via
    commit: str | None = None


@value
class _Report:
    """What one fact reports: a row; what the registry said the tag pointed to when the fact was written ('' = it was
    not asked); whether the fact is of a registry's own event."""

    row: Row
    current: str | None
    event: bool


def was_removed(facts: Iterable[Fact], repository: Repository) -> bool:
    """Whether the image of these facts was removed from the repository at any time, by digest or with its last tag."""
    return any(fact.repository == repository and took_the_image(fact) for fact in facts)


def history(facts: Iterable[Fact]) -> list[Row]:
    """The rows, newest first. The order and the doubling of `facts` never matter.

    Knows pushes, replications, removals of tags and images, archiving and restoring; passes over all other facts.
    """
    streams: dict[tuple[Repository, str | None, str], list[_Report]] = defaultdict(list)
    images: dict[tuple[Repository, Digest], list[_Report]] = defaultdict(list)
    pushes: dict[tuple[Repository, Digest], list[_Report]] = defaultdict(list)
    for fact in sorted({(f.sort, f.partition): f for f in facts}.values(), key=lambda f: (f.at, f.seen, f.id)):
        if fact.repository is None or fact.digest is None:
            continue
        report = _report(fact)
        if fact.kind in PUSHES or fact.kind is Kind.UNTAGGED:
            streams[fact.repository, fact.tag, fact.tag or fact.digest].append(report)
            if fact.kind in PUSHES:
                pushes[fact.repository, fact.digest].append(report)
        elif fact.kind in _OF_IMAGES:
            images[fact.repository, fact.digest].append(report)
    placed: list[tuple[tuple[datetime, str, str, int], Row]] = []

    def place(key: str, rows: Iterable[Row]) -> None:
        # rows of one moment: those of one tag keep the order that was found for them, a move right after its push
        placed.extend(((row.at, str(row.repository), key, number), row) for number, row in enumerate(rows))

    for (repository, tag, key), stream in streams.items():
        digests = {report.row.digest for report in stream}
        removed = [t for d in digests for t in images.get((repository, d), []) if t.row.kind == Kind.DELETED]
        place(f"{tag or ''} {key}", _fold_tag(_one_call(stream, removed) + removed)[0])
    for (repository, digest), stream in images.items():
        place(
            f" {digest} image", _image_rows(_one_call(stream, pushes[repository, digest]) + pushes[repository, digest])
        )
    return [row for _, row in sorted(placed, key=lambda pair: pair[0], reverse=True)]


def digest_at(facts: Iterable[Fact], repository: Repository, tag: str, moment: datetime) -> Digest | None:
    """What the tag pointed to at the moment; None: nothing, or nothing that is known."""
    known = {(f.sort, f.partition): f for f in facts if f.at <= moment and f.repository == repository}
    report = [_report(f) for f in sorted(known.values(), key=lambda f: (f.at, f.seen, f.id)) if f.digest]
    mine = [t for t in report if t.row.tag == tag and (t.row.kind in PUSHES or t.row.kind == Kind.UNTAGGED)]
    digests = {t.row.digest for t in mine}
    removed = [t for t in report if t.row.kind == Kind.DELETED and t.row.digest in digests]
    return _fold_tag(_one_call(mine, removed) + removed)[1]


def _report(fact: Fact) -> _Report:
    assert fact.repository is not None  # the callers
    assert fact.digest is not None  # leave such facts out
    change = Change.parse(fact)
    commit = (change.built or {}).get("revision")
    row = Row(fact.at, fact.seen, fact.kind, fact.repository, fact.tag, fact.digest, fact.actor, fact.via, commit)
    current = None if change.gone else change.current
    return _Report(row, current, fact.via is Via.EVENT and change.call is None)


def _one_call(stream: list[_Report], beside: Sequence[_Report] = ()) -> list[_Report]:
    """Joins an event and another source about one call: the event's time, the trail's actor. `beside`: what else
    may have come in between."""
    events = [t for t in stream if t.event]
    joined: list[_Report] = list(events)
    for report in stream:
        if report.event:
            continue
        for i, event in enumerate(joined):
            if i < len(events) and _about_one_call(event, report, [*stream, *beside]):
                joined[i] = replace(event, row=_join(event.row, report.row))
                break
        else:
            joined.append(report)
    return joined


def _about_one_call(event: _Report, report: _Report, stream: list[_Report]) -> bool:
    """Whether both may be about one call: the same happened at about the same time, and nothing else in between."""
    what = event.row.kind, event.row.digest
    if what != (report.row.kind, report.row.digest) or abs(event.row.at - report.row.at) > _SAME:
        return False
    first, last = sorted((event.row.at, report.row.at))
    return not any(first <= t.row.at <= last and (t.row.kind, t.row.digest) != what for t in stream)


def _in_order(stream: list[_Report]) -> list[_Report]:
    """Oldest first. Event times have whole seconds, finds of a sweep milliseconds: within one second, where the time
    of any is cut, what the registry showed last comes last."""
    ordered: list[_Report] = []
    for tie in _ties(stream):
        asked = [t for t in tie if t.current != ""]
        final = max(asked, key=lambda t: (t.row.seen, t.row.digest)).current if asked else ""
        before = ordered[-1].row.digest if ordered else None

        def rank(report: _Report, final: str | None = final, before: Digest | None = before) -> tuple[object, ...]:
            pushes = report.row.kind in PUSHES
            last = (report.row.digest == final) if pushes else final is None
            return last, report.row.digest != before, not pushes, report.row.seen, report.row.digest

        ordered.extend(sorted(tie, key=rank))
    return ordered


def _ties(stream: list[_Report]) -> Iterator[list[_Report]]:
    """What the times alone don't order: all of a second in which one has no fraction, else what has the same time."""
    for _, group in groupby(sorted(stream, key=lambda t: t.row.at), key=lambda t: second_of(t.row.at)):
        second = list(group)
        if second[0].row.at == second_of(second[0].row.at):
            yield second
        else:
            yield from (list(same) for _, same in groupby(second, key=lambda t: t.row.at))


def _fold_tag(stream: list[_Report]) -> tuple[list[Row], Digest | None]:
    """The rows of one tag, oldest first, and what it points to after them. A deleted image took its tags along."""
    rows: list[Row] = []
    moves: set[int] = set()  # which of the rows moved the tag
    pointing: Digest | None = None
    for report in _in_order(stream):
        row = report.row
        if row.kind == Kind.DELETED:
            pointing = None if pointing == row.digest else pointing
        elif row.kind == Kind.UNTAGGED:
            if rows and pointing is None and rows[-1].kind == row.kind and rows[-1].digest == row.digest:
                rows[-1] = _join(rows[-1], row)
            else:
                rows.append(row)
            pointing = None
        elif pointing == row.digest:
            rows[-1] = _join(rows[-1], row)
        else:
            rows.append(row)
            if pointing is not None and row.tag:
                moves.add(len(rows) - 1)
            pointing = row.digest
    moved = [[row, replace(row, kind=TAG_MOVED)] if i in moves else [row] for i, row in enumerate(rows)]
    return [row for each in moved for row in each], pointing


def _image_rows(stream: list[_Report]) -> list[Row]:
    """The rows of one image, oldest first. Its pushes are not rows of it, but between them it may be deleted twice."""
    rows: list[Row] = []
    back = False
    for report in _in_order(stream):
        if report.row.kind in PUSHES:
            back = True
        elif rows and rows[-1].kind == report.row.kind and not (back and report.row.kind == Kind.DELETED):
            rows[-1] = _join(rows[-1], report.row)
        else:
            rows.append(report.row)
            back = False
    return rows


def _join(first: Row, second: Row) -> Row:
    """Two tellings of one happening: an event's time and way win, then the older; the earliest sight; any actor."""
    lead, other = (second, first) if first.via is not Via.EVENT and second.via is Via.EVENT else (first, second)
    return replace(
        lead,
        seen=min(first.seen, second.seen),
        actor=lead.actor or other.actor,
        commit=lead.commit or other.commit,
    )
