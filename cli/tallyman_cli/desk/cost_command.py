"""`tallyman cost`: what storage costs, by repository, environment, region and month."""

from typing import Annotated, Any

from tallyman.adapters.files.prices import load as load_prices
from tallyman_cli.shared import context, options, output
from tallyman_cli.shared.options import argument, option
from tallyman_cli.views.cost import cost as view


@options.by_policy
def cost(
    match: Annotated[
        str | None,
        argument(
            "REPOSITORY",
            "Only repositories whose name contains this text, or matches a pattern (team/*).",
            default="all",
        ),
    ] = None,
    months: Annotated[
        int, option("--months N", "Add the cost at the end of each of the last N months.", min=0, max=36)
    ] = 0,
    prices: options.PriceFile = None,
) -> None:
    """Show what storage costs a month: by environment, by registry, and by repository, the most expensive first.

    Sizes are those of the last sweeps, each image with all its layers. ECR counts a layer that images of a repository
    share only once, so the bill can only be lower. --months reads all facts of each repository.

    Exit status: 0.
    """
    opened = context.connect()
    found = view(opened, load_prices(prices), match, months)
    if output.is_json():
        output.data(found)
        return
    totals = (("environment", "environments"), ("registry", "registries"))
    for name, key in totals if found["repositories"] else ():
        output.table({name: row[name], "repositories": row["repositories"], **_stored(row)} for row in found[key])
        output.line()
    output.table(
        {
            **{name: row[name] for name in ("repository", "environment", "registry")},
            **_stored(row),
            **{month["at"]: _usd(month["usd_per_month"]) for month in row["months"][:-1]},
        }
        for row in found["repositories"]
    )
    if match and not found["repositories"] and not found["unknown"]:
        output.trouble(f"no repository's name contains or matches '{match}'")
    output.line(f"{_usd(found['usd_per_month'])} USD a month in all. {found['note']}")
    if found["unknown"]:
        output.say(f"not counted by a sweep yet: {', '.join(found['unknown'][:5])}")


def _stored(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "images": row["images"],
        "stored": output.size(row["bytes"]),
        "USD a month": _usd(row["usd_per_month"]),
    }


def _usd(amount: float | None) -> str:
    return "?" if amount is None else f"{amount:.2f}" if amount >= 0.01 or amount == 0 else "<0.01"
