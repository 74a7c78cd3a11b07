"""Evaluates released images again on a schedule, and finds stuck promotions and recalled images that still run.

A new fact evaluates its image at once. This part finds what no fact reports: a changed policy, a scan that became too
old, a promotion or rollout that makes no progress, a release that was not announced.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from functools import cache, partial

from tallyman.domain.decide import PROMOTED
from tallyman.domain.gates import FAILED, target
from tallyman.domain.names import Digest, Repository
from tallyman.domain.policy import Policy
from tallyman.domain.times import format_time
from tallyman.errors import RevisionConflict
from tallyman.ports.clocks import Clock, Deadline
from tallyman.ports.messages import Notices
from tallyman.ports.records import State
from tallyman.services.copying.blobs import enough_time
from tallyman.services.deciding.evaluator import Evaluator
from tallyman.services.deciding.noncompliant import NoncompliantImages
from tallyman.services.deciding.recall_impact import RecallImpact, WhatRuns
from tallyman.services.reconcile.push_protection import PushProtection
from tallyman.services.reconcile.turns import Turns, isolated
from tallyman.services.reconcile.unfinished_rollouts import Unfinished
from tallyman.services.reconcile.waiting import SCAN_AGAIN, Waiting
from tallyman.services.releases.pointer import Releases
from tallyman.services.shared.pauses import Pauses
from tallyman.state import noncompliant, pending, positions
from tallyman.state import releases as release_items
from tallyman.state.items import Entry
from tallyman.state.noncompliant import NONCOMPLIANT, NoncompliantImage
from tallyman.state.pending import PENDING, Pending
from tallyman.state.releases import RELEASES, ReleaseState
from tallyman.values import value

RUNS_AGAIN = timedelta(hours=1)
"""How often usage is read to find running images that are not released and that today's gates would refuse."""
STUCK = timedelta(minutes=15)
"""How long after tagging began a promotion may take before people are notified."""

MOST_NAMED = 500
"""The most uses of a recalled image that its item lists, as items must stay small."""


@dataclass(slots=True)
class Watched:
    """The counts of a run, by environment: pending, parked and stuck promotions, noncompliant and unprotected, failing
    sweeps. `waiting`: every pending promotion, also outside of the run's scope."""

    waiting: Counter[str] = field(default_factory=Counter)
    parked: Counter[str] = field(default_factory=Counter)
    stuck: Counter[str] = field(default_factory=Counter)
    would_not_pass: Counter[str] = field(default_factory=Counter)
    unguarded: Counter[str] = field(default_factory=Counter)
    failing: Counter[str] = field(default_factory=Counter)

    def as_json(self, environments: tuple[str, ...]) -> dict[str, dict[str, int]]:
        """Each counter but `waiting`, with a number for every environment, zeros included, so that an alarm ends when
        nothing is left."""
        counters = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "waiting"}
        return {name: {e: counter[e] for e in environments} for name, counter in counters.items()}


Step = tuple[str, Callable[[], None]]
"""What a step is about, and the step."""


@dataclass(slots=True)
class Todo:
    """The work that `Released.watched` found. `steps`: see `Turns.each`; `recalled`: recalled images whose uses are not
    announced yet; `overtaken`: noncompliant images that are not released, of which some may run."""

    steps: list[tuple[tuple[str, ...], Step]] = field(default_factory=list)
    recalled: list[Entry[NoncompliantImage]] = field(default_factory=list)
    overtaken: list[Entry[NoncompliantImage]] = field(default_factory=list)


@value
class Released:
    """Watches what is in the environments."""

    policy: Policy
    state: State
    notices: Notices
    evaluator: Evaluator
    releases: Releases
    waiting: Waiting
    push_protection: PushProtection
    recall_impact: RecallImpact
    unfinished: Unfinished
    pauses: Pauses
    clock: Clock

    def watched(
        self, takes: Callable[[Repository], bool], counts: Counter[str], problems: list[str], asked: bool
    ) -> tuple[Watched, Todo]:
        """Count what is in the repositories that `takes` accepts, and find what there is to do; announce stuck
        promotions, and take from the list the noncompliant images that no promotion of the policy judges any more,
        except recalled ones. A failure does not stop the others: its reason is added to `problems`. `asked`: a person
        asks, so unfinished rollouts are retried at once. Cost: a Query an environment for each of three partitions.
        """
        found, todo = Watched(), Todo()
        for environment in self.policy.environments:

            def wanted(name: str, environment: str = environment) -> bool:
                return any(takes(place) for place in self.policy.environment(environment).repositories(name))

            released: dict[str, Digest] = {}
            for release in RELEASES.list(self.state, release_items.partition(environment)):
                released[release.sk] = release.value.digest
                if wanted(release.sk):
                    look = partial(self._look, environment, release, counts)
                    roll_out = partial(self._roll_out, environment, release, counts, asked)
                    what = f"{environment}/{release.sk}"
                    todo.steps.append(((environment, release.sk, "1"), (what, look)))
                    todo.steps.append(((environment, release.sk, "2"), (what, roll_out)))
            self._watch_pending(environment, wanted, found, problems)
            for entry in NONCOMPLIANT.list(self.state, noncompliant.partition(environment)):
                image = entry.value
                if not wanted(image.name):
                    continue
                recalled = any(gate["name"] == "recalled" for gate in image.gates)
                if not recalled and not self._is_judged(image):
                    with suppress(RevisionConflict):  # evaluated by a policy that has the promotion
                        self.state.put(entry.remove(self.clock()))
                    continue
                is_current = released.get(image.name) == image.digest
                found.would_not_pass[environment] += is_current or bool(image.runs)
                if not is_current:
                    todo.overtaken.append(entry)
                if recalled and not image.uses_notified:
                    todo.recalled.append(entry)
        return found, todo

    def carry_out(self, todo: Todo, problems: list[str], left: Deadline) -> None:
        """Carry out the steps, each by itself. Raises OutOfTime: the next run continues where this one stopped. Cost:
        for each release the facts of its image, and once a day a call for each platform of it; at most once the usage
        of images."""
        what_runs, steps = cache(partial(self.recall_impact.read, left)), list(todo.steps)
        for entry in todo.recalled:
            image = entry.value
            about = f"{image.target}/{image.name}", partial(self._notify_uses, entry, what_runs)
            steps.append(((image.target, image.name, "3", image.digest), about))

        def step(item: Step) -> None:
            what, do = item
            with _isolated(what, problems):
                do()

        Turns(self.state, self.clock).each(positions.RELEASED, steps, step, left, "what is released")
        if todo.overtaken and self.pauses.is_over("what runs", RUNS_AGAIN):
            enough_time(left, "what runs")
            self._look_for_users(todo.overtaken, what_runs(), problems)
            self.pauses.begin("what runs", RUNS_AGAIN)

    def _is_judged(self, image: NoncompliantImage) -> bool:
        """Whether the policy still has the promotion by whose gates the image was noncompliant."""
        promotions = self.policy.repository(image.name).promotions
        return any((p.source, p.target) == (image.source, image.target) for p in promotions)

    def _watch_pending(
        self, environment: str, wanted: Callable[[str], bool], found: Watched, problems: list[str]
    ) -> None:
        for waits in PENDING.list(self.state, pending.partition(environment)):
            found.waiting[environment] += 1
            if not wanted(waits.value.name):
                continue
            found.parked[environment] += waits.value.verdict == FAILED and waits.value.gate == target.NAME
            if self._is_stuck(waits.value):
                found.stuck[environment] += 1
                with _isolated(f"{environment}/{waits.value.name}", problems):
                    self._tell_stuck(waits)

    def _look_for_users(self, entries: list[Entry[NoncompliantImage]], what: WhatRuns, problems: list[str]) -> None:
        """Announce noncompliant images that still run although they are not released."""
        users = self.recall_impact.users([entry.value.digest for entry in entries], what)
        problems += [f"what runs in {where} could not be read: {why}" for where, why in what.unread.items()]
        for entry in entries:
            image = entry.value
            runs = sorted(str(use) for use in users.get(image.digest, ()))
            with _isolated(f"{image.target}/{image.name}", problems):
                if runs and not image.notified:
                    NoncompliantImages(self.state, self.notices).announce_running(entry, runs)
                elif not what.unread and tuple(runs) != image.runs:
                    self.state.put(entry.write(replace(image, runs=tuple(runs))))

    def _look(self, environment: str, release: Entry[ReleaseState], counts: Counter[str]) -> None:
        self.releases.announce(environment, release.sk)
        digest = release.value.digest
        key = f"watch {environment}/{release.sk}@{digest}"
        due = self.pauses.is_over(key, SCAN_AGAIN)
        for decision in self.evaluator.image(digest):
            if decision.verdict != PROMOTED or decision.target != environment:
                continue
            self.waiting.verify_again(decision)
            if due and any(gate.name == "scan" for gate in decision.gates):
                before = counts["scanned"]
                fresh = self.waiting.read_scans(decision, counts)
                self.pauses.begin(key, SCAN_AGAIN)
                if counts["scanned"] != before:
                    self.evaluator.image(digest)
                self.waiting.decide_others(digest, fresh)

    def _roll_out(self, environment: str, release: Entry[ReleaseState], counts: Counter[str], asked: bool) -> None:
        counts["retried"] += self.unfinished.take_up(environment, release.sk, release.value, asked)

    def _is_stuck(self, waits: Pending) -> bool:
        return waits.tagging_since is not None and self.clock() - waits.tagging_since >= STUCK

    def _tell_stuck(self, entry: Entry[Pending]) -> None:
        waits = entry.value
        if waits.stuck_notified or waits.tagging_since is None:
            return
        name = f"{waits.name}:{waits.tags[0]}" if waits.tags else waits.name
        self.notices.publish(
            f"{name} is in {waits.target} only in part",
            f"{name} got its first tag in {waits.target} at {format_time(waits.tagging_since)} or later, and is not "
            f"finished: {waits.reason or 'no reason is known'}.\nIt is retried; some of {waits.target}'s "
            f"registries have its tags, some do not.\nDigest: {waits.digest}",
            {"kind": "stuck", "environment": waits.target, "repository": waits.name},
        )
        self.state.put(entry.write(replace(waits, stuck_notified=True)))

    def _notify_uses(self, entry: Entry[NoncompliantImage], what_runs: Callable[[], WhatRuns]) -> None:
        """Announce, at least once, the releases and workloads that use a recalled image; again where there are more,
        as long as a source of usage can't be read."""
        image = entry.value
        found = self.recall_impact.of(image.digest, what_runs())
        lines = {
            f"release {r['environment']}/{r['repository']}": f"{r['environment']} releases it as {r['repository']}"
            for r in found["releases"]
        }
        for u in sorted(found["uses"], key=lambda use: bool(use["runs"])):  # what runs counts more than what names it
            does = "runs" if u["runs"] else "is set up to run"
            lines[f"{u['kind']} {u['name']} {u['where']}"] = (
                f"{u['kind']} {u['name']} in {u['where']} {does} {u['image']}"
            )
        for where, why in found["unread"].items():
            lines[f"unread {where}"] = f"what runs in {where} could not be read: {why}"
        now = sorted(lines)
        named = tuple([*now, *(each for each in image.named if each not in lines)][:MOST_NAMED])
        if not {*now[:MOST_NAMED]} <= {*image.named}:
            self.notices.publish(
                f"recalled, and in {image.target}: {image.name}",
                "\n".join([f"{image.name}@{image.digest} was recalled.", *lines.values()]),
                {"kind": "recalled_in_use", "environment": image.target, "repository": image.name},
            )
        after = replace(image, uses_notified=not found["unread"], named=named)
        if after != image:
            self.state.put(entry.write(after))


@contextmanager
def _isolated(what: str, problems: list[str]) -> Iterator[None]:
    """As `isolated`. A RevisionConflict is no problem: another operation is in progress, and the next run tries
    again."""
    with isolated(what, problems), suppress(RevisionConflict):
        yield
