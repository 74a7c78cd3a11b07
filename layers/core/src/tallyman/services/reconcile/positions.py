"""The position of each repository's sweeps: when it was compared, what is still to do, and how often that failed."""

from dataclasses import replace
from datetime import datetime

from tallyman.domain.history.details.base import new_fact
from tallyman.domain.history.details.upkeep import Missed
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.names import Repository
from tallyman.domain.policy import Policy
from tallyman.domain.times import format_time
from tallyman.ports.clocks import Clock
from tallyman.ports.messages import Notices
from tallyman.ports.records import Appended, Ledger, State
from tallyman.services.shared.conflicts import until_written
from tallyman.state import sweeps
from tallyman.state.items import StateChange
from tallyman.state.sweeps import FAILING, SWEEPS, SweepState
from tallyman.values import value

_LONGEST = 500
"""The most characters of a problem that the position keeps."""


@value
class SweepPositions:
    """Reads and writes the positions, and sends a notice where sweeps of a repository keep failing."""

    policy: Policy
    ledger: Ledger
    state: State
    notices: Notices
    clock: Clock

    def of(self, repository: Repository) -> SweepState:
        """The position of the repository; a new one where it was never swept."""
        return SWEEPS.get(self.state, sweeps.key(repository)) or SweepState()

    def save(self, repository: Repository, sweep: SweepState, missed: int = 0, now: datetime | None = None) -> None:
        """Write the position, and with it the number of missed events. Of two sweeps at once the later write wins."""

        def write() -> None:
            change = SWEEPS.read(self.state, sweeps.key(repository)).write(sweep)
            fact = self._missed(change, missed, now) if missed and now else None
            if fact is None or self.ledger.append(fact, change) is Appended.KNOWN:
                self.state.put(change)

        until_written(write, f"other sweeps keep working at {repository}: try again")

    def failed(self, repository: Repository, run: str, reason: str) -> SweepState:
        """Record a failed sweep, so that a repository that can't be read does not delay the others. The second failure
        in a row is announced."""
        sweep = self.of(repository)
        sweep = self.failing(repository, replace(sweep, tried=self.clock(), run=run), reason, sweep.swept)
        self.save(repository, sweep)
        return sweep

    def failing(self, repository: Repository, sweep: SweepState, reason: str, last: datetime | None) -> SweepState:
        """The position with one more failure, which the caller saves. Sends one notice for each series of failures:
        after a crash before it is saved, two. `last`: when a comparison ended before."""
        sweep = replace(sweep, failures=sweep.failures + 1, problem=reason[:_LONGEST])
        if sweep.failures == FAILING:
            self._notify(repository, sweep, last)
        return sweep

    def _notify(self, repository: Repository, sweep: SweepState, last: datetime | None) -> None:
        environment, _ = self.policy.environment_of(repository)
        self.notices.publish(
            f"{repository.name} can't be compared with the ledger",
            f"Reconcile failed to compare {repository} with the ledger {FAILING} times in a row: {sweep.problem}.\n"
            f"The comparison before: {format_time(last) if last else 'none'}.\n"
            "Until this is fixed, images that no event reported stay unknown there. "
            f"`tallyman reconcile` of this repository tries again at once and names the cause.",
            {
                "kind": "sweep_failed",
                "environment": environment.name if environment else "-",
                "repository": repository.name,
            },
        )

    def forget(self, repository: Repository) -> None:
        """Remove the position of a repository that is gone and whose images are recorded as removed."""
        entry = SWEEPS.read(self.state, sweeps.key(repository))
        if entry.found is not None:
            self.state.put(entry.remove(self.clock()))

    def _missed(self, change: StateChange, missed: int, now: datetime) -> Fact:
        repository = Repository.parse(change.sk)
        environment, _ = self.policy.environment_of(repository)
        name = environment.name if environment else None
        key, details = (repository, change.revision), Missed(missed, str(repository))
        return new_fact(Kind.MISSED, key, details, self.clock(), at=now, environment=name)
