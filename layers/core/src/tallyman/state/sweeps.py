"""The progress of reconcile's sweeps over each repository."""

from datetime import datetime

from tallyman.domain.names import Digest, Repository
from tallyman.state.base import StateValue
from tallyman.state.items import ItemKind, Key, ListsItems
from tallyman.values import value

PARTITION = "S#sweep"
FAILING = 2
"""Sweeps in a row that fail before people are notified."""


@value
class SweepState(StateValue):
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


SWEEPS = ItemKind(SweepState, PARTITION, "`<registry>/<repository>`", "the progress of the repository's sweeps")


def repositories(state: ListsItems) -> list[Repository]:
    """All repositories that a sweep has read. One Query per MiB."""
    return [Repository.parse(entry.sk) for entry in SWEEPS.list(state, PARTITION)]
