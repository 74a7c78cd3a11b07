"""The progress of reconcile's sweeps over each repository."""

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
    """The sweeps of one repository. `swept`: when the last one finished, None: none has; `tried`: when the last one
    began; `run`: the token of the last full sweep; `open`: digests in work, which are decided about again if the worker
    dies; `missed`: how many missed events the sweeps found; `untold`: the first sweep's stowaways are not reported yet;
    `images`: their number, and `bytes`: the sum of their sizes, without indexes (a layer that several images share
    counts for each); `failures`: consecutive sweeps that did not finish or could not record an image, and the last
    `problem`; `backlog`: the first digest of the first sweep's images that is not verified and decided about yet,
    None: all are."""

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


SWEEPS = ItemKind("S#sweep", "`<registry>/<repository>`", "the progress of the repository's sweeps", _parse, _dump)


def repositories(state: ListsItems) -> list[Repository]:
    """All repositories that a sweep has read. One Query per MiB."""
    return [Repository.parse(entry.sk) for entry in SWEEPS.list(state, PARTITION)]
