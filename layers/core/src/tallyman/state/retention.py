"""The result of the last retention run of each repository, and the repositories for which a run was requested."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tallyman.domain.names import Digest, Repository
from tallyman.domain.times import format_time, parse_time
from tallyman.state.items import ItemKind, Key
from tallyman.values import value

_REMOVED, _FAILED = 1000, 100
"""The most images that an item lists, as items must stay small."""


@value
class RetentionRun:
    """The result of a run. `request`: the id of the person's request, None: there was none. `removed` and `failed`
    (digest: reason) list the first images only."""

    at: datetime
    request: Any
    outcome: str
    marked: int = 0
    unmarked: int = 0
    waiting: int = 0
    removed: tuple[Digest, ...] = ()
    failed: Mapping[str, str] | None = None
    refused: str | None = None


@value
class Asked:
    """A requested run. `until`: when it starts at the latest."""

    until: datetime


RUNS_PARTITION = "RT#runs"


def run_key(repository: Repository) -> Key:
    """The key of a repository's last run."""
    return RUNS_PARTITION, str(repository)


def asked_key(repository: Repository) -> Key:
    """The key of a repository's requested run."""
    return "RT#gather", str(repository)


def _parse_run(data: Mapping[str, Any]) -> RetentionRun:
    return RetentionRun(
        at=parse_time(data["at"]),
        request=data.get("request"),
        outcome=data["outcome"],
        marked=int(data.get("marked", 0)),
        unmarked=int(data.get("unmarked", 0)),
        waiting=int(data.get("waiting", 0)),
        removed=tuple(Digest(each) for each in data.get("removed") or ()),
        failed=dict(data.get("failed") or {}),
        refused=data.get("refused"),
    )


def dump_run(run: RetentionRun) -> dict[str, Any]:
    """The run as JSON data, as it is stored and shown."""
    return {
        "at": format_time(run.at),
        "request": run.request,
        "outcome": run.outcome,
        "marked": run.marked,
        "unmarked": run.unmarked,
        "waiting": run.waiting,
        "removed": list(run.removed[:_REMOVED]),
        "failed": dict(list((run.failed or {}).items())[:_FAILED]),
        "refused": run.refused,
    }


def _parse_asked(data: Mapping[str, Any]) -> Asked:
    return Asked(parse_time(data["until"]))


def _dump_asked(asked: Asked) -> dict[str, Any]:
    return {"until": format_time(asked.until)}


RUNS = ItemKind("RT#runs", "`<registry>/<repository>`", "the result of the last retention run", _parse_run, dump_run)
ASKED = ItemKind(
    "RT#gather", "`<registry>/<repository>`", "a retention run that a push requested", _parse_asked, _dump_asked
)
