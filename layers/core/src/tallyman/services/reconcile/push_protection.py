"""Finds repositories that only promotions may push to, but whose repository policy is missing or was changed."""

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from tallyman.domain.names import Repository
from tallyman.domain.policy import Policy
from tallyman.domain.push_protection import Problem
from tallyman.errors import NotFound, RevisionConflict, TallymanError
from tallyman.ports.clocks import Clock, Deadline
from tallyman.ports.messages import Notices
from tallyman.ports.records import State
from tallyman.ports.registries import Guards
from tallyman.services.promotion.creations import pushers_of
from tallyman.services.reconcile.turns import Turns
from tallyman.state import guards, positions, sweeps
from tallyman.state.guards import GUARDS, GuardState
from tallyman.values import value


@value
class PushProtection:
    """Reads the repository policies of all known repositories to which `create.push: tallyman-only` applies."""

    policy: Policy
    guards: Guards
    state: State
    notices: Notices
    clock: Clock

    def all(
        self, takes: Callable[[Repository], bool], found: Counter[str], problems: list[str], left: Deadline
    ) -> None:
        """Check the repositories that `takes` accepts, and count by environment in `found` those that others could
        push to; a repository that this run does not reach counts as it was found last. A change is announced once.
        Cost: one call for each protected repository. Raises OutOfTime."""
        guarded = []
        for place in sweeps.repositories(self.state):
            environment, name = self.policy.environment_of(place)
            if environment is not None and takes(place):
                others = pushers_of(self.policy, environment.name, name)
                if others is not None:
                    guarded.append(((str(place), environment.name), (place, environment.name, others)))

        def step(item: tuple[Repository, str, tuple[str, ...]]) -> None:
            place, environment, others = item
            try:
                problem = self.guards.problem(place, others)
            except NotFound:
                problem = None  # the repository is gone
            except TallymanError as error:
                problems.append(f"the policy of {place}: {error}")
                return
            with suppress(RevisionConflict):  # another run has just recorded the same, and sends the notice
                self._note(place, environment, problem)

        try:
            what = "the repositories that only promotions may push to"
            Turns(self.state, self.clock).each(positions.GUARDED, guarded, step, left, what)
        finally:
            asked = {place: environment for _, (place, environment, _) in guarded}
            for entry in GUARDS.list(self.state, guards.PARTITION):
                if (environment_name := asked.get(Repository.parse(entry.sk))) is not None:
                    found[environment_name] += 1

    def _note(self, place: Repository, environment: str, problem: Problem | None) -> None:
        entry = GUARDS.read(self.state, guards.key(place))
        if problem is None:
            if entry.found is not None:
                self.state.put(entry.remove(self.clock()))
            return
        old = entry.found
        if old is not None and old.notified and old.flaw in (None, problem.flaw):
            if old.flaw is None:  # an earlier release sent the notice, in words that this one does not know
                self.state.put(entry.write(replace(old, flaw=problem.flaw)))
            return
        guard = GuardState(problem.text, self.clock(), notified=False, flaw=problem.flaw)
        self.state.put(entry.write(guard))
        self.notices.publish(
            f"{place.name} in {environment} is open to pushes",
            f"{place}: {problem}.\nThe policy (create.push: tallyman-only) wants only promotions to push there. "
            f"`tallyman repository create {place.name} --in {environment}` shows what the policy should be.",
            {"kind": "unguarded", "environment": environment, "repository": place.name},
        )
        self.state.put(entry.written(guard).write(replace(guard, notified=True)))
