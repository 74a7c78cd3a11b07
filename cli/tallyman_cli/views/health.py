"""The health of the stack: sweeps, missed events, dead letters, stowaways, noncompliant images, its cost."""

from collections.abc import Sequence
from datetime import timedelta
from itertools import islice
from typing import Any

from tallyman.domain.costs import Prices
from tallyman.domain.history.details.releases import Stowaway
from tallyman.domain.history.details.upkeep import Missed
from tallyman.domain.history.facts import Fact, Kind, Via
from tallyman.domain.times import format_time, text_or_none
from tallyman.errors import TallymanError
from tallyman.state.policy import KEY, POLICY
from tallyman_cli.promotion import rollouts
from tallyman_cli.promotion.pending import noncompliant
from tallyman_cli.shared.context import Stack
from tallyman_cli.shared.stack_names import LETTERS, QUEUES, is_of, messages
from tallyman_cli.views import places
from tallyman_cli.views.cost import cost

LATE = timedelta(hours=24)
"""Repositories that were not swept for this long are listed."""
_LOOKED_AT = 500
"""Facts of an environment that are read for missed events."""
_RECENT = 20_000
"""Facts of the last two days that are read for lag and stowaways."""


def health(stack: Stack, name: str, prices: Prices) -> dict[str, Any]:
    """`{at, policy, sweeps, lag, missed, letters, noncompliant, rollouts, stowaways, cost}`; `letters.error` says why
    queues can't be read. Cost: some Queries an environment and a GetQueueAttributes a queue; no registry is asked."""
    environments = list(stack.policy.environments)
    recent = list(islice(stack.ledger.written_since(stack.clock() - timedelta(days=2)), _RECENT))
    return {
        "at": format_time(stack.clock()),
        "policy": _policy(stack),
        "sweeps": _sweeps(stack),
        "missed": _missed(stack, environments),
        "lag": _lag(recent),
        "stowaways": _stowaways(recent),
        "letters": letters(stack, name),
        "noncompliant": noncompliant(stack, environments),
        "rollouts": list(rollouts.unfinished(stack, environments)),
        "cost": cost(stack, prices),
    }


def letters(stack: Stack, name: str) -> dict[str, Any]:
    """How many messages are in the stack's queues: `{queues: [{queue, letters}], waiting: [{queue, messages}], error}`.
    `queues`: those of dead letters and undelivered events; `waiting`: those of messages for the functions."""
    found, waiting, error = [], [], None
    try:
        for queue, count in messages(stack.clients().get("sqs"), name, QUEUES):
            if is_of(name, queue, LETTERS):
                found.append({"queue": queue, "letters": count})
            else:
                waiting.append({"queue": queue, "messages": count})
    except TallymanError as failure:
        error = str(failure)
    return {"queues": found, "waiting": waiting, "error": error}


def _policy(stack: Stack) -> dict[str, Any]:
    in_force = POLICY.get(stack.state, KEY)
    return {
        "in_force": in_force.digest if in_force else None,
        "since": format_time(in_force.at) if in_force else None,
        "given": stack.given.digest if stack.given is not None else None,
        "warnings": list(stack.policy.warnings),
    }


def _sweeps(stack: Stack) -> dict[str, Any]:
    swept = places.sweeps(stack)
    now = stack.clock()
    times = [data.swept for data in swept.values() if data.swept]
    late = [
        {"place": str(place), "swept": text_or_none(data.swept)}
        for place, data in sorted(swept.items())
        if data.swept is None or now - data.swept > LATE
    ]
    return {
        "repositories": len(swept),
        "images": sum(data.images or 0 for data in swept.values()),
        "bytes": sum(data.bytes or 0 for data in swept.values()),
        "newest": text_or_none(max(times, default=None)),
        "oldest": text_or_none(min(times, default=None)),
        "late": late[:50],
        "late_total": len(late),
    }


def _missed(stack: Stack, environments: list[str]) -> list[dict[str, Any]]:
    found = [
        {"environment": e, "at": format_time(f.at), **Missed.parse(f).dump()}
        for e in environments
        for f in islice(stack.ledger.of_environment(e), _LOOKED_AT)
        if f.kind is Kind.MISSED
    ]
    return sorted(found, key=lambda row: row["at"], reverse=True)[:20]


def _lag(facts: Sequence[Fact]) -> dict[str, Any]:
    """The time from a push to its fact in the ledger, for pushes of the last two days that an event reported: `{pushes,
    p50_s, p95_s, longest_s}` in seconds, null without a push. Event times have whole seconds."""
    waited = sorted(
        max(0.0, (f.seen - f.at).total_seconds()) for f in facts if f.kind is Kind.PUSHED and f.via is Via.EVENT
    )

    def at(share: float) -> float | None:
        return round(waited[min(len(waited) - 1, int(len(waited) * share))], 1) if waited else None

    return {"pushes": len(waited), "p50_s": at(0.5), "p95_s": at(0.95), "longest_s": at(1)}


def _stowaways(facts: Sequence[Fact]) -> list[dict[str, Any]]:
    """The newest 20 images that came into an environment without a promotion."""
    found = [
        {
            "at": format_time(f.at),
            "environment": Stowaway.parse(f).environment,
            "place": str(f.repository),
            "tag": f.tag,
            "digest": f.digest,
            "actor": f.actor,
        }
        for f in facts
        if f.kind is Kind.STOWAWAY
    ]
    return found[::-1][:20]
