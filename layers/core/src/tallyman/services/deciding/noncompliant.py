"""What is in an environment, but would not get in today: kept as a list. What the environment releases of it, or what
runs, is told once for each change; what was overtaken by newer releases bothers nobody."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from tallyman.domain.decide import PROMOTED, Decision
from tallyman.domain.gates import FAILED, WAITING, GateResult
from tallyman.domain.times import format_time
from tallyman.ports.messages import Notices
from tallyman.ports.records import State, StateChange, StateItem
from tallyman.services.releases.pointer import release_partition
from tallyman.values import value

_OF_THE_WAY_IN = frozenset({"target", "order"})
"""Gates about the way in, which say nothing about an image that is in."""
_MOMENTARY = frozenset({"soak", "approvals", "window", "freeze"})
"""Gates that wait for a moment or a person: that they are closed just now is no fault of the image."""


def watch_partition(environment: str) -> str:
    """The partition of the state table with what would not get into the environment today, sk as of a pending item.

    `data`: {digest, name, from, to, tags, gates [{name, verdict, reason}], policy, since, told, uses_told, runs: what
    was last seen to run it although another image is released}.
    """
    return f"WATCH#{environment}"


def objections(decision: Decision) -> list[GateResult]:
    """The gates that would keep it out today: those that fail, and those that lack a fact they would need."""
    return [
        g
        for g in decision.gates
        if g.name not in _OF_THE_WAY_IN and (g.verdict == FAILED or (g.verdict == WAITING and g.name not in _MOMENTARY))
    ]


@value
class Misfits:
    """Keeps the list. Each decision about a promoted image passes here."""

    state: State
    notices: Notices

    def look(self, decision: Decision, now: datetime) -> None:
        """Writes down and tells that it would not get in today, or takes it off the list; what is known is known.

        One that the environment does not release is written down, and told when it is released again; whether it runs
        all the same is reconcile's to find out. Cost: two reads; a change costs two writes and a notice. Raises
        RevisionConflict where another was faster.
        """
        pk, sk = watch_partition(decision.target), f"{decision.repository}@{decision.digest}@{decision.source}"
        item = self.state.get(pk, sk)
        found = objections(decision) if decision.verdict == PROMOTED and decision.is_candidate else []
        if not found:
            if item is not None:
                self.state.delete(pk, sk, item.revision)
            return
        gates = [{"name": g.name, "verdict": g.verdict, "reason": g.reason} for g in found]
        same = item is not None and item.data["gates"] == gates
        released = is_released(self.state, decision.target, decision.repository, decision.digest)
        if item is not None and same and (item.data["told"] or not released):
            return
        old: Mapping[str, Any] = item.data if item else {}
        data = {
            "digest": decision.digest,
            "name": decision.repository,
            "from": decision.source,
            "to": decision.target,
            "tags": list(decision.tags),
            "gates": gates,
            "policy": decision.policy,
            "since": old.get("since") or format_time(now),
            "told": False,
            "uses_told": old.get("uses_told", False),
            "runs": old.get("runs", []),
        }
        change = StateChange(pk, sk, item.revision if item else 0, data)
        self.state.put(change)
        if not released:
            return
        # between the two writes: told at least once, and once unless this process dies in between
        self._tell(data, "It is what {to} releases of it.")
        self.state.put(StateChange(pk, sk, change.revision + 1, {**data, "told": True}))

    def tell_running(self, item: StateItem, runs: Sequence[str]) -> None:
        """Tells that it runs, although it would not get in today and is not what is released. One write, a notice."""
        self._tell(item.data, "Another image is what {to} releases of it, but it runs: " + ", ".join(runs) + ".")
        self.state.put(StateChange(item.pk, item.sk, item.revision, {**item.data, "told": True, "runs": list(runs)}))

    def _tell(self, data: Mapping[str, Any], where: str) -> None:
        gates, environment, repository = data["gates"], data["to"], data["name"]
        what = f"{repository}:{data['tags'][0]} is in {environment}, but would not get in today"
        lines = [f"{what}: {gates[0]['reason']}", *(f"Also {g['name']}: {g['reason']}" for g in gates[1:])]
        lines += [where.format(to=environment), f"Digest: {data['digest']}", f"Policy: {data['policy']}"]
        if is_released(self.state, environment, repository, data["digest"]):
            lines.append(f"To set it back: tallyman release roll-back {environment}/{repository}")
        attributes = {"kind": "would_not_pass", "environment": environment, "repository": repository}
        self.notices.publish(what, "\n".join(lines), attributes)


def is_released(state: State, environment: str, repository: str, digest: str) -> bool:
    """Whether this is what the environment releases of the repository. One GetItem."""
    release = state.get(release_partition(environment), repository)
    return release is not None and release.data["digest"] == digest


def would_not_pass(state: State, environment: str) -> Iterator[dict[str, Any]]:
    """The list of an environment: the items' data with `released`, whether it is what the environment releases."""
    for item in state.list(watch_partition(environment)):
        released = is_released(state, environment, item.data["name"], item.data["digest"])
        yield {"runs": [], **item.data, "released": released}
