"""Records how the last run of retention over each repository ended, for commands that wait for it; and a run's
state."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tallyman.domain.names import Digest, Repository
from tallyman.domain.retention import Plan
from tallyman.ports.clocks import Clock
from tallyman.ports.messages import Notices
from tallyman.ports.records import State
from tallyman.services.shared.conflicts import until_written
from tallyman.state.marks import Mark
from tallyman.state.retention import CAUSES, RUNS, RetentionRun, run_key
from tallyman.values import value


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
        self, repository: Repository, request: Any, outcome: str, run: Run | None = None, *, acted: bool = True
    ) -> str:
        """Record how a run ended if it did anything or a command waits for it; return the outcome. `acted`: False
        where it was refused or only planned. Raises RevisionConflict where others keep writing the same item."""
        if run is None and request is None:
            return outcome
        refusals = run.plan.refusals if run else []

        def write() -> None:
            entry = RUNS.read(self.state, run_key(repository))
            causes = entry.found.causes if entry.found else ()
            if run is not None:
                causes = tuple(dict.fromkeys([*_causes(run), *(causes or ())]))[:CAUSES] if refusals else ()
            ended = RetentionRun(
                at=self.clock(),
                request=request,
                outcome=outcome,
                marked=run.counts["marked"] if run else 0,
                unmarked=run.counts["unmarked"] if run else 0,
                waiting=run.counts["waiting"] if run else 0,
                removed=tuple(run.removed) if run else (),
                failed=dict(run.failed.items()) if run else {},
                refused=refusals[0].text if refusals else None,
                acted=acted,
                causes=causes,
            )
            self.state.put(entry.write(ended))

        until_written(write, f"other runs keep ending at the same time over {repository}: try again")
        return outcome

    def refuse(self, run: Run) -> str:
        """End a run whose plan was refused: people are notified once of each cause, until a run is not refused.
        Return the outcome."""
        plan, last = run.plan, RUNS.get(self.state, run_key(run.repository))
        reason = plan.refusals[0]
        if _is_news(run, last):
            what = f"retention of {run.repository} is refused"
            lines = [f"{what}: {reason.text}", *plan.refused[1:], f"Policy: {plan.policy}", "Nothing was removed."]
            if last is not None:
                lines.append(f"The run before: {last.outcome}")
            attributes = {"kind": "retention_refused", "environment": plan.inventory.environment or "-"}
            self.notices.publish(what[:100], "\n".join(lines), attributes)
        return self.end(run.repository, run.request, f"refused: {reason.text}", run, acted=False)


def _is_news(run: Run, last: RetentionRun | None) -> bool:
    """Whether a cause was not announced. An earlier release compared, and noted, the first alone."""
    if last is None:
        return True
    if last.causes is None:
        return last.first_cause != run.plan.refusals[0].key
    return not set(_causes(run)) <= set(last.causes)


def _causes(run: Run) -> list[str]:
    return sorted({refusal.key for refusal in run.plan.refusals})[:CAUSES]
