"""How far reconcile's sweeps of the repositories have come."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tallyman.domain.names import Digest, Repository
from tallyman.state.items import ItemKind, Key, ListsItems, text_or_none, time_or_none
from tallyman.values import value

PARTITION = "S#sweep"
FAILING = 2
"""Sweeps in a row that fail before people are notified."""


@value
class SweepState:
    """`swept`: when it was last compared to the end, None: never; `tried`: when last begun; `run`: the token of the
    full sweep that did it last; `open`: digests that are being worked on, which are judged again if this process dies;
    `missed`: how many events' worth of differences were found; `untold`: stowaways of the first sweep are not reported
    yet; `images`, and the `bytes` of them, indexes left out: each image's size, layers that images share counted each
    time; `failures`: sweeps in a row that did not come to their end, or could not record an image, and the last
    one's `problem`; `backlog`: the digest from which on the images that the first sweep found are still to be verified
    and decided about, None: none."""

    swept: datetime | None = None
    tried: datetime | None = None
    run: str | None = None
    open: tuple[Digest, ...] = ()
    missed: int | None = None
    untold: bool = False
    images: int | None = None
    bytes: int | None = None
    failures: int = 0
    problem: str | None = None
    backlog: str | None = None


def key(repository: Repository) -> Key:
    """The key of one repository."""
    return PARTITION, str(repository)


def _parse(data: Mapping[str, Any]) -> SweepState:
    return SweepState(
        swept=time_or_none(data.get("swept")),
        tried=time_or_none(data.get("tried")),
        run=data.get("run"),
        open=tuple(Digest(each) for each in data.get("open") or ()),
        missed=data.get("missed"),
        untold=bool(data.get("untold")),
        images=data.get("images"),
        bytes=data.get("bytes"),
        failures=int(data.get("failures", 0)),
        problem=data.get("problem"),
        backlog=data.get("backlog"),
    )


def _dump(sweep: SweepState) -> dict[str, Any]:
    return {
        "swept": text_or_none(sweep.swept),
        "tried": text_or_none(sweep.tried),
        "run": sweep.run,
        "open": list(sweep.open),
        "missed": sweep.missed,
        "untold": sweep.untold,
        "images": sweep.images,
        "bytes": sweep.bytes,
        "failures": sweep.failures,
        "problem": sweep.problem,
        "backlog": sweep.backlog,
    }


SWEEPS = ItemKind("S#sweep", "`<registry>/<repository>`", "how far the sweep of a repository has come", _parse, _dump)


def repositories(state: ListsItems) -> list[Repository]:
    """All that a sweep has looked at. One Query a MiB."""
    return [Repository.parse(entry.sk) for entry in SWEEPS.list(state, PARTITION)]
