"""The progress of a roll-out: saved by roll_out, read by reconcile and people; and the hints to it."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

from tallyman.domain.history.details.releases import RolledOut
from tallyman.domain.history.facts import Fact, Kind, Via, fact_id
from tallyman.domain.images.documents import loads_writable
from tallyman.domain.names import EcrRegistry
from tallyman.domain.policy import Environment, Policy, Service
from tallyman.domain.times import format_time, whole_millis
from tallyman.errors import BadMessage
from tallyman.ports.records import Ledger, State
from tallyman.services.releases.pointer import RELEASED
from tallyman.state import releases, rollouts
from tallyman.state.items import Entry, text_or_none
from tallyman.state.releases import RELEASES, ReleaseState
from tallyman.state.rollouts import ROLLOUTS, MovedService, RolloutState
from tallyman.values import value

RUNNING, DONE, FAILED, NOT_BEGUN = "running", "done", "failed", "not_begun"
"""What becomes of a roll-out, and of each of its targets."""
ROLLED_BACK, STUCK = "rolled_back", "stuck"
"""What becomes of a target besides: it runs again what it ran before; it could not be put back."""


@value
class Step:
    """One service in one registry."""

    registry: EcrRegistry
    service: Service

    @property
    def key(self) -> tuple[str, str, str | None]:
        """What no other step of a roll-out has: registry, service, and its container or alias."""
        return str(self.registry), str(self.service), self.service.container or self.service.alias

    def begun(self, before: Any, since: datetime) -> MovedService:
        """What is recorded of it before it is moved."""
        return MovedService(*self.key, before=before, moved=None, since=since)


@value
class Progress:
    """How far the roll-out of an environment's repository is: as it was read, with what is yet to be written."""

    environment: str
    repository: str
    entry: Entry[RolloutState]

    @property
    def rollout(self) -> RolloutState:
        """The item's value."""
        return self.entry.value

    def having(self, **changes: Any) -> "Progress":
        """The same, with changes."""
        return replace(self, entry=replace(self.entry, found=self.rollout.having(**changes)))


def steps_of(environment: Environment, repository: str) -> list[Step]:
    """What a release of the repository moves, in order; empty where the policy moves nothing."""
    services = [s for s in environment.rollout.services if s.repository == repository] if environment.rollout else []
    return [Step(registry, service) for registry in environment.registries for service in services]


def roll_out_fact(now: datetime, progress: Progress, step: Step | None, outcome: str, reason: str | None) -> Fact:
    """That a step was `moved` or `failed`, or that all is `done` (no step)."""
    now = whole_millis(now)
    rollout = progress.rollout
    where = step.key if step else (None, None, None)
    moved = next((entry for entry in rollout.entries if step and entry.key == step.key), None)
    return Fact(
        kind=Kind.ROLLED_OUT,
        id=fact_id(Kind.ROLLED_OUT, rollout.release, *where, outcome),
        at=now,
        seen=now,
        via=Via.RECONCILED,
        digest=rollout.digest,
        environment=progress.environment,
        detail=RolledOut(
            repository=progress.repository,
            release=rollout.release,
            registry=where[0],
            service=where[1],
            part=where[2],
            outcome=outcome,
            reason=reason,
            before=moved.before if moved else None,
            image=moved.image if moved else None,
        ).dump(),
    )


def roll_out_of(
    policy: Policy, state: State, environment: str, repository: str, release: str | None
) -> dict[str, Any] | None:
    """How the roll-out of a release is: {status, reason, said, at, next_at, targets: [{registry, service, part, state,
    before, image, since, said}]}; None where there is none: nothing moves, and nothing was moved. One GetItem.

    `reason`: why it failed. A target is not_begun, running, done, failed, rolled_back (to `before`) or stuck (`said`
    says why it could not be put back). One that a policy no longer names is still there once it was moved.
    """
    rollout = ROLLOUTS.get(state, rollouts.key(environment, repository))
    return _view(policy.environment(environment), repository, release, rollout)


def roll_outs_of(
    policy: Policy, state: State, environment: str
) -> Iterator[tuple[Entry[ReleaseState], dict[str, Any] | None]]:
    """The same of every release of an environment, each with its release. Two Queries."""
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
    begun = {entry.key: _target(entry, rollout) for entry in rollout.entries} if rollout else {}
    planned = [begun.pop(step.key, _not_begun(step)) for step in steps]
    return {
        "status": rollout.status if rollout else NOT_BEGUN,
        "reason": rollout.reason if rollout else None,
        "said": rollout.said if rollout else None,
        "at": text_or_none(rollout.at) if rollout else None,
        "next_at": text_or_none(rollout.next_at) if rollout and rollout.status == RUNNING else None,
        "targets": [*planned, *begun.values()],
    }


def roll_out_told(
    ledger: Ledger, environment: str, repository: str, until: datetime | None
) -> dict[str, dict[str, Any]]:
    """The same by release, as the ledger has it: of what is over, or as it was at `until`. `targets` are only those
    that were moved by then; of one that failed the reason names what could not be put back. Reads the facts of the
    repository in the environment."""
    outcomes: dict[str, dict[str, Any]] = {}
    facts = [f for f in ledger.of_environment(environment, repository) if f.kind is Kind.ROLLED_OUT]
    for fact in reversed([f for f in facts if until is None or f.at <= until]):
        detail = RolledOut.parse(fact)
        fresh: dict[str, Any] = {
            "status": RUNNING,
            "reason": None,
            "said": None,
            "at": None,
            "next_at": None,
            "targets": [],
        }
        found = outcomes.setdefault(detail.release, fresh)
        found["at"] = format_time(fact.at)
        if detail.outcome == FAILED:
            found.update(status=FAILED, reason=detail.reason)
            for target in found["targets"]:
                target["state"] = ROLLED_BACK
        elif detail.outcome == DONE:
            found["status"] = DONE
            continue
        found["targets"].append({
            "registry": detail.registry,
            "service": detail.service,
            "part": detail.part,
            "state": FAILED if detail.outcome == FAILED else DONE,
            "before": detail.before,
            "image": detail.image,
            "since": format_time(fact.at),
            "said": detail.reason,
        })  # fmt: skip
    return outcomes


def _not_begun(step: Step) -> dict[str, Any]:
    registry, service, part = step.key
    fresh = {"state": NOT_BEGUN, "before": None, "image": None, "since": None, "said": None}
    return {"registry": registry, "service": service, "part": part, **fresh}


def _target(entry: MovedService, rollout: RolloutState) -> dict[str, Any]:
    said, state = entry.said, DONE if entry.back is None else ROLLED_BACK
    if entry is rollout.moving:
        state = rollout.status  # running, or failed: this is the one that did
    if entry.back not in (None, "done"):
        state, said = STUCK, entry.back
    return {
        "registry": entry.registry,
        "service": entry.service,
        "part": entry.part,
        "state": state,
        "before": entry.before,
        "image": entry.image,
        "since": format_time(entry.since),
        "said": said,
    }


def roll_out_hint(environment: str, repository: str, due: str | None = None) -> dict[str, Any]:
    """What a hint of our own says. `due`: the look that it is; without it, it looks whatever else is under way."""
    return {"roll_out": {"environment": environment, "repository": repository, "due": due}}


def parse_hint(body: str) -> tuple[str, str, str | None]:
    """Of `Image Released`, or of a hint of our own: environment, repository, and when the look is due; BadMessage."""
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
    raise BadMessage(f"the message is not a roll-out: expected the event '{RELEASED}', or a hint of our own")
