"""Removes what the policy does not keep: mark, wait for the grace, plan again under leases, prove, remove by digest.

Nothing is written or removed unless the policy enforces it. A run makes a plan, brings the marks in line with it, and
removes what was marked longer ago than the grace (`remove_images`).
"""

from tallyman.domain.events.hints import RetentionHint
from tallyman.domain.names import Digest, Repository
from tallyman.domain.policy import Policy
from tallyman.domain.times import whole_millis
from tallyman.errors import NotFound, OutOfTime
from tallyman.ports.clocks import Clock, Deadline, no_limit
from tallyman.ports.messages import Hints, Notices
from tallyman.ports.reactions import Outcome, OutcomeKind
from tallyman.ports.records import Archive, Ledger, State
from tallyman.ports.registries import ImageRemover, RegistryView
from tallyman.services.retention.hints import is_enforced
from tallyman.services.retention.inputs import ReadInputs
from tallyman.services.retention.inventory import TakeInventory
from tallyman.services.retention.marks import Marks
from tallyman.services.retention.plan_retention import Look
from tallyman.services.retention.remove_images import RemoveImages
from tallyman.services.retention.runs import Run, Runs
from tallyman.services.shared.lease import Leases
from tallyman.state.items import Entry
from tallyman.state.marks import Mark
from tallyman.values import value

BATCH, MOST = 20, 100
"""Images whose leases are held at once, and that are removed in one call. Few, so that little time passes after the
last look; more in a repository of over 20,000 images, which each look lists in pages of 1,000. ECR accepts 100."""
_RESERVE = 30.0
MAX_ROUNDS = 100
"""The most runs of one hint: more than a day of work. Lambda's own limit of such loops is off for this function, so
that long work is not cut short. The schedule continues with what is left."""


@value
class ApplyRetention:
    """The reaction to hints of retention. Every step may be repeated; the next run finishes an image graph of which a
    run removed only a part."""

    policy: Policy
    inventories: TakeInventory
    reader: ReadInputs
    view: RegistryView
    remover: ImageRemover
    ledger: Ledger
    state: State
    archive: Archive
    hints: Hints
    notices: Notices
    clock: Clock
    leases: Leases

    def handle(self, body: str, left: Deadline = no_limit) -> Outcome:
        """Handle one hint (see `RetentionHint.parse`), for one repository or, from the schedule, for all. An outcome
        REFUSED raises an alarm, because a person has to act. Raises BadMessage for what is not a hint."""
        hint = RetentionHint.parse(body)
        repository, request = hint.repository, hint.request
        if repository is None:
            return Outcome.handled(self._all())
        if hint.policy not in (None, self.policy.digest):
            refusal = f"refused: the plan that was shown is by another policy, {hint.policy}"
            return Outcome(OutcomeKind.REFUSED, self.runs.end(repository, request, refusal, acted=False))
        environment, name = self.policy.environment_of(repository)
        retention = self.policy.repository(name).retention
        if environment is None or not retention.removes:
            self.marks.void(repository, "the policy removes nothing here")
            return self._end(repository, request, "nothing to do: the policy removes nothing here")
        if not retention.enforce:
            self.marks.void(repository, "the policy does not enforce retention here")
            return self._end(
                repository, request, "a plan only: the policy does not enforce retention here", acted=False
            )
        try:
            look = Look.first(self.reader, self.inventories, repository, left)
            run = Run(repository, request, look.plan, hint.round)
            if look.plan.refused:
                return Outcome(OutcomeKind.REFUSED, self.runs.refuse(run))
            return Outcome.handled(self._carry_out(run, look, left))
        except NotFound:
            if self.view.settings(repository) is not None:
                raise  # something else is missing
            return self._end(repository, request, "nothing to do: there is no such repository")

    def _end(self, repository: Repository, request: str | None, text: str, acted: bool = True) -> Outcome:
        return Outcome.handled(self.runs.end(repository, request, text, acted=acted))

    @property
    def runs(self) -> Runs:
        """Records how runs end."""
        return Runs(self.state, self.notices, self.clock)

    @property
    def marks(self) -> Marks:
        """The marks of images that are to be removed."""
        return Marks(self.policy.digest, self.ledger, self.state, self.clock)

    def _all(self) -> str:
        """Send a hint for each repository in which the policy enforces removals, or has left marks since it did."""
        sent = 0
        for registry in self.policy.registries():
            for settings in self.view.repositories(registry):
                place = settings.repository
                if is_enforced(self.policy, place) or self.marks.are_in(place):
                    self.hints.send("retention", {"repository": str(place)})
                    sent += 1
        return f"{sent} repositories to look at"

    def _carry_out(self, run: Run, look: Look, left: Deadline) -> str:
        plan, now = run.plan, whole_millis(self.clock())
        digests = [plan.inventory.digest(row) for row in plan.removed]
        marks = self.marks
        there = marks.follow(run, now)
        run.marks = {digest: entry.value for digest, entry in there.items() if digest in plan.inventory.rows}
        due: list[tuple[Digest, Entry[Mark]]] = []
        for digest in digests:
            known = there.get(digest)
            marked = known if known is not None else marks.mark(run, digest, now)
            if marked is not None:
                run.marks[digest] = marked.value
            if marked is not None and marked.value.marked_at + plan.retention.grace <= now:
                due.append((digest, marked))
        run.counts["waiting"] = len(digests) - len(due)
        source, batch = self.inventories.source, min(MOST, max(BATCH, len(plan.inventory) // 1000))
        removal = RemoveImages(self.policy, source, self.remover, self.archive, marks, self.leases, self.clock)
        for start in range(0, len(due), batch):
            if left() <= _RESERVE:
                return self._go_on(run)
            try:
                look = removal.remove(run, look, due[start : start + batch], left)
            except OutOfTime:
                return self._go_on(run)
        outcome = (
            f"{len(run.removed)} {plan.retention.action}d, {run.counts['marked']} marked, {len(run.failed)} failed"
        )
        return self.runs.end(run.repository, run.request, outcome, run)

    def _go_on(self, run: Run) -> str:
        """Send a hint to continue in another run, because the time of this one is over; return the line for the
        log."""
        if run.round >= MAX_ROUNDS:
            outcome = f"{len(run.removed)} removed; stopped after {MAX_ROUNDS} runs, the schedule goes on with the rest"
            return self.runs.end(run.repository, run.request, outcome, run)
        asked = {"request": run.request, "policy": self.policy.digest} if run.request else {}
        self.hints.send("retention", {"repository": str(run.repository), **asked, "round": run.round + 1})
        return f"{len(run.removed)} removed; goes on in another run"
