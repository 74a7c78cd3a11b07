"""Retention as people look at it: repositories and their last runs, a plan, two policies side by side, a replay."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from tallyman.domain.costs import Prices
from tallyman.domain.history.details.retention import Removed
from tallyman.domain.history.facts import Kind
from tallyman.domain.names import Repository
from tallyman.domain.policy import Policy
from tallyman.domain.retention.replay import Gone
from tallyman.domain.times import format_time
from tallyman.state import marks as mark_items
from tallyman.state import retention as retention_items
from tallyman.state.marks import MARKS
from tallyman.state.retention import RUNS
from tallyman_cli.retention import plan as retention_plan
from tallyman_cli.retention.past import as_data, gone
from tallyman_cli.shared.context import Stack
from tallyman_cli.views import places
from tallyman_cli.views.cost import held

POINTS = 120
"""Points of a replay at most."""


def overview(stack: Stack) -> list[dict[str, Any]]:
    """`{repository, environment, registry, place, images, bytes, enforced, rules, run}` of each repository that is
    known. Three Queries."""
    runs = {e.sk: e.value.dump() for e in RUNS.list(stack.state, retention_items.RUNS_PARTITION)}
    found = []
    for place, data in sorted(places.sweeps(stack).items()):
        environment, name = places.canonical(stack.policy, place)
        rule = stack.policy.repository(name).retention
        run = runs.get(str(place))
        found.append(
            {
                "repository": name,
                "environment": environment,
                "registry": str(place.registry),
                "place": str(place),
                "images": data.images,
                "bytes": data.bytes,
                "enforced": rule.enforce,
                "rules": [str(keep) for keep in rule.keep or ()] if rule.keep is not None else None,
                "run": {k: run[k] for k in ("at", "outcome", "refused")} if run else None,
            }
        )
    return found


def plan(stack: Stack, place: Repository, prices: Prices, other: Policy | None = None) -> dict[str, Any]:
    """The form of `retention plan --json`, with `marked` and `removed` (proofs); with `other`, that policy's plan as
    `beside`, and `changes`: the images for which the two plans differ.

    Cost: the inventory of the repository and every source of usage, once for each policy.
    """
    made, _ = retention_plan.make(stack, place)
    found = retention_plan.as_data(made, prices)
    found["marked"] = {
        entry.sk: format_time(entry.value.marked_at) for entry in MARKS.list(stack.state, mark_items.partition(place))
    }
    found["removed"] = removed(stack, place)
    found["beside"], found["changes"] = None, []
    if other is not None:
        made_beside, _ = retention_plan.make(replace(stack, given=other), place)
        found["beside"] = retention_plan.as_data(made_beside, prices)
        found["changes"] = _changes(found["images"], found["beside"]["images"])
    return found


def removed(stack: Stack, place: Repository, most: int = 50) -> list[dict[str, Any]]:
    """What retention removed, the newest first: `{digest, at, reason, proof, action}`. Reads the newest 2,000 facts."""
    found: list[dict[str, Any]] = []
    for number, fact in enumerate(stack.ledger.of_repository(place, page=500)):
        if number == 2_000 or len(found) == most:
            break
        if fact.kind is Kind.REMOVED:
            found.append(
                {
                    "digest": fact.digest,
                    "at": format_time(fact.at),
                    "reason": Removed.parse(fact).reason,
                    "proof": Removed.parse(fact).proof,
                    "action": Removed.parse(fact).action,
                }
            )
    return found


def replay(stack: Stack, place: Repository, since: datetime, until: datetime) -> dict[str, Any]:
    """The form of `retention replay --json`, with `since`, `until` and `points`, `{at, images, bytes, would_images,
    would_bytes}`: what the repository held, and would have held under the policy, over time."""
    past = gone(stack, place, since, until)
    return {
        **as_data(stack, place, past),
        "since": format_time(since),
        "until": format_time(until),
        "points": _points(stack, place, past.gone, since, until),
    }


def _points(
    stack: Stack, place: Repository, found: Sequence[Gone], since: datetime, until: datetime
) -> list[dict[str, Any]]:
    step = max((until - since) / POINTS, timedelta(seconds=1))
    moments = [since + number * step for number in range(-((since - until) // step))] + [until]
    facts = list(stack.ledger.of_repository(place, until))
    would = held(facts, moments, [(image.at, image.digest) for image in found])
    return [
        {
            "at": format_time(at),
            "images": images,
            "bytes": size,
            "would_images": would_images,
            "would_bytes": would_size,
        }
        for at, (images, size), (would_images, would_size) in zip(moments, held(facts, moments), would, strict=True)
    ]


def _changes(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    old = {image["digest"]: image for image in before}
    return [
        {
            "digest": image["digest"],
            "tags": image["tags"],
            "size": image["size"],
            "from": old[image["digest"]]["action"],
            "to": image["action"],
            "reason": image["reason"],
            "was": old[image["digest"]]["reason"],
        }
        for image in after
        if image["digest"] in old and old[image["digest"]]["action"] != image["action"]
    ]
