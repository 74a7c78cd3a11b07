"""The progress of a rollout, which roll_out writes and reconcile and people read; and the hints to roll_out."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

from tallyman.domain.history.details.base import new_fact
from tallyman.domain.history.details.releases import RolledOut
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.images.documents import loads_writable
from tallyman.domain.names import EcrRegistry
from tallyman.domain.policy import Environment, Policy, Service
from tallyman.domain.times import format_time, text_or_none
from tallyman.errors import BadMessage
from tallyman.ports.records import Ledger, State
from tallyman.services.releases.pointer import RELEASED
from tallyman.state import releases, rollouts
from tallyman.state.items import Entry
from tallyman.state.releases import RELEASES, ReleaseState
from tallyman.state.rollouts import ROLLOUTS, MovedService, RolloutState
from tallyman.values import value

RUNNING, DONE, FAILED, NOT_BEGUN = "running", "done", "failed", "not_begun"
"""The statuses of a rollout and of each of its targets."""
ROLLED_BACK, STUCK = "rolled_back", "stuck"
"""Further statuses of a target: it was moved back to what it ran before; it could not be moved back."""


@value
class Step:
    """One service in one registry."""

    registry: EcrRegistry
    service: Service

    @property
    def key(self) -> tuple[str, str, str | None]:
        """The key of the step in its rollout: registry, service, and the service's container or alias."""
        return str(self.registry), str(self.service), self.service.container or self.service.alias

    def begun(self, before: Any, since: datetime) -> MovedService:
        """The record of the service before it is moved: `before` is what it runs."""
        return MovedService(*self.key, before=before, moved=None, since=since)


def left_unsteady(last: RolloutState) -> tuple[MovedService, ...]:
    """The services that may not be steady when a newer release ends this rollout, each with what it ran before: the one
    that was moving, those that could not be moved back, and those that an earlier rollout left so and this one did not
    reach."""
    if last.status == DONE:
        return ()
    if last.status == FAILED:  # each was moved back, or it is said why it could not be
        left = [entry for entry in last.entries if entry.back != "done"]
    else:
        left = [last.moving] if last.moving else []
    touched = {entry.key for entry in last.entries}
    return (*(entry for entry in last.unsteady if entry.key not in touched), *left)


@value
class Progress:
    """The progress of the rollout of an environment's repository: the entry that was read, with unwritten changes."""

    environment: str
    repository: str
    entry: Entry[RolloutState]

    @property
    def rollout(self) -> RolloutState:
        """The value of the item."""
        return self.entry.value

    def having(self, **changes: Any) -> "Progress":
        """The progress with these changes of its value."""
        return replace(self, entry=replace(self.entry, found=replace(self.rollout, **changes)))


def steps_of(environment: Environment, repository: str) -> list[Step]:
    """The services that a release of the repository moves, in order; empty where the policy names none."""
    services = [s for s in environment.rollout.services if s.repository == repository] if environment.rollout else []
    return [Step(registry, service) for registry in environment.registries for service in services]


def rollout_fact(now: datetime, progress: Progress, step: Step | None, outcome: str, reason: str | None) -> Fact:
    """The fact that a step was `moved` or `failed`, or that the rollout is `done` (no step)."""
    rollout = progress.rollout
    where = step.key if step else (None, None, None)
    moved = next((entry for entry in rollout.entries if step and entry.key == step.key), None)
    details = RolledOut(
        repository=progress.repository,
        release=rollout.release,
        registry=where[0],
        service=where[1],
        part=where[2],
        outcome=outcome,
        reason=reason,
        before=moved.before if moved else None,
        image=moved.image if moved else None,
    )
    key = (rollout.release, *where, outcome)
    return new_fact(Kind.ROLLED_OUT, key, details, now, digest=rollout.digest, environment=progress.environment)


def rollout_of(
    policy: Policy, state: State, environment: str, repository: str, release: str | None
) -> dict[str, Any] | None:
    """The state of a release's rollout: {status, reason, said, at, next_at, targets: [{registry, service, part, state,
    before, image, since, said}]}; None where the policy moves nothing and nothing was moved. One GetItem.

    `reason`: why it failed. A target is not_begun, running, done, failed, rolled_back (to `before`) or stuck (`said`:
    why it could not be moved back). A target that was moved stays in the list when the policy no longer names it.
    """
    rollout = ROLLOUTS.get(state, rollouts.key(environment, repository))
    return _view(policy.environment(environment), repository, release, rollout)


def rollouts_of(
    policy: Policy, state: State, environment: str
) -> Iterator[tuple[Entry[ReleaseState], dict[str, Any] | None]]:
    """Yield every release of an environment with the state of its rollout, as `rollout_of`. Two Queries."""
    begun = {entry.sk: entry.value for entry in ROLLOUTS.list(state, rollouts.partition(environment))}
    for release in RELEASES.list(state, releases.partition(environment)):
        view = _view(policy.environment(environment), release.sk, release.value.id, begun.get(release.sk))
        yield release, view


def _view(
    environment: Environment, repository: str, release: str | None, rollout: RolloutState | None
) -> dict[str, Any] | None:
    if rollout is not None and rollout.release != release:
        rollout = None
    steps = steps_of(environment, repository)
    if not steps and rollout is None:
        return None
    view, begun = _rollout(NOT_BEGUN), {}
    if rollout is not None:
        view.update(status=rollout.status, reason=rollout.reason, said=rollout.said, at=text_or_none(rollout.at))
        view["next_at"] = text_or_none(rollout.next_at) if rollout.status == RUNNING else None
        begun = {entry.key: _begun(entry, rollout) for entry in rollout.entries}
    planned = [begun.pop(step.key, _target(step.key, NOT_BEGUN)) for step in steps]
    return {**view, "targets": [*planned, *begun.values()]}


def recorded_rollouts(
    ledger: Ledger, environment: str, repository: str, until: datetime | None
) -> dict[str, dict[str, Any]]:
    """The states of rollouts by release, in the form of `rollout_of`, from the ledger: the last ones, or those at
    `until`. `targets` has only those that were moved by then; the reason of a failed one names what could not be moved
    back. Reads the facts of the repository in the environment."""
    outcomes: dict[str, dict[str, Any]] = {}
    facts = [f for f in ledger.of_environment(environment, repository) if f.kind is Kind.ROLLED_OUT]
    for fact in reversed([f for f in facts if until is None or f.at <= until]):
        detail = RolledOut.parse(fact)
        found = outcomes.setdefault(detail.release, _rollout(RUNNING))
        found["at"] = format_time(fact.at)
        if detail.outcome == FAILED:
            found.update(status=FAILED, reason=detail.reason)
            for target in found["targets"]:
                target["state"] = ROLLED_BACK
        elif detail.outcome == DONE:
            found["status"] = DONE
            continue
        key, state = (detail.registry, detail.service, detail.part), FAILED if detail.outcome == FAILED else DONE
        found["targets"].append(_target(key, state, detail.before, detail.image, fact.at, detail.reason))
    return outcomes


def _rollout(status: str) -> dict[str, Any]:
    return {"status": status, "reason": None, "said": None, "at": None, "next_at": None, "targets": []}


def _begun(entry: MovedService, rollout: RolloutState) -> dict[str, Any]:
    said, state = entry.said, DONE if entry.back is None else ROLLED_BACK
    if entry is rollout.moving:
        state = rollout.status  # running, or failed: this is the one that did
    if entry.back not in (None, "done"):
        state, said = STUCK, entry.back
    return _target(entry.key, state, entry.before, entry.image, entry.since, said)


def _target(
    key: tuple[str | None, str | None, str | None],
    state: str,
    before: Any = None,
    image: str | None = None,
    since: datetime | None = None,
    said: str | None = None,
) -> dict[str, Any]:
    registry, service, part = key
    return {
        "registry": registry,
        "service": service,
        "part": part,
        "state": state,
        "before": before,
        "image": image,
        "since": text_or_none(since),
        "said": said,
    }


def roll_out_hint(environment: str, repository: str, due: str | None = None) -> dict[str, Any]:
    """The message of a hint to roll_out. `due`: when it is due; without it, it is handled whatever else is
    scheduled."""
    return {"roll_out": {"environment": environment, "repository": repository, "due": due}}


def parse_hint(body: str) -> tuple[str, str, str | None]:
    """Parse `Image Released` or a hint to (environment, repository, due or None). Raises BadMessage."""
    try:
        message: Any = loads_writable(body)
    except ValueError as error:
        raise BadMessage(f"the message is not JSON ({error})") from None
    if isinstance(message, dict):
        asked = message.get("roll_out") or (message.get("detail") if message.get("detail-type") == RELEASED else None)
        if (
            isinstance(asked, dict)
            and isinstance(asked.get("environment"), str)
            and isinstance(asked.get("repository"), str)
        ):
            due = asked.get("due") if "roll_out" in message else None
            return asked["environment"], asked["repository"], due if isinstance(due, str) else None
    raise BadMessage(f"the message is not a rollout: expected the event '{RELEASED}', or a hint of our own")
