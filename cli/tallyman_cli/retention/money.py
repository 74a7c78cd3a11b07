"""Money: what storage costs a month where it lies, by a table of prices that can be replaced."""

from pathlib import Path
from typing import Annotated, Any

import typer

from tallyman.domain import costs
from tallyman.domain.names import EcrRegistry
from tallyman.domain.retention import Plan

PriceFile = Annotated[
    Path | None,
    typer.Option(
        "--prices", metavar="FILE", help="A price table of your own.", show_default="the one that comes along"
    ),
]


class Prices:
    """The table, loaded."""

    def __init__(self, table: costs.Prices) -> None:
        self._table = table

    @classmethod
    def load(cls, path: Path | None = None) -> "Prices":
        """The user's file, else the one that comes along. BadInput names what is wrong with it."""
        from tallyman.adapters.files import prices

        return cls(prices.load(path))

    def monthly(self, registry: EcrRegistry, size: int) -> dict[str, Any] | None:
        """What so many bytes cost in the registry's region; None: no price is known there."""
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
    """What the plan saves a month in its registry."""
    return prices.monthly(plan.inventory.repository.registry, plan.freed_bytes)
