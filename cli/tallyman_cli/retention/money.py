"""The price of storage a month in each region, by a table that can be replaced."""

from pathlib import Path
from typing import Annotated, Any

import typer

from tallyman.domain import costs
from tallyman.domain.names import EcrRegistry
from tallyman.domain.retention import Plan

PriceFile = Annotated[
    Path | None,
    typer.Option("--prices", metavar="FILE", help="Use a price table of your own.", show_default="the built-in one"),
]


class Prices:
    """A price table."""

    def __init__(self, table: costs.Prices) -> None:
        self._table = table

    @classmethod
    def load(cls, path: Path | None = None) -> "Prices":
        """Loads the user's file, else the built-in table. Raises BadInput, which says what is wrong with the file."""
        from tallyman.adapters.files import prices

        return cls(prices.load(path))

    def monthly(self, registry: EcrRegistry, size: int) -> dict[str, Any] | None:
        """The cost of `size` bytes in the registry's region: {registry, usd_per_month, usd_per_gb_month, date, source}.
        None: no price is known for the region."""
        price = self._table.of(registry.region)
        if price is None:
            return None
        return {
            "registry": str(registry),
            "usd_per_month": round(price.monthly(size), 4),
            "usd_per_gb_month": price.usd,
            "date": price.date,
            "source": price.source,
        }


def saved(plan: Plan, prices: Prices) -> dict[str, Any] | None:
    """What the plan saves a month, as `Prices.monthly`."""
    return prices.monthly(plan.inventory.repository.registry, plan.freed_bytes)
