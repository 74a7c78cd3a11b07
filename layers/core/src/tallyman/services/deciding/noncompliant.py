"""Keeps the list of promoted images that today's gates would refuse. Those that are released or running are announced,
once for each change; images that newer releases have replaced are not announced."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from tallyman.domain.decide import PROMOTED, Decision
from tallyman.domain.gates import FAILED, MOMENTARY, WAITING, GateResult
from tallyman.ports.messages import Notices
from tallyman.ports.records import State
from tallyman.state import noncompliant, releases
from tallyman.state.items import Entry
from tallyman.state.noncompliant import NONCOMPLIANT, NoncompliantImage
from tallyman.state.releases import RELEASES
from tallyman.values import value

_PROMOTION_ONLY = frozenset({"target", "order"})
"""Gates about the promotion itself, which say nothing about an image that was promoted."""


def objections(decision: Decision) -> list[GateResult]:
    """The gates that would refuse the image today: those that fail, and those that lack a fact."""
    return [
        g
        for g in decision.gates
        if g.name not in _PROMOTION_ONLY and (g.verdict == FAILED or (g.verdict == WAITING and g.name not in MOMENTARY))
    ]


@value
class NoncompliantImages:
    """Updates the list with each decision about a promoted image."""

    state: State
    notices: Notices

    def look(self, decision: Decision, now: datetime, is_same: bool) -> None:
        """Add the image to the list and announce it, or remove it from the list; a known image is left as it is.
        `is_same`: the decision differs from the last one at most in words.

        An image that the environment does not release is only recorded, and announced when it is released again;
        reconcile finds out whether it still runs. Cost: two reads; a change costs two writes and a notice. Raises
        RevisionConflict where another reaction was faster.
        """
        key = noncompliant.key(decision.target, decision.repository, decision.digest, decision.source)
        entry = NONCOMPLIANT.read(self.state, key)
        old = entry.found
        found = objections(decision) if decision.verdict == PROMOTED and decision.is_candidate else []
        if not found:
            if old is not None:
                self.state.put(entry.remove(now))
            return
        gates = tuple({"name": g.name, "verdict": g.verdict, "reason": g.reason} for g in found)
        released = is_released(self.state, decision.target, decision.repository, decision.digest)
        if old is not None and (old.gates == gates or is_same) and (old.notified or not released):
            return
        image = NoncompliantImage(
            digest=decision.digest,
            name=decision.repository,
            source=decision.source,
            target=decision.target,
            tags=decision.tags,
            gates=gates,
            policy=decision.policy,
            since=old.since if old else now,
            uses_notified=old.uses_notified if old else False,
            runs=old.runs if old else (),
            named=old.named if old else (),
        )
        self.state.put(entry.write(image))
        if not released:
            return
        # between the two writes: notified at least once, and once unless this process dies in between
        self._notify(image, f"{image.target} releases this image.")
        self.state.put(entry.written(image).write(replace(image, notified=True)))

    def announce_running(self, entry: Entry[NoncompliantImage], runs: Sequence[str]) -> None:
        """Announce that an image runs that is not released and that today's gates would refuse. One write, a
        notice."""
        running = ", ".join(runs)
        self._notify(
            entry.value, f"{entry.value.target} releases another image of the repository, but this one runs: {running}."
        )
        self.state.put(entry.write(replace(entry.value, notified=True, runs=tuple(runs))))

    def _notify(self, image: NoncompliantImage, where: str) -> None:
        gates, environment, repository = image.gates, image.target, image.name
        what = f"{repository}:{image.tags[0]} is in {environment}, but would not pass its gates today"
        lines = [f"{what}: {gates[0]['reason']}", *(f"Also {g['name']}: {g['reason']}" for g in gates[1:])]
        lines += [where, f"Digest: {image.digest}", f"Policy: {image.policy}"]
        if is_released(self.state, environment, repository, image.digest):
            lines.append(f"To set it back: tallyman release roll-back {environment}/{repository}")
        attributes = {"kind": "would_not_pass", "environment": environment, "repository": repository}
        self.notices.publish(what, "\n".join(lines), attributes)


def is_released(state: State, environment: str, repository: str, digest: str) -> bool:
    """Whether the environment releases this digest of the repository. One GetItem."""
    release = RELEASES.get(state, releases.key(environment, repository))
    return release is not None and release.digest == digest


def noncompliant_images(state: State, environment: str) -> Iterator[tuple[NoncompliantImage, bool]]:
    """Yield the images on the list of an environment, each with whether the environment releases it."""
    for entry in NONCOMPLIANT.list(state, noncompliant.partition(environment)):
        yield entry.value, is_released(state, environment, entry.value.name, entry.value.digest)
