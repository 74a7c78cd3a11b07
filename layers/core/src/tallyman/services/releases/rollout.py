"""Rolls out a release: moves what runs, registry by registry and service by service, and waits for each.

The hint only names environment and repository; the release in force is rolled out. The progress is an item of the state
table, written before and after each step, so that any worker can continue at any point; a lease keeps two workers from
the same rollout. A newer release starts a new rollout. When a service does not become steady, everything that this
rollout has moved is moved back, and the rollout is marked failed.

While it waits, it sends itself hints. Each hint has the time when it is due, and so has the progress: of two chains of
hints (from a doubled event, or from reconcile) the one that looks first continues, and the other ends at its next hint.
"""

import secrets
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from math import ceil

from tallyman.domain.history.facts import Fact
from tallyman.domain.names import EcrRegistry
from tallyman.domain.policy import Policy, Runs
from tallyman.domain.times import format_time, text_or_none
from tallyman.errors import BadInput, LeaseHeld, NotFound, TallymanError
from tallyman.ports.clocks import Clock
from tallyman.ports.messages import LONGEST_DELAY, Hints, Notices
from tallyman.ports.records import Ledger, State
from tallyman.ports.registries import ImageSource
from tallyman.ports.running import Moving, RollOuts
from tallyman.services.releases.rollout_progress import (
    DONE,
    FAILED,
    RUNNING,
    Progress,
    Step,
    left_unsteady,
    parse_hint,
    roll_out_hint,
    rollout_fact,
    steps_of,
)
from tallyman.services.shared.lease import Leases
from tallyman.state import leases, releases, rollouts
from tallyman.state.releases import RELEASES, ReleaseState
from tallyman.state.rollouts import ROLLOUTS, MovedService, RolloutState
from tallyman.values import value

LOOK = 5
"""Seconds between the first two looks at a service that is moving; the pauses grow up to LONGEST_LOOK."""
LONGEST_LOOK = 60
LIMIT = timedelta(hours=1)
"""How long one service may take to become steady."""


@value
class RollOutReleases:
    """The reaction to `Image Released`, and to its own continuations."""

    policy: Policy
    source: ImageSource
    rollouts: Mapping[Runs, RollOuts]
    ledger: Ledger
    state: State
    hints: Hints
    notices: Notices
    clock: Clock
    leases: Leases

    def handle(self, body: str) -> str:
        """Continue the rollout as far as possible without waiting, then send itself a hint for later; return the
        line for the log.

        Raises BadMessage for another message. Cost: a few calls a service, two writes a step, two for the lease.
        """
        environment, repository, due = parse_hint(body)
        steps = steps_of(self.policy.environment(environment), repository)
        if not steps:
            return "nothing to roll out"
        try:
            with self.leases.hold(environment, leases.of_rollout(repository), secrets.token_hex(8)):
                return self._go_on(environment, repository, steps, due)
        except LeaseHeld as busy:
            self._hint(environment, repository, ceil(busy.after), due)
            return "another worker holds the lease: looked at again when it is done"

    def _go_on(self, environment: str, repository: str, steps: list[Step], due: str | None) -> str:
        release = RELEASES.get(self.state, releases.key(environment, repository))
        if release is None:
            return "nothing to roll out"
        progress, begun = self._progress(environment, repository, release)
        if progress.rollout.status != RUNNING:
            return f"{progress.rollout.status} already"
        if begun and due is not None and due != text_or_none(progress.rollout.next_at):
            return "superseded by another hint"
        while step := _next(progress, steps):
            if wait := self._seconds_until(progress.rollout.not_before):
                return self._later(progress, wait, f"pausing before {step.registry}")
            try:  # each step is recorded before the next, so that `progress` is what lies in the table
                progress = self._begin(progress, step)
                progress = self._move(progress, step)
                moving = self.rollouts[step.service.runs].settled(step.registry, step.service, _moving(progress).moved)
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
        self._write(progress.having(status=DONE, said=None), rollout_fact(self.clock(), progress, None, DONE, None))
        return "rolled out"

    def _progress(self, environment: str, repository: str, release: ReleaseState) -> tuple[Progress, bool]:
        """The progress of the release, and whether its rollout was begun before."""
        entry = ROLLOUTS.read(self.state, rollouts.key(environment, repository))
        if entry.found is not None and entry.found.release == release.id:
            return Progress(environment, repository, entry), True
        unsteady = left_unsteady(entry.found) if entry.found else ()
        fresh = replace(entry, found=RolloutState(release.id, release.digest, RUNNING, unsteady=unsteady))
        return self._write(Progress(environment, repository, fresh)), False

    def _begin(self, progress: Progress, step: Step) -> Progress:
        """Record what the service runs before it is moved; once. Where an earlier rollout left it in motion, that is
        what it ran before that: it is not known to be steady with what it runs now."""
        moving = progress.rollout.moving
        if moving is not None and moving.key == step.key:
            return progress
        if moving is not None:  # the policy no longer names the service that was moving
            progress = progress.having(moved=progress.rollout.entries)
        current = self.rollouts[step.service.runs].current(step.registry, step.service)
        left = (e for e in progress.rollout.unsteady if e.key == step.key and e.moved in (None, current))
        before = next((entry.before for entry in left), current)
        return self._write(progress.having(moving=step.begun(before, self.clock())))

    def _move(self, progress: Progress, step: Step) -> Progress:
        """Move the service, unless that was done; its time limit begins now."""
        moving = _moving(progress)
        if moving.moved is not None:
            return progress
        image = self._image(progress, step)
        moved = self.rollouts[step.service.runs].move(step.registry, step.service, image)
        return self._write(progress.having(moving=replace(moving, moved=moved, image=image, since=self.clock())))

    def _image(self, progress: Progress, step: Step) -> str:
        """The image's address by digest; of the platform's image where the service needs a single architecture."""
        digest = progress.rollout.digest
        environment = self.policy.environment(progress.environment)
        (place,) = [p for p in environment.repositories(progress.repository) if p.registry == step.registry]
        architecture = self.rollouts[step.service.runs].architecture(step.registry, step.service)
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
        moved = (*progress.rollout.moved, replace(_moving(progress), said=moving.reason))
        after = progress.having(moving=None, moved=moved, not_before=None, said=None)
        following = _next(after, steps)
        rollout = self.policy.environment(progress.environment).rollout
        if following and rollout and rollout.pause and following.registry != step.registry:
            after = after.having(not_before=self.clock() + rollout.pause)
        return self._write(after, rollout_fact(self.clock(), progress, step, "moved", moving.reason))

    def _fail(self, progress: Progress, step: Step, reason: str) -> str:
        """Move everything back, the newest first, record the failure, and notify people. Return the line for the
        log."""
        failure = f"{step.service} in {step.registry}: {reason}"
        rollout = progress.rollout
        back = {entry.key: self._back(progress, entry) for entry in reversed(rollout.entries)}
        stuck = [f"{key[1]} in {key[0]} could not be moved back: {why}" for key, why in back.items() if why]
        reasons = "; ".join([failure, *stuck])
        moved = tuple(replace(entry, back=back[entry.key] or "done") for entry in rollout.moved)
        # a service that was never moved (it is not there) has nothing to move back
        moving = rollout.moving or step.begun(None, self.clock())
        moving = replace(moving, said=reason, back=back.get(step.key) or "done")
        subject = f"{progress.repository} was not rolled out to {progress.environment}"
        again = "" if stuck else "\nWhat it ran before runs again."
        text = f"{reasons}\nDigest: {rollout.digest}{again}"
        kind = {"kind": "roll-out", "environment": progress.environment, "repository": progress.repository}
        # sent before it is recorded: after a crash in between it is sent twice, never lost
        self.notices.publish(subject, text, kind)
        failed = progress.having(status=FAILED, reason=reasons, said=None, moved=moved, moving=moving)
        self._write(failed, rollout_fact(self.clock(), progress, step, FAILED, reasons))
        return f"failed: {failure}"

    def _back(self, progress: Progress, entry: MovedService) -> str | None:
        """Move a service back to what it ran before; return why that failed, None if it did not."""
        steps = steps_of(self.policy.environment(progress.environment), progress.repository)
        step = next((step for step in steps if step.key == entry.key), None)
        if step is None:
            return "the policy no longer names it"
        try:
            self.rollouts[step.service.runs].back(EcrRegistry.parse(entry.registry), step.service, entry.before)
        except TallymanError as error:
            if error.retryable:
                raise
            return str(error)
        return None

    def _write(self, progress: Progress, fact: Fact | None = None) -> Progress:
        """Write the progress, with the fact if there is one. Raises RevisionConflict where another worker was faster:
        the next try reads its progress."""
        progress = progress.having(at=self.clock())
        change = progress.entry.write(progress.rollout)
        if fact is None:
            self.state.put(change)
        else:
            self.ledger.append(fact, change)
        return replace(progress, entry=progress.entry.written(progress.rollout))

    def _later(self, progress: Progress, seconds: int, said: str) -> str:
        delay = min(seconds, LONGEST_DELAY)
        due = self.clock() + timedelta(seconds=delay)
        # sent before it is recorded: after a crash in between the present message is delivered again
        self._hint(progress.environment, progress.repository, delay, format_time(due))
        self._write(progress.having(next_at=due, said=said))
        return said

    def _hint(self, environment: str, repository: str, delay: int, due: str | None) -> None:
        self.hints.send("roll_out", roll_out_hint(environment, repository, due), delay=delay)

    def _waited(self, progress: Progress) -> timedelta:
        moving = progress.rollout.moving
        return self.clock() - moving.since if moving else timedelta()

    def _look(self, progress: Progress) -> int:
        return int(min(max(LOOK, self._waited(progress).total_seconds() / 4), LONGEST_LOOK))

    def _seconds_until(self, moment: datetime | None) -> int:
        """Whole seconds until then, rounded up; 0 where it is past or None."""
        if moment is None:
            return 0
        return max(0, int((moment - self.clock()).total_seconds() + 0.999))


def _moving(progress: Progress) -> MovedService:
    moving = progress.rollout.moving
    assert moving is not None  # `_begin` has set it
    return moving


def _next(progress: Progress, steps: list[Step]) -> Step | None:
    """The service that is moving, else the first that was not moved; None: all were. Compared by key, so that a changed
    policy moves no service twice."""
    done = {entry.key for entry in progress.rollout.moved}
    moving = progress.rollout.moving.key if progress.rollout.moving else None
    left = [step for step in steps if step.key not in done]
    return min(left, key=lambda step: step.key != moving, default=None)
