"""Makes the retention plan as of now, and shows it."""

from datetime import datetime
from typing import Any

from tallyman.domain.costs import Prices
from tallyman.domain.names import Repository
from tallyman.domain.retention import Plan, Reading
from tallyman.domain.times import format_time
from tallyman.ports.clocks import no_limit
from tallyman.services.retention.plan_retention import Look
from tallyman_cli.shared import context, output


def make(stack: context.Stack, place: Repository) -> tuple[Plan, list[Reading]]:
    """The plan as of now, with the readings of usage that it used. Writes nothing."""
    inputs, inventories = stack.retention_inputs(stack.policy)
    look = Look.first(inputs, inventories, place, no_limit)
    return look.plan, look.readings


def as_data(made: Plan, prices: Prices) -> dict[str, Any]:
    """A plan as `retention plan --json` prints it."""
    return {
        "repository": str(made.inventory.repository),
        "policy": made.policy,
        "images": [
            {
                "digest": image.digest,
                "tags": list(image.tags),
                "kind": image.kind,
                "family": image.family,
                "pushed_at": format_time(image.pushed_at),
                "size": image.size,
                "action": image.action,
                "reason": image.reason,
                "protections": [{"name": name, "reason": reason} for name, reason in image.protections],
            }
            for image in made.images()
        ],
        "freed_bytes": made.freed_bytes,
        "refused": "; ".join(made.refused) or None,
        "saves": _saved(made, prices),
        "enforced": made.retention.enforce,
    }


def show(made: Plan, prices: Prices, now: datetime) -> None:
    """Print a plan as a table."""
    output.table(
        {
            "tags": " ".join(image.tags[:4]) + (f" (+{len(image.tags) - 4})" if len(image.tags) > 4 else ""),
            "digest": image.digest,
            "kind": image.kind,
            "age": f"{(now - image.pushed_at).days}d",
            "size": output.size(image.size),
            "action": image.action,
            "reason": image.reason,
        }
        for image in made.images()
    )
    money = _saved(made, prices)
    place = made.inventory.repository
    line = (
        f"{place}: {len(made.removed)} of {len(made.inventory)} images would go, {output.size(made.freed_bytes)} freed"
    )
    if money:
        line += f", {money['usd_per_month']:.2f} USD a month less ({money['source']}, {money['date']})"
    output.line(line + ("" if made.retention.enforce else "; a plan only: the policy does not enforce it"))
    for reason in made.refused:
        output.trouble(f"nothing may be removed now: {reason}")


def _saved(made: Plan, prices: Prices) -> dict[str, Any] | None:
    """What the plan saves a month, as `Prices.monthly`."""
    return prices.monthly(made.inventory.repository.registry, made.freed_bytes)
