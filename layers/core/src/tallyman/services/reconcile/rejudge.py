"""What environments run, judged again; promotions that stand half-done; what was recalled and still runs.

By the clock. Facts of an image decide it anew at once wherever they come in; here is what no fact tells: a policy that
changed, a scan that grew old, a promotion or a roll-out that does not get on, an announcement that was not made.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from tallyman.domain.decide import PROMOTED
from tallyman.domain.gates import FAILED, target
from tallyman.domain.names import Digest, Repository
from tallyman.domain.policy import Policy
from tallyman.domain.times import parse_time
from tallyman.errors import OutOfTime, RevisionConflict, TallymanError
from tallyman.ports.clocks import Clock, Deadline
from tallyman.ports.messages import Notices
from tallyman.ports.records import State, StateChange, StateItem
from tallyman.services.copying.blobs import enough_time
from tallyman.services.deciding.evaluator import Evaluator, pending_partition
from tallyman.services.deciding.noncompliant import Misfits, is_released, watch_partition
from tallyman.services.deciding.recall_impact import Consequences
from tallyman.services.reconcile.push_protection import Guarded
from tallyman.services.reconcile.unfinished_rollouts import Unfinished
from tallyman.services.reconcile.waiting import SCAN_AGAIN, Waiting
from tallyman.services.releases.pointer import Releases, release_partition
from tallyman.values import value

RUNS_AGAIN = timedelta(hours=1)
"""How often it is asked what runs, where something that is not released would not get in today."""
STUCK = timedelta(minutes=15)
"""How long after its first tag may be set a promotion is to be finished; after that people are told."""


@dataclass(slots=True)
class Watched:
    """What a run found, by environment."""

    parked: Counter[str] = field(default_factory=Counter)
    stuck: Counter[str] = field(default_factory=Counter)
    would_not_pass: Counter[str] = field(default_factory=Counter)
    unguarded: Counter[str] = field(default_factory=Counter)

    def as_json(self, environments: tuple[str, ...]) -> dict[str, dict[str, int]]:
        """Each with a number for every environment, so that an alarm ends when there is nothing any more."""
        names = ("parked", "stuck", "would_not_pass", "unguarded")
        return {name: {e: getattr(self, name)[e] for e in environments} for name in names}


@value
class Released:
    """Looks after what is in environments."""

    policy: Policy
    state: State
    notices: Notices
    evaluator: Evaluator
    releases: Releases
    waiting: Waiting
    guarded: Guarded
    consequences: Consequences
    unfinished: Unfinished
    clock: Clock

    def all(
        self,
        takes: Callable[[Repository], bool],
        counts: Counter[str],
        problems: list[str],
        left: Deadline,
        asked: bool = False,
    ) -> Watched:
        """What is in the repositories that `takes` wants. One that fails never stops the others: its reason goes to
        problems. `asked`: by a person, for whom roll-outs are taken up at once. Raises OutOfTime.

        Cost: a Query an environment for each of three partitions; for each release the facts of its image, and once
        a day a call for each platform of it.
        """
        found = Watched()
        overtaken: list[StateItem] = []
        for environment in self.policy.environments:

            def wanted(name: str, environment: str = environment) -> bool:
                return any(takes(place) for place in self.policy.environment(environment).repositories(name))

            for item in self.state.list(release_partition(environment)):
                if not wanted(item.sk):
                    continue
                enough_time(left, "what is released")
                what = f"{environment}/{item.sk}"
                self._guard(problems, what, lambda e=environment, i=item: self._look(e, i, counts))
                self._guard(problems, what, lambda e=environment, i=item: self._roll_out(e, i, counts, asked))
            for item in self.state.list(pending_partition(environment)):
                data = item.data
                if not wanted(data["name"]):
                    continue
                found.parked[environment] += data["verdict"] == FAILED and data["gate"] == target.NAME
                if self._is_stuck(item):
                    found.stuck[environment] += 1
                    self._guard(problems, f"{environment}/{data['name']}", lambda i=item: self._tell_stuck(i))
            for item in self.state.list(watch_partition(environment)):
                enough_time(left, "what would not get in today")
                data = item.data
                if not wanted(data["name"]):
                    continue
                released = is_released(self.state, environment, data["name"], data["digest"])
                found.would_not_pass[environment] += released or bool(data.get("runs"))
                if not released:
                    overtaken.append(item)
                recalled = any(gate["name"] == "recalled" for gate in item.data["gates"])
                if recalled and not item.data.get("uses_told"):
                    self._guard(problems, f"{environment}/{item.data['name']}", lambda i=item: self._tell_uses(i))
        if overtaken and self.waiting.is_due("what runs", RUNS_AGAIN):
            enough_time(left, "what runs")
            self._look_for_users(overtaken, problems)
            self.waiting.note("what runs", RUNS_AGAIN)
        return found

    def _look_for_users(self, items: list[StateItem], problems: list[str]) -> None:
        """Of images that would not get in today and are not released: what runs them all the same is told."""
        users, unread = self.consequences.users([Digest(item.data["digest"]) for item in items])
        problems += [f"what runs in {where} could not be read: {why}" for where, why in unread.items()]
        for item in items:
            runs = sorted(str(use) for use in users.get(Digest(item.data["digest"]), ()))
            what = f"{item.data['to']}/{item.data['name']}"
            if runs and not item.data["told"]:
                self._guard(problems, what, lambda i=item, r=runs: Misfits(self.state, self.notices).tell_running(i, r))
            elif not unread and runs != item.data.get("runs", []):
                change = StateChange(item.pk, item.sk, item.revision, {**item.data, "runs": runs})
                self._guard(problems, what, lambda c=change: self.state.put(c))

    def _guard(self, problems: list[str], what: str, step: Any) -> None:
        try:
            step()
        except OutOfTime:
            raise
        except RevisionConflict:
            return  # somebody else is at it: the next run looks again
        except TallymanError as error:
            problems.append(f"{what}: {error}")

    def _look(self, environment: str, item: StateItem, counts: Counter[str]) -> None:
        self.releases.announce(environment, item.sk)
        digest = Digest(item.data["digest"])
        key = f"watch {environment}/{item.sk}@{digest}"
        due = self.waiting.is_due(key, SCAN_AGAIN)
        for decision in self.evaluator.image(digest):
            scanned = any(gate.name == "scan" for gate in decision.gates)
            if due and scanned and decision.verdict == PROMOTED and decision.target == environment:
                before = counts["scanned"]
                self.waiting.read_scans(decision, counts)
                self.waiting.note(key, SCAN_AGAIN)
                if counts["scanned"] != before:
                    self.evaluator.image(digest)

    def _roll_out(self, environment: str, item: StateItem, counts: Counter[str], asked: bool) -> None:
        counts["retried"] += self.unfinished.take_up(environment, item, asked)

    def _is_stuck(self, item: StateItem) -> bool:
        since = item.data.get("tagging_since")
        return since is not None and self.clock() - parse_time(since) >= STUCK

    def _tell_stuck(self, item: StateItem) -> None:
        data = item.data
        if data.get("stuck_told"):
            return
        name = f"{data['name']}:{data['tags'][0]}" if data["tags"] else data["name"]
        self.notices.publish(
            f"{name} is in {data['to']} only in part",
            f"{name} got its first tag in {data['to']} at {data['tagging_since']} or later, and is not finished: "
            f"{data['reason'] or 'no reason is known'}.\nIt is tried again; some of {data['to']}'s registries have its "
            f"tags, some do not.\nDigest: {data['digest']}",
            {"kind": "stuck", "environment": data["to"], "repository": data["name"]},
        )
        self.state.put(StateChange(item.pk, item.sk, item.revision, {**data, "stuck_told": True}))

    def _tell_uses(self, item: StateItem) -> None:
        """At least once: which releases point at what was recalled, and what runs it."""
        data = item.data
        found = self.consequences.of(Digest(data["digest"]))
        lines = [f"{r['environment']} releases it as {r['repository']}" for r in found["releases"]]
        lines += [f"{u['kind']} {u['name']} in {u['where']} runs {u['image']}" for u in found["uses"]]
        lines += [f"{where} could not be asked: {why}" for where, why in found["unread"].items()]
        if lines:
            self.notices.publish(
                f"recalled, and in {data['to']}: {data['name']}",
                "\n".join([f"{data['name']}@{data['digest']} was recalled.", *lines]),
                {"kind": "recalled_in_use", "environment": data["to"], "repository": data["name"]},
            )
        self.state.put(StateChange(item.pk, item.sk, item.revision, {**data, "uses_told": not found["unread"]}))
