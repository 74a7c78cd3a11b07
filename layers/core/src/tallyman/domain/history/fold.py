"""The history of tags, computed from facts by a pure function. ECR itself keeps no time per tag.

A push that an event, CloudTrail and a sweep report is one row: equal neighbours in the history of a tag are joined.
Whether a push moved a tag follows from the row before it, so the order in which facts arrive does not matter.
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
"""CloudTrail's and EventBridge's times of one call differ by about a second; within this limit they count as one."""


@value
class Row:
    """One change of a tag, or (tag None) of an image without one. `kind`: a Kind, or `tag_moved`; `commit`: the commit
    that a pushed image names in its annotations."""

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
    """One fact's row; `current`: where the tag pointed in the registry when the fact was written (None: nowhere,
    NOT_ASKED: the registry was not asked); `event`: whether the fact comes from an event of the registry itself."""

    row: Row
    current: str | None
    event: bool


def was_removed(facts: Iterable[Fact], repository: Repository) -> bool:
    """Whether the image with these facts was ever removed from the repository, by digest or with its last tag."""
    return any(fact.repository == repository and took_the_image(fact) for fact in facts)


def history(facts: Iterable[Fact]) -> list[Row]:
    """The rows, newest first; independent of the order of `facts` and of duplicates.

    Uses pushes, replications, removals of tags and images, archiving and restoring; ignores all other facts.
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
        # `number` keeps the order of one tag's rows of the same moment: a move comes right after its push
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
    """The digest that the tag pointed to at the moment; None: none, or not known."""
    known = {(f.sort, f.partition): f for f in facts if f.at <= moment and f.repository == repository}
    report = [_report(f) for f in sorted(known.values(), key=lambda f: (f.at, f.seen, f.id)) if f.digest]
    mine = [t for t in report if t.row.tag == tag and (t.row.kind in PUSHES or t.row.kind == Kind.UNTAGGED)]
    digests = {t.row.digest for t in mine}
    removed = [t for t in report if t.row.kind == Kind.DELETED and t.row.digest in digests]
    return _fold_tag(_one_call(mine, removed) + removed)[1]


def _report(fact: Fact) -> _Report:
    assert fact.repository is not None  # the callers leave out
    assert fact.digest is not None  # facts without these
    change = Change.parse(fact)
    commit = (change.built or {}).get("revision")
    row = Row(fact.at, fact.seen, fact.kind, fact.repository, fact.tag, fact.digest, fact.actor, fact.via, commit)
    current = None if change.gone else change.current
    return _Report(row, current, fact.via is Via.EVENT and change.call is None)


def _one_call(stream: list[_Report], beside: Sequence[_Report] = ()) -> list[_Report]:
    """Join each event with the other reports of the same call: the event's time, CloudTrail's actor. `beside`: further
    reports that may lie in between."""
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
    """Whether both may be about one call: the same change at about the same time, and no other change in between."""
    what = event.row.kind, event.row.digest
    if what != (report.row.kind, report.row.digest) or abs(event.row.at - report.row.at) > _SAME:
        return False
    first, last = sorted((event.row.at, report.row.at))
    return not any(first <= t.row.at <= last and (t.row.kind, t.row.digest) != what for t in stream)


def _in_order(stream: list[_Report]) -> list[_Report]:
    """The reports, oldest first. Events have whole seconds, the findings of a sweep milliseconds: within a second in
    which one time is cut, the change that the registry showed last comes last."""
    ordered: list[_Report] = []
    for tie in _ties(stream):
        final = _final(tie)
        before = ordered[-1].row.digest if ordered else None

        def rank(report: _Report, final: str | None = final, before: Digest | None = before) -> tuple[object, ...]:
            pushes = report.row.kind in PUSHES
            last = (report.row.digest == final) if pushes else final is None
            return last, report.row.digest != before, not pushes, report.row.seen, report.row.digest

        ordered.extend(sorted(tie, key=rank))
    return ordered


def _final(tie: Sequence[_Report]) -> str | None:
    """Where the tag pointed in the registry after these reports, by the last one that asked; "": none did. A removed
    image says only that the tag does not point to that one."""
    final: str | None = ""
    for report in sorted(tie, key=lambda t: (t.row.seen, t.row.digest)):
        if report.current != "" and (report.row.kind != Kind.DELETED or final in ("", report.row.digest)):
            final = report.current
    return final


def _ties(stream: list[_Report]) -> Iterator[list[_Report]]:
    """Groups that the times do not order: all reports of a second in which one time has no fraction, else those of the
    same time."""
    for _, group in groupby(sorted(stream, key=lambda t: t.row.at), key=lambda t: second_of(t.row.at)):
        second = list(group)
        if second[0].row.at == second_of(second[0].row.at):
            yield second
        else:
            yield from (list(same) for _, same in groupby(second, key=lambda t: t.row.at))


def _fold_tag(stream: list[_Report]) -> tuple[list[Row], Digest | None]:
    """The rows of one tag, oldest first, and the digest that it points to after them. Deleting an image deletes its
    tags."""
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
    """The rows of one image, oldest first. A push is no row here, but after one the image can be deleted again."""
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
    """One row of two reports of one change: the fields of the event, else of the older; the earlier `seen`; the actor
    and commit of either."""
    lead, other = (second, first) if first.via is not Via.EVENT and second.via is Via.EVENT else (first, second)
    return replace(
        lead,
        seen=min(first.seen, second.seen),
        actor=lead.actor or other.actor,
        commit=lead.commit or other.commit,
    )
