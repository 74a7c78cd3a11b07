"""What is in an environment, but would not get in today: told once for each change, and kept as a list."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from tallyman.domain.decide import PROMOTED, Decision
from tallyman.domain.gates import FAILED, WAITING, GateResult
from tallyman.domain.times import format_time
from tallyman.domain.values import dataclass
from tallyman.ports import Notices, State, StateChange
from tallyman.services.release import release_partition

_OF_THE_WAY_IN = frozenset({"target", "order"})
"""Gates about the way in, which say nothing about an image that is in."""
_MOMENTARY = frozenset({"soak", "approvals", "window", "freeze"})
"""Gates that wait for a moment or a person: that they are closed just now is no fault of the image."""


def watch_partition(environment: str) -> str:
    """The partition of the state table with what would not get into the environment today, sk as of a pending item.

    `data`: {digest, name, from, to, tags, gates [{name, verdict, reason}], policy, since, told, uses_told}.
    """
    return f"WATCH#{environment}"


def objections(decision: Decision) -> list[GateResult]:
    """The gates that would keep it out today: those that fail, and those that lack a fact they would need."""
    return [
        g
        for g in decision.gates
        if g.name not in _OF_THE_WAY_IN and (g.verdict == FAILED or (g.verdict == WAITING and g.name not in _MOMENTARY))
    ]


@dataclass(frozen=True, slots=True)
class Misfits:
    """Keeps the list. Each decision about a promoted image passes here."""

    state: State
    notices: Notices

    def look(self, decision: Decision, now: datetime) -> None:
        """Writes down and tells that it would not get in today, or takes it off the list; what is known is known.

        Cost: one read; a change costs two writes and a notice. Raises StateMoved where another was faster.
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
        if item is not None and same and item.data["told"]:
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
        }
        change = StateChange(pk, sk, item.revision if item else 0, data)
        self.state.put(change)
        # between the two writes: told at least once, and once unless this process dies in between
        self._tell(decision, found)
        self.state.put(StateChange(pk, sk, change.revision + 1, {**data, "told": True}))

    def _tell(self, decision: Decision, found: list[GateResult]) -> None:
        release = self.state.get(release_partition(decision.target), decision.repository)
        runs = release is not None and release.data["digest"] == decision.digest
        name, environment = f"{decision.repository}:{decision.tags[0]}", decision.target
        what = f"{name} is in {environment}, but would not get in today"
        lines = [f"{what}: {found[0].reason}", *(f"Also {g.name}: {g.reason}" for g in found[1:])]
        lines.append(f"{'It is what' if runs else 'Another image is what'} {environment} releases of it.")
        lines += [f"Digest: {decision.digest}", f"Policy: {decision.policy}"]
        if runs:
            lines.append(f"To set it back: tallyman release roll-back {environment}/{decision.repository}")
        attributes = {"kind": "would_not_pass", "environment": environment, "repository": decision.repository}
        self.notices.publish(what, "\n".join(lines), attributes)


def would_not_pass(state: State, environment: str) -> Iterator[dict[str, Any]]:
    """The list of an environment: the items' data with `released`, whether it is what the environment runs."""
    for item in state.list(watch_partition(environment)):
        release = state.get(release_partition(environment), item.data["name"])
        released = release is not None and release.data["digest"] == item.data["digest"]
        yield {**item.data, "released": released}
