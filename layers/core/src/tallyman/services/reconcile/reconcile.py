"""Compares the registries with the ledger, records what no event reported, and retries what waits.

It runs on a schedule and when people ask. A scheduled run sweeps all repositories with recent events, pending or
released images, and of all others the SLOW whose last sweep was the longest ago. A person's run sweeps all that were
asked for, over several runs if need be.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from tallyman.domain.names import Digest, EcrRegistry, Repository
from tallyman.domain.policy import Policy
from tallyman.domain.scope import Scope
from tallyman.errors import OutOfTime, TallymanError, Throttled, Unreachable
from tallyman.ports.clocks import Clock, Deadline
from tallyman.ports.records import State
from tallyman.ports.registries import RegistryView
from tallyman.services.copying.blobs import enough_time
from tallyman.services.reconcile.turns import isolated, share
from tallyman.services.recording.registry_state import active
from tallyman.state import pending, releases, sweeps, trails
from tallyman.state.pending import PENDING, Pending
from tallyman.state.releases import RELEASES
from tallyman.state.sweeps import FAILING, SWEEPS, SweepState
from tallyman.state.trails import TRAILS
from tallyman.values import value

if TYPE_CHECKING:
    from tallyman.services.reconcile.read_trail import ReadTrail
    from tallyman.services.reconcile.rejudge import Released, Watched
    from tallyman.services.reconcile.sweep import Sweep
    from tallyman.services.reconcile.waiting import Waiting
    from tallyman.services.recording.round_trip import RoundTrips
    from tallyman.services.sealing.seal_ledger import SealLedger

SLOW = 50
"""The most quiet repositories that one scheduled run sweeps."""
_NEVER = datetime.min.replace(tzinfo=UTC)
TRAIL_SHARE = 0.5
"""The share of the time left in its part of a run that reading one registry's trail may take, so that sweeps go on."""


@dataclass(slots=True)
class _Run:
    """The state of one run. `takes`: whether it reads a repository; `is_asked`: a person asks for it, not the schedule;
    `token`: the id of the request to which it belongs, which is its own `request` unless it continues another run."""

    takes: Callable[[Repository], bool]
    is_asked: bool
    token: str
    request: str
    left: Deadline
    registries: dict[EcrRegistry, dict[str, Any]]
    listed: set[Repository] = field(default_factory=set)
    swept: dict[Repository, SweepState] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    trail: dict[EcrRegistry, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    silent: set[EcrRegistry] = field(default_factory=set)
    more: bool = False
    watched: "Watched | None" = None
    sealed: dict[str, int] | None = None


class Parts(Protocol):
    """The services that a run uses. Each is made, and its modules are loaded, when a run first reads it: a person who
    asks for a test event or for the impact of a recall does not wait for the others."""

    @property
    def sweep(self) -> "Sweep": ...
    @property
    def waiting(self) -> "Waiting": ...
    @property
    def read_trail(self) -> "ReadTrail": ...
    @property
    def released(self) -> "Released": ...
    @property
    def round_trips(self) -> "RoundTrips": ...
    @property
    def seal_ledger(self) -> "SealLedger": ...


@value
class Reconcile:
    """The reaction to the schedule, and to people's requests."""

    policy: Policy
    registries: RegistryView
    state: State
    clock: Clock
    parts: Parts

    def run(self, event: Mapping[str, Any], request: str, left: Deadline) -> dict[str, Any]:
        """Carry out one run. `request`: an id that no other run has. Return the report:

        {registries: [{registry, repositories, images, missed, error}], found: {kind: number}, retried, missed:
        {environment: number}, trail: {registry: `read` or the error}, storage: {environment: bytes}, images:
        {environment: number}, waiting: {environment: number}, watched, recalled, trips, ways (see
        `RoundTrips.answer`), sealed: {entries, segments} or None, problems, more, token}. `watched`: {parked, stuck,
        would_not_pass, unguarded, failing}, each {environment: number} (None: a run that continues another);
        `waiting`: all pending promotions, whatever the run's scope is (empty where `watched` is None); `recalled`: see
        `RecallImpact.of` (None: not requested).

        A registry that can't be read does not stop the others. `more`: the request did not fit one run; invoke the
        function again with `token`. `storage`: the sum of the images' sizes in bytes, shared layers counted each time.
        Raises BadInput for a wrong event.
        """
        scope = Scope.parse(event, request)
        if scope.environment is not None:
            self.policy.environment(scope.environment)
        places = [r for r in self.policy.registries() if scope.registry in (None, r)]
        answers = {r: {"registry": str(r), "repositories": 0, "images": 0, "missed": 0, "error": None} for r in places}
        token, is_asked = scope.token or request, scope.token is not None
        run = _Run(partial(scope.takes, self.policy), is_asked, token, request, left, answers)
        trips: dict[str, Any] = {"trips": None, "ways": None}
        if run.is_asked and event.keys() & {"round_trip", "ways"}:
            trips = self.parts.round_trips.answer(event, places, request)
        if scope.patterns != ():
            self._do(run)
        return {
            "registries": list(run.registries.values()),
            "found": {str(kind): number for kind, number in sorted(run.counts.items()) if kind != "retried"},
            "retried": run.counts["retried"],
            "missed": dict(run.missed),
            "trail": {str(registry): word for registry, word in run.trail.items()},
            "storage": self._held(run, lambda sweep: sweep.bytes),
            "images": self._held(run, lambda sweep: sweep.images),
            "waiting": {e: run.watched.waiting[e] for e in self.policy.environments} if run.watched else {},
            "watched": run.watched.as_json(tuple(self.policy.environments)) if run.watched else None,
            "recalled": self._recalled(event, left),
            **trips,
            "sealed": run.sealed,
            "problems": run.problems,
            "more": run.more,
            "token": run.token,
        }

    def _recalled(self, event: Mapping[str, Any], left: Deadline) -> dict[str, Any] | None:
        """The impact of recalling the digest that the event names; None: it names none."""
        if (recalled := event.get("recalled")) is None:
            return None
        digest, impact = Digest.parse(recalled), self.parts.released.recall_impact
        return impact.of(digest, impact.read(left))

    def _do(self, run: _Run) -> None:
        """Carry out the parts of a run. Each may use a share of the time that is left when it begins, and the next
        run continues where it stopped, so that no part starves another."""
        parts = ((1 / 4, self._look_after), (1 / 3, self._take_up), (3 / 4, self._look), (1 / 2, self._guard))
        for part, do in (*parts, (3 / 4, self._follow_trails), (1.0, self._seal)):  # last: seals what the others wrote
            try:
                do(run, share(run.left, part))
            except OutOfTime:
                run.more = True

    def _look_after(self, run: _Run, left: Deadline) -> None:
        if run.token != run.request:  # a run that only goes on
            return
        released = self.parts.released
        run.watched, todo = released.watched(run.takes, run.counts, run.problems, run.is_asked)
        released.carry_out(todo, run.problems, left)

    def _take_up(self, run: _Run, left: Deadline) -> None:
        waiting = self.parts.waiting
        waiting.creations(run.takes)
        waiting.all(lambda waits: self._is_wanted(run, waits), run.counts, run.problems, left, run.is_asked)

    def _look(self, run: _Run, left: Deadline) -> None:
        """Sweep the repositories. Each may use half of the time that is left; one that needs more is continued after
        the others."""
        queue = deque(self._order(run))
        again: set[Repository] = set()
        try:
            while queue:
                repository = queue.popleft()
                enough_time(left, f"the sweep of {repository}")
                try:
                    self._sweep(run, repository, share(left, 1 / 2) if queue else left)
                except OutOfTime:
                    if repository in again:
                        run.more = True
                    else:
                        again.add(repository)
                        queue.append(repository)
        finally:
            self._count_failing(run)

    def _guard(self, run: _Run, left: Deadline) -> None:
        if run.watched is None:
            return
        try:
            self.parts.released.push_protection.all(run.takes, run.watched.unguarded, run.problems, left)
        finally:
            if open_to_pushes := run.watched.unguarded.total():
                run.counts["unguarded"] = open_to_pushes

    def _follow_trails(self, run: _Run, left: Deadline) -> None:
        """Read the trails; the registry whose trail was read the longest ago comes first."""
        lively = {r.registry for r in active(self.state, self.clock()) if r in run.swept}
        read = {registry: TRAILS.get(self.state, trails.key(registry)) for registry in run.registries}
        order = sorted(run.registries, key=lambda r: it.until if (it := read[r]) else _NEVER)
        for registry in order:
            if registry in lively and registry not in run.trail:
                self._read_trail(run, registry, self.parts.read_trail.forward, left)
        for registry in order:
            if not run.is_asked and run.trail.get(registry, "read") == "read":
                self._read_trail(run, registry, self.parts.read_trail.backward, left)

    def _seal(self, run: _Run, left: Deadline) -> None:
        with isolated("the ledger was not sealed", run.problems):
            entries, segments = self.parts.seal_ledger.run(left)
            run.sealed = {"entries": entries, "segments": segments}

    def _count_failing(self, run: _Run) -> None:
        """Count all known repositories whose sweeps keep failing, by environment, for the alarm."""
        for repository, sweep in run.swept.items():
            environment, _ = self.policy.environment_of(repository)
            if environment is not None and sweep.failures >= FAILING and run.watched is not None:
                run.watched.failing[environment.name] += 1

    def _is_wanted(self, run: _Run, waits: Pending) -> bool:
        """Whether the run's scope has a repository from which or to which the pending image is promoted."""
        return any(map(run.takes, self._places(waits)))

    def _places(self, waits: Pending) -> Iterator[Repository]:
        for name in (waits.source, waits.target):
            if environment := self.policy.environments.get(name):
                yield from environment.repositories(waits.name)

    def _order(self, run: _Run) -> list[Repository]:
        """The repositories that this run sweeps, in order. A scheduled run takes three lively ones, then a quiet one,
        and so on, so that neither kind starves."""
        positions = {Repository.parse(e.sk): e.value for e in SWEEPS.list(self.state, sweeps.PARTITION)}
        run.swept.update(positions)
        marked = active(self.state, self.clock())
        known = {*positions, *marked}
        found: set[Repository] = set()
        for registry, answer in run.registries.items():
            try:
                run.listed |= {s.repository for s in self.registries.repositories(registry)}
            except TallymanError as error:
                answer["error"] = str(error)
                continue
            found |= {r for r in known | run.listed if r.registry == registry and run.takes(r)}

        def longest_ago(repository: Repository) -> tuple[datetime, Repository]:
            position = positions.get(repository)
            return (position.tried if position else None) or _NEVER, repository

        if run.is_asked:

            def is_due(repository: Repository) -> bool:
                position = positions.get(repository)
                return position is None or position.run != run.token or position.backlog is not None

            return sorted(filter(is_due, found), key=longest_ago)
        lively = marked
        for environment in self.policy.environments.values():
            for waits in PENDING.list(self.state, pending.partition(environment.name)):
                lively |= set(self._places(waits.value))
            for release in RELEASES.list(self.state, releases.partition(environment.name)):
                lively |= set(environment.repositories(release.sk))
        turns = [(n // 3, "lively", n, r) for n, r in enumerate(sorted(found & lively, key=longest_ago))]
        turns += [(n, "quiet", n, r) for n, r in enumerate(sorted(found - lively, key=longest_ago)[:SLOW])]
        return [repository for *_, repository in sorted(turns)]

    def _sweep(self, run: _Run, repository: Repository, left: Deadline) -> None:
        answer = run.registries[repository.registry]
        if repository.registry in run.silent:
            return

        def read_trail() -> bool:
            registry = repository.registry
            forward = self.parts.read_trail.forward
            return registry not in run.trail and self._read_trail(run, registry, forward, left)

        sweep = self.parts.sweep
        try:
            swept = sweep.repository(repository, run.token, left, read_trail, run.counts)
        except OutOfTime:
            raise
        except TallymanError as error:
            answer["error"] = answer["error"] or f"{repository.name}: {error}"
            if isinstance(error, Unreachable | Throttled):
                run.silent.add(repository.registry)  # a registry that does not answer is left for the next run
            run.swept[repository] = sweep.positions.failed(repository, run.token, str(error))
            return
        run.problems += swept.problems
        images = swept.state.images or 0
        run.swept[repository] = swept.state
        answer["repositories"] += 1
        answer["images"] += images
        answer["missed"] += swept.missed
        environment, _ = self.policy.environment_of(repository)
        if environment is not None:
            run.missed[environment.name] += swept.missed
        if repository not in run.listed and not images:
            sweep.positions.forget(repository)
            del run.swept[repository]

    def _read_trail(
        self, run: _Run, registry: EcrRegistry, read: Callable[[EcrRegistry, Deadline], list[str]], left: Deadline
    ) -> bool:
        """Read a registry's trail; return whether it was read within its share of the time. Else the report has the
        reason, and sweeps go on without the trail; the next run continues where this one stopped."""
        try:
            run.problems += read(registry, share(left, TRAIL_SHARE))
        except TallymanError as error:
            run.trail[registry] = str(error)
            return False
        run.trail[registry] = "read"
        return True

    def _held(self, run: _Run, what: Callable[[SweepState], int | None]) -> dict[str, int]:
        """A number of the sweeps of this run, summed by environment."""
        total: Counter[str] = Counter()
        for repository, sweep in run.swept.items():
            environment, _ = self.policy.environment_of(repository)
            if environment is not None:
                total[environment.name] += what(sweep) or 0
        return dict(total)
