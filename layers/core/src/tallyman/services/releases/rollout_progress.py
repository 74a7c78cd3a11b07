"""How far a roll-out is: what roll_out writes down, what reconcile goes by, what people see; and the hints to it."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from tallyman.domain.history.facts import Fact, Kind, Via, fact_id
from tallyman.domain.names import Digest, Registry
from tallyman.domain.policy import Environment, Policy, Service
from tallyman.domain.times import format_time, whole_millis
from tallyman.errors import BadMessage
from tallyman.ports.records import Ledger, State, StateItem
from tallyman.services.releases.pointer import RELEASED, release_partition
from tallyman.values import value

RUNNING, DONE, FAILED, NOT_BEGUN = "running", "done", "failed", "not_begun"
"""What becomes of a roll-out, and of each of its targets."""
ROLLED_BACK, STUCK = "rolled_back", "stuck"
"""What becomes of a target besides: it runs again what it ran before; it could not be put back."""


def roll_out_partition(environment: str) -> str:
    """The partition of the state table with an environment's roll-outs, one item a repository.

    `data`: {release, digest, status (running, done, failed), moving, moved, not_before: no next registry before then;
    reason: why it failed; said: what it waits for; at: when it was written; next_at: when the next look is due}.
    `moving` and each of `moved`: {registry, service, part, before, moved, image, since, said, back (after a failure:
    `done`, or why it could not be put back)}.
    """
    return f"RO#{environment}"


def roll_out_lease(repository: str) -> str:
    """The sk of the lease on a roll-out, in `lease_partition` of its environment; no repository is called so."""
    return f"roll-out {repository}"


@value
class Step:
    """One service in one registry."""

    registry: Registry
    service: Service

    @property
    def key(self) -> tuple[str, str, str | None]:
        """What no other step of a roll-out has: registry, service, and its container or alias."""
        return str(self.registry), str(self.service), self.service.container or self.service.alias

    @property
    def as_data(self) -> dict[str, Any]:
        """The key, as an entry of `moved` begins."""
        return dict(zip(("registry", "service", "part"), self.key, strict=True))


@value
class Progress:
    """The state's item, as a value."""

    environment: str
    repository: str
    revision: int
    data: Mapping[str, Any]

    def having(self, **changes: Any) -> "Progress":
        """The same, with changes."""
        return replace(self, data={**self.data, **changes})

    @property
    def entries(self) -> list[Mapping[str, Any]]:
        """What was moved, the one that is moving last."""
        return list(_entries(self.data))


def key_of(entry: Mapping[str, Any]) -> tuple[str, str, str | None]:
    """The key of the step that an entry of `moved` is of."""
    return entry["registry"], entry["service"], entry.get("part")


def steps_of(environment: Environment, repository: str) -> list[Step]:
    """What a release of the repository moves, in order; empty where the policy moves nothing."""
    services = [s for s in environment.rollout.services if s.repository == repository] if environment.rollout else []
    return [Step(registry, service) for registry in environment.registries for service in services]


def roll_out_fact(now: datetime, progress: Progress, step: Step | None, outcome: str, reason: str | None) -> Fact:
    """That a step was `moved` or `failed`, or that all is `done` (no step)."""
    now = whole_millis(now)
    release = progress.data["release"]
    where = step.key if step else (None, None, None)
    moved = next((entry for entry in progress.entries if step and key_of(entry) == step.key), {})
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
            "part": where[2],
            "outcome": outcome,
            "reason": reason,
            "before": moved.get("before"),
            "image": moved.get("image"),
        },
    )


def roll_out_of(
    policy: Policy, state: State, environment: str, repository: str, release: str | None
) -> dict[str, Any] | None:
    """How the roll-out of a release is: {status, reason, said, at, next_at, targets: [{registry, service, part, state,
    before, image, since, said}]}; None where there is none: nothing moves, and nothing was moved. One GetItem.

    `reason`: why it failed. A target is not_begun, running, done, failed, rolled_back (to `before`) or stuck (`said`
    tells why it could not be put back). One that a policy no longer names is still there once it was moved.
    """
    item = state.get(roll_out_partition(environment), repository)
    return _view(policy.environment(environment), repository, release, item)


def roll_outs_of(policy: Policy, state: State, environment: str) -> Iterator[tuple[StateItem, dict[str, Any] | None]]:
    """The same of every release of an environment, each with its release. Two Queries."""
    begun = {item.sk: item for item in state.list(roll_out_partition(environment))}
    for release in state.list(release_partition(environment)):
        item = begun.get(release.sk)
        yield release, _view(policy.environment(environment), release.sk, release.data["id"], item)


def _view(
    environment: Environment, repository: str, release: str | None, item: StateItem | None
) -> dict[str, Any] | None:
    data: Mapping[str, Any] = item.data if item is not None and item.data["release"] == release else {}
    steps = steps_of(environment, repository)
    if not steps and not data:
        return None
    begun = {key_of(entry): dict(_target(entry, data)) for entry in _entries(data)}
    fresh: dict[str, Any] = {"state": NOT_BEGUN, "before": None, "image": None, "since": None, "said": None}
    planned = [begun.pop(step.key, {**step.as_data, **fresh}) for step in steps]
    return {
        "status": data.get("status", NOT_BEGUN),
        "reason": data.get("reason"),
        "said": data.get("said"),
        "at": data.get("at"),
        "next_at": data.get("next_at") if data.get("status") == RUNNING else None,
        "targets": [*planned, *begun.values()],
    }


def roll_out_told(
    ledger: Ledger, environment: str, repository: str, until: datetime | None
) -> dict[str, dict[str, Any]]:
    """The same by release, as the ledger tells it: of what is over, or as it was at `until`. `targets` are only those
    that were moved by then; of one that failed the reason names what could not be put back. Reads the facts of the
    repository in the environment."""
    told: dict[str, dict[str, Any]] = {}
    facts = [f for f in ledger.of_environment(environment, repository) if f.kind is Kind.ROLLED_OUT]
    for fact in reversed([f for f in facts if until is None or f.at <= until]):
        detail = fact.detail
        fresh: dict[str, Any] = {
            "status": RUNNING,
            "reason": None,
            "said": None,
            "at": None,
            "next_at": None,
            "targets": [],
        }
        found = told.setdefault(detail["release"], fresh)
        found["at"] = format_time(fact.at)
        if detail["outcome"] == FAILED:
            found.update(status=FAILED, reason=detail["reason"])
            for target in found["targets"]:
                target["state"] = ROLLED_BACK
        elif detail["outcome"] == DONE:
            found["status"] = DONE
            continue
        found["targets"].append({
            "registry": detail["registry"],
            "service": detail["service"],
            "part": detail.get("part"),
            "state": FAILED if detail["outcome"] == FAILED else DONE,
            "before": detail.get("before"),
            "image": detail.get("image"),
            "since": format_time(fact.at),
            "said": detail["reason"],
        })  # fmt: skip
    return told


def _entries(data: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from data.get("moved") or ()
    if data.get("moving"):
        yield data["moving"]


def _target(entry: Mapping[str, Any], data: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield from zip(("registry", "service", "part"), key_of(entry), strict=True)
    back, said = entry.get("back"), entry.get("said")
    state = DONE if back is None else ROLLED_BACK
    if entry is data["moving"]:
        state = data["status"]  # running, or failed: this is the one that did
    if back not in (None, "done"):
        state, said = STUCK, back
    yield from (("state", state), ("before", entry["before"]), ("image", entry.get("image")))
    yield from (("since", entry["since"]), ("said", said))


def roll_out_hint(environment: str, repository: str, due: str | None = None) -> dict[str, Any]:
    """What a hint of our own says. `due`: the look that it is; without it, it looks whatever else is under way."""
    return {"roll_out": {"environment": environment, "repository": repository, "due": due}}


def parse_hint(body: str) -> tuple[str, str, str | None]:
    """Of `Image Released`, or of a hint of our own: environment, repository, and when the look is due; BadMessage."""
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
            due = told.get("due") if "roll_out" in message else None
            return told["environment"], told["repository"], due if isinstance(due, str) else None
    raise BadMessage(f"the message is no roll-out: expected the event '{RELEASED}', or a hint of our own")
