"""Records how the last run of retention over each repository ended, for commands that wait for it; and a run's
state."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tallyman.domain.names import Digest, Repository
from tallyman.domain.retention import Plan
from tallyman.errors import RevisionConflict
from tallyman.ports.clocks import Clock
from tallyman.ports.messages import Notices
from tallyman.ports.records import State
from tallyman.state.marks import Mark
from tallyman.state.retention import RUNS, RetentionRun, run_key
from tallyman.values import value

_TRIES = 4


@dataclass(slots=True)
class Run:
    """The state of one run over one repository. `counts`: marked, unmarked, waiting; `failed`: why an image was not
    removed; `marks`: those of the repository, by digest."""

    repository: Repository
    request: Any
    plan: Plan
    round: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    failed: dict[Digest, str] = field(default_factory=dict)
    removed: list[Digest] = field(default_factory=list)
    marks: dict[Digest, Mark] = field(default_factory=dict)


@value
class Runs:
    """Records the ends of runs."""

    state: State
    notices: Notices
    clock: Clock

    def end(
        self, repository: Repository, request: Any, outcome: str, run: Run | None = None, refused: str | None = None
    ) -> str:
        """Records how a run ended if it did anything or a command waits for it; returns the outcome."""
        if run is None and request is None:
            return outcome
        ended = RetentionRun(
            at=self.clock(),
            request=request,
            outcome=outcome,
            marked=run.counts["marked"] if run else 0,
            unmarked=run.counts["unmarked"] if run else 0,
            waiting=run.counts["waiting"] if run else 0,
            removed=tuple(run.removed) if run else (),
            failed=dict(run.failed.items()) if run else {},
            refused=refused,
        )
        for _ in range(_TRIES):
            try:
                self.state.put(RUNS.read(self.state, run_key(repository)).write(ended))
                break
            except RevisionConflict:
                continue
        return outcome

    def refuse(self, run: Run) -> str:
        """Ends a run whose plan was refused: people are notified once for each reason, and once for each source of
        usage that can't be read, whatever its errors say. Returns the outcome."""
        reason = run.plan.refused[0]
        last = RUNS.get(self.state, run_key(run.repository))
        if last is None or last.refused is None or _without_error(last.refused) != _without_error(reason):
            what = f"retention of {run.repository} is refused"
            lines = [f"{what}: {reason}", *run.plan.refused[1:], f"Policy: {run.plan.policy}", "Nothing was removed."]
            attributes = {"kind": "retention_refused", "environment": run.plan.inventory.environment or "-"}
            self.notices.publish(what[:100], "\n".join(lines), attributes)
        return self.end(run.repository, run.request, f"refused: {reason}", run, reason)


def _without_error(reason: str) -> str:
    """The reason without the text of an error, which differs from call to call and from version to version."""
    return reason.partition(" can't be read: ")[0]
