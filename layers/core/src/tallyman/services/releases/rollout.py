"""A release moves what runs: registry by registry, service by service, each by digest, each waited for.

The hint only says where to look: what is rolled out is the release in force. Progress is an item of the state table,
written before and after each step, so that any worker may go on at any point; a lease keeps two from one roll-out. A
release that came into force meanwhile begins anew. When a service does not settle, everything that this roll-out has
moved goes back, and the release is marked failed; the next release begins anew.

While it waits it sends itself hints. Each says when it is due, as the progress does: of two chains of hints (a doubled
event, one that reconcile sent) the one that looked first goes on, and the other's next hint ends it.
"""

import secrets
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from math import ceil
from typing import Any

from tallyman.domain.history.facts import Fact
from tallyman.domain.names import Digest, Registry
from tallyman.domain.policy import Policy
from tallyman.domain.times import format_time, parse_time
from tallyman.errors import BadInput, LeaseHeld, NotFound, TallymanError
from tallyman.ports.clocks import Clock
from tallyman.ports.messages import Hints, Notices
from tallyman.ports.records import Ledger, State, StateChange
from tallyman.ports.registries import ImageSource
from tallyman.ports.running import Moving, RollOuts
from tallyman.services.releases.pointer import release_partition
from tallyman.services.releases.rollout_progress import (
    DONE,
    FAILED,
    RUNNING,
    Progress,
    Step,
    key_of,
    parse_hint,
    roll_out_fact,
    roll_out_hint,
    roll_out_lease,
    roll_out_partition,
    steps_of,
)
from tallyman.services.shared.lease import Leases
from tallyman.values import value

LOOK = 5
"""Seconds between two looks at a service that is moving; later ones wait longer, up to LONGEST_LOOK."""
LONGEST_LOOK = 60
LIMIT = timedelta(hours=1)
"""How long one service may take to settle."""
LONGEST_DELAY = 900


@value
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

        Raises BadMessage for what is neither. Cost: a few calls a service, two writes a step, two for the lease.
        """
        environment, repository, due = parse_hint(body)
        steps = steps_of(self.policy.environment(environment), repository)
        if not steps:
            return "nothing to roll out"
        leases = Leases(self.state, self.clock)
        try:
            with leases.hold(environment, roll_out_lease(repository), secrets.token_hex(8)):
                return self._go_on(environment, repository, steps, due)
        except LeaseHeld as busy:
            self._hint(environment, repository, ceil(busy.after), due)
            return "another worker is at it: looked at again when it is done"

    def _go_on(self, environment: str, repository: str, steps: list[Step], due: str | None) -> str:
        release = self.state.get(release_partition(environment), repository)
        if release is None:
            return "nothing to roll out"
        progress, begun = self._progress(environment, repository, release.data)
        if progress.data["status"] != RUNNING:
            return f"{progress.data['status']} already"
        if begun and due is not None and due != progress.data.get("next_at"):
            return "another look at it is under way"
        while step := _next(progress, steps):
            if wait := self._seconds_until(progress.data["not_before"]):
                return self._later(progress, wait, f"pausing before {step.registry}")
            try:  # each step is written down before the next, so that `progress` is what lies in the table
                progress = self._begin(progress, step)
                progress = self._move(progress, step)
                moving = self.rollouts.settled(step.registry, step.service, progress.data["moving"]["moved"])
            except TallymanError as error:
                if error.retryable:
                    raise
                moving = Moving(False, str(error))
            if moving.done is None and self._waited(progress) < LIMIT:
                said = f"waiting for {step.service} in {step.registry}: {moving.reason}"
                return self._later(progress, self._look(progress), said)
            if not moving.done:
                reason = moving.reason if moving.done is False else f"not steady after {LIMIT}: {moving.reason}"
                return self._fail(progress, step, reason)
            progress = self._stepped(progress, step, steps, moving)
        self._write(progress.having(status=DONE, said=None), roll_out_fact(self.clock(), progress, None, DONE, None))
        return "rolled out"

    def _progress(self, environment: str, repository: str, release: Mapping[str, Any]) -> tuple[Progress, bool]:
        """How far the release is, and whether it was begun before."""
        item = self.state.get(roll_out_partition(environment), repository)
        if item is not None and item.data["release"] == release["id"]:
            return Progress(environment, repository, item.revision, item.data), True
        fresh = {
            "release": release["id"],
            "digest": release["digest"],
            "status": RUNNING,
            "moving": None,
            "moved": [],
            "not_before": None,
            "reason": None,
            "said": None,
            "next_at": None,
        }
        return self._write(Progress(environment, repository, item.revision if item else 0, fresh)), False

    def _begin(self, progress: Progress, step: Step) -> Progress:
        """Writes down what the service runs before it is moved, once."""
        moving = progress.data["moving"]
        if moving is not None and key_of(moving) == step.key:
            return progress
        if moving is not None:  # the policy no longer names what was moving
            progress = progress.having(moved=progress.entries)
        before = self.rollouts.current(step.registry, step.service)
        begun = {**step.as_data, "before": before, "moved": None, "since": format_time(self.clock())}
        return self._write(progress.having(moving=begun))

    def _move(self, progress: Progress, step: Step) -> Progress:
        """Moves the service, unless that was done; from now on it is waited for."""
        moving = progress.data["moving"]
        if moving["moved"] is not None:
            return progress
        image = self._image(progress, step)
        moved = self.rollouts.move(step.registry, step.service, image)
        since = format_time(self.clock())
        return self._write(progress.having(moving={**moving, "moved": moved, "image": image, "since": since}))

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

    def _stepped(self, progress: Progress, step: Step, steps: list[Step], moving: Moving) -> Progress:
        moved = [*progress.data["moved"], {**progress.data["moving"], "said": moving.reason}]
        after = progress.having(moving=None, moved=moved, not_before=None, said=None)
        following = _next(after, steps)
        rollout = self.policy.environment(progress.environment).rollout
        if following and rollout and rollout.pause and following.registry != step.registry:
            after = after.having(not_before=format_time(self.clock() + rollout.pause))
        return self._write(after, roll_out_fact(self.clock(), progress, step, "moved", moving.reason))

    def _fail(self, progress: Progress, step: Step, reason: str) -> str:
        """Everything goes back, the newest first; what can't is told too."""
        told = f"{step.service} in {step.registry}: {reason}"
        back = {key_of(entry): self._back(progress, entry) for entry in reversed(progress.entries)}
        stuck = [f"{key[1]} in {key[0]} could not be put back: {why}" for key, why in back.items() if why]
        reasons = "; ".join([told, *stuck])
        moved = [{**entry, "back": back[key_of(entry)] or "done"} for entry in progress.data["moved"]]
        # where it never came to be moved (the service is not there) nothing had to go back
        moving = progress.data["moving"] or {
            **step.as_data,
            "before": None,
            "moved": None,
            "since": format_time(self.clock()),
        }
        moving = {**moving, "said": reason, "back": back.get(step.key) or "done"}
        subject = f"{progress.repository} was not rolled out to {progress.environment}"
        again = "" if stuck else "\nWhat it ran before runs again."
        text = f"{reasons}\nDigest: {progress.data['digest']}{again}"
        kind = {"kind": "roll-out", "environment": progress.environment, "repository": progress.repository}
        # told before it is written down: a crash in between tells twice, never not at all
        self.notices.publish(subject, text, kind)
        failed = progress.having(status=FAILED, reason=reasons, said=None, moved=moved, moving=moving)
        self._write(failed, roll_out_fact(self.clock(), progress, step, FAILED, reasons))
        return f"failed: {told}"

    def _back(self, progress: Progress, entry: Mapping[str, Any]) -> str | None:
        """Lets it run again what it ran; why it can't."""
        steps = steps_of(self.policy.environment(progress.environment), progress.repository)
        step = next((step for step in steps if step.key == key_of(entry)), None)
        if step is None:
            return "the policy no longer names it"
        try:
            self.rollouts.back(Registry.parse(entry["registry"]), step.service, entry["before"])
        except TallymanError as error:
            if error.retryable:
                raise
            return str(error)
        return None

    def _write(self, progress: Progress, fact: Fact | None = None) -> Progress:
        """Raises RevisionConflict where another worker was faster: its work is then found when this is tried again."""
        pk = roll_out_partition(progress.environment)
        progress = progress.having(at=format_time(self.clock()))
        change = StateChange(pk, progress.repository, progress.revision, progress.data)
        if fact is None:
            self.state.put(change)
        else:
            self.ledger.append(fact, change)
        return replace(progress, revision=progress.revision + 1)

    def _later(self, progress: Progress, seconds: int, word: str) -> str:
        delay = min(seconds, LONGEST_DELAY)
        due = format_time(self.clock() + timedelta(seconds=delay))
        # before it is written down: after a crash in between the message in hand still is the one that counts
        self._hint(progress.environment, progress.repository, delay, due)
        self._write(progress.having(next_at=due, said=word))
        return word

    def _hint(self, environment: str, repository: str, delay: int, due: str | None) -> None:
        self.hints.send("roll_out", roll_out_hint(environment, repository, due), delay=delay)

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


def _next(progress: Progress, steps: list[Step]) -> Step | None:
    """What is moving, else the first that was not moved; by its key, so that a policy that changes moves none twice."""
    done = {key_of(entry) for entry in progress.data["moved"]}
    moving = key_of(progress.data["moving"]) if progress.data["moving"] else None
    left = [step for step in steps if step.key not in done]
    return min(left, key=lambda step: step.key != moving, default=None)
