"""A release moves what runs: registry by registry, service by service, each by digest, each waited for.

The hint only says where to look: what is rolled out is the release in force. Progress is an item of the state table,
written before and after each step, so that any worker may go on at any point. A release that came into force meanwhile
begins anew. When a service does not settle, everything that this roll-out has moved goes back, and the release is
marked failed; the next release begins anew.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from tallyman.domain.facts import Fact, Kind, Via, fact_id
from tallyman.domain.names import Digest, Registry
from tallyman.domain.policy import Policy, Service
from tallyman.domain.times import format_time, parse_time, whole_millis
from tallyman.domain.values import dataclass
from tallyman.errors import BadInput, BadMessage, NotFound, TallymanError
from tallyman.ports import Clock, Hints, ImageSource, Ledger, Moving, Notices, RollOuts, State, StateChange
from tallyman.services.release import RELEASED, release_partition

LOOK = 5
"""Seconds between two looks at a service that is moving; later ones wait longer, up to LONGEST_LOOK."""
LONGEST_LOOK = 60
LIMIT = timedelta(hours=1)
"""How long one service may take to settle."""
LONGEST_DELAY = 900


def roll_out_partition(environment: str) -> str:
    """The partition of the state table with an environment's roll-outs, one item a repository; `data`: {release,
    digest, status (running, done, failed), step, moving, moved, since, not_before, reason}."""
    return f"RO#{environment}"


@dataclass(frozen=True, slots=True)
class Step:
    """One service in one registry."""

    registry: Registry
    service: Service


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a roll-out is: the state's item, as a value."""

    environment: str
    repository: str
    revision: int
    data: Mapping[str, Any]

    def having(self, **changes: Any) -> "Progress":
        """The same, with changes."""
        return replace(self, data={**self.data, **changes})


@dataclass(frozen=True, slots=True)
class RollOutReleases:
    """The reaction to `Image Released`, and to its own continuations."""

    policy: Policy
    source: ImageSource
    rollouts: RollOuts
    ledger: Ledger
    state: State
    hints: Hints
    notices: Notices
    clock: Clock

    def handle(self, body: str) -> str:
        """Takes the roll-out as far as it goes without waiting; then sends itself a hint for later.

        Raises BadMessage for what is neither. Cost: a few calls a service, two writes a step.
        """
        environment, repository = _where(body)
        rollout = self.policy.environment(environment).rollout
        services = [s for s in rollout.services if s.repository == repository] if rollout else []
        release = self.state.get(release_partition(environment), repository)
        if not services or rollout is None or release is None:
            return "nothing to roll out"
        steps = [Step(r, s) for r in self.policy.environment(environment).registries for s in services]
        progress = self._progress(environment, repository, release.data)
        if progress.data["status"] != "running":
            return f"{progress.data['status']} already"
        while (number := progress.data["step"]) < len(steps):
            if wait := self._seconds_until(progress.data["not_before"]):
                return self._later(progress, wait, "pausing")
            step = steps[number]
            try:
                progress, moving = self._take(progress, step)
            except TallymanError as error:
                if error.retryable:
                    raise
                moving = Moving(False, str(error))
            if moving.done is None and self._waited(progress) < LIMIT:
                return self._later(progress, self._look(progress), f"waiting for {step.service} in {step.registry}")
            if not moving.done:
                reason = moving.reason if moving.done is False else f"not steady after {LIMIT}: {moving.reason}"
                return self._fail(progress, step, reason)
            progress = self._stepped(progress, steps, rollout.pause, moving)
        self._write(progress.having(status="done"), self._fact(progress, None, "done", None))
        return "rolled out"

    def _progress(self, environment: str, repository: str, release: Mapping[str, Any]) -> Progress:
        item = self.state.get(roll_out_partition(environment), repository)
        if item is not None and item.data["release"] == release["id"]:
            return Progress(environment, repository, item.revision, item.data)
        fresh = {
            "release": release["id"],
            "digest": release["digest"],
            "status": "running",
            "step": 0,
            "moving": None,
            "moved": [],
            "not_before": None,
            "reason": None,
        }
        return self._write(Progress(environment, repository, item.revision if item else 0, fresh))

    def _take(self, progress: Progress, step: Step) -> tuple[Progress, Moving]:
        """Moves the service, unless that was done, and looks how it is doing."""
        moving = progress.data["moving"]
        if moving is None:
            before = self.rollouts.current(step.registry, step.service)
            moving = {
                "registry": str(step.registry),
                "service": str(step.service),
                "before": before,
                "moved": None,
                "since": format_time(self.clock()),
            }
            progress = self._write(progress.having(moving=moving))
        if moving["moved"] is None:
            image = self._image(progress, step)
            moved = self.rollouts.move(step.registry, step.service, image)
            moving = {**moving, "moved": moved, "image": image}
            progress = self._write(progress.having(moving=moving))
        return progress, self.rollouts.settled(step.registry, step.service, moving["moved"])

    def _image(self, progress: Progress, step: Step) -> str:
        """The address by digest; where only one architecture is taken, of the platform's image."""
        digest = Digest(progress.data["digest"])
        environment = self.policy.environment(progress.environment)
        (place,) = [p for p in environment.repositories(progress.repository) if p.registry == step.registry]
        architecture = self.rollouts.architecture(step.registry, step.service)
        if architecture is None:
            return place.at(digest)
        manifest = self.source.manifest(place, digest)
        if manifest is None:
            raise NotFound(f"{place}@{digest} is not there")
        if not manifest.is_index:
            return place.at(digest)
        for child in manifest.platform_children:
            if child.platform and (child.platform.os, child.platform.architecture) == ("linux", architecture):
                return place.at(child.digest)
        raise BadInput(f"{place}@{digest} has no image for linux/{architecture}, which {step.service} needs")

    def _stepped(self, progress: Progress, steps: list[Step], pause: timedelta, moving: Moving) -> Progress:
        number = progress.data["step"]
        step = steps[number]
        last = number + 1 == len(steps)
        paused = not last and steps[number + 1].registry != step.registry and pause
        until = format_time(self.clock() + pause) if paused else None
        moved = [*progress.data["moved"], progress.data["moving"]]
        after = progress.having(step=number + 1, moving=None, moved=moved, not_before=until)
        return self._write(after, self._fact(progress, step, "moved", moving.reason))

    def _fail(self, progress: Progress, step: Step, reason: str) -> str:
        """Everything goes back, the newest first; what can't is told too."""
        told = f"{step.service} in {step.registry}: {reason}"
        services = {str(s): s for s in self._services(progress)}
        moved = [*progress.data["moved"], *([progress.data["moving"]] if progress.data["moving"] else [])]
        stuck = []
        for each in reversed(moved):
            try:
                self.rollouts.back(Registry.parse(each["registry"]), services[each["service"]], each["before"])
            except TallymanError as error:
                if error.retryable:
                    raise
                stuck.append(f"{each['service']} in {each['registry']} could not be put back: {error}")
        reason = "; ".join([told, *stuck])
        subject = f"{progress.repository} was not rolled out to {progress.environment}"
        text = f"{reason}\nDigest: {progress.data['digest']}\nWhat it ran before runs again."
        kind = {"kind": "roll-out", "environment": progress.environment, "repository": progress.repository}
        # told before it is written down: a crash in between tells twice, never not at all
        self.notices.publish(subject, text, kind)
        self._write(progress.having(status="failed", reason=reason), self._fact(progress, step, "failed", reason))
        return f"failed: {told}"

    def _services(self, progress: Progress) -> tuple[Service, ...]:
        rollout = self.policy.environment(progress.environment).rollout
        return rollout.services if rollout else ()

    def _fact(self, progress: Progress, step: Step | None, outcome: str, reason: str | None) -> Fact:
        now = whole_millis(self.clock())
        release = progress.data["release"]
        where = (str(step.registry), str(step.service)) if step else (None, None)
        return Fact(
            kind=Kind.ROLLED_OUT,
            id=fact_id(Kind.ROLLED_OUT, release, *where, outcome),
            at=now,
            seen=now,
            via=Via.RECONCILED,
            digest=Digest(progress.data["digest"]),
            environment=progress.environment,
            detail={
                "repository": progress.repository,
                "release": release,
                "registry": where[0],
                "service": where[1],
                "outcome": outcome,
                "reason": reason,
            },
        )

    def _write(self, progress: Progress, fact: Fact | None = None) -> Progress:
        """Raises StateMoved where another worker was faster: its work is then found when this is tried again."""
        pk = roll_out_partition(progress.environment)
        change = StateChange(pk, progress.repository, progress.revision, progress.data)
        if fact is None:
            self.state.put(change)
        else:
            self.ledger.append(fact, change)
        return replace(progress, revision=progress.revision + 1)

    def _later(self, progress: Progress, seconds: int, word: str) -> str:
        where = {"environment": progress.environment, "repository": progress.repository}
        self.hints.send("roll_out", {"roll_out": where}, delay=min(seconds, LONGEST_DELAY))
        return word

    def _waited(self, progress: Progress) -> timedelta:
        moving = progress.data["moving"]
        return self.clock() - parse_time(moving["since"]) if moving else timedelta()

    def _look(self, progress: Progress) -> int:
        return int(min(max(LOOK, self._waited(progress).total_seconds() / 4), LONGEST_LOOK))

    def _seconds_until(self, moment: str | None) -> int:
        """Whole seconds, 0 when it is past."""
        if moment is None:
            return 0
        left: datetime | None = parse_time(moment)
        assert left is not None  # parse_time answers or raises
        return max(0, int((left - self.clock()).total_seconds() + 0.999))


def _where(body: str) -> tuple[str, str]:
    """Of `Image Released`, or of a continuation: environment and repository."""
    try:
        message: Any = json.loads(body)
    except ValueError as error:
        raise BadMessage(f"the message is no JSON ({error})") from None
    if isinstance(message, dict):
        told = message.get("roll_out") or (message.get("detail") if message.get("detail-type") == RELEASED else None)
        if (
            isinstance(told, dict)
            and isinstance(told.get("environment"), str)
            and isinstance(told.get("repository"), str)
        ):
            return told["environment"], told["repository"]
    raise BadMessage(f"the message is no roll-out: expected the event '{RELEASED}', or a hint of our own")
