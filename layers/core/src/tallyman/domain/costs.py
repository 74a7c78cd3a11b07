"""Storage prices per region. Prices are data with a date and a source, never constants in the code."""

import math
from collections.abc import Mapping
from typing import Any

from tallyman.domain.names import EcrRegistry
from tallyman.errors import BadInput
from tallyman.values import value

GB = 1_000_000_000


@value
class Price:
    """US dollars per GB and month in one region, as `source` stated on `date`."""

    region: str
    usd: float
    date: str
    source: str


@value
class Prices:
    """A price for each region. `other`: for regions that are not in the table; None: their price is not known."""

    regions: Mapping[str, Price]
    other: Price | None

    @classmethod
    def parse(cls, data: Any) -> "Prices":
        """Parse `{"regions": {"us-east-2": {"usd": 0.1, "date": "2026-11-01", "source": "…"}}}`; the key `*` stands for
        all other regions. Raises BadInput."""
        regions = data.get("regions") if isinstance(data, Mapping) else None
        if not isinstance(regions, Mapping):
            raise BadInput('a price table is {"regions": {"<region>": {"usd": …, "date": …, "source": …}}}')
        found = {str(region): _price(str(region), value) for region, value in regions.items()}
        return cls(found, found.pop("*", None))

    def monthly(self, registry: EcrRegistry, size: int) -> dict[str, Any] | None:
        """The cost of `size` bytes in the registry, before any free allowance: {registry, usd_per_month,
        usd_per_gb_month, date, source}. None: no price is known for its region."""
        price = self.regions.get(registry.region, self.other)
        if price is None:
            return None
        return {
            "registry": str(registry),
            "usd_per_month": round(size / GB * price.usd, 4),
            "usd_per_gb_month": price.usd,
            "date": price.date,
            "source": price.source,
        }


def _price(region: str, value: Any) -> Price:
    usd = value.get("usd") if isinstance(value, Mapping) else None
    if not isinstance(usd, int | float) or isinstance(usd, bool) or not 0 <= usd < math.inf:
        raise BadInput(f"the price of {region}: expected 'usd', a number of dollars per GB and month")
    return Price(region, float(usd), str(value.get("date", "")), str(value.get("source", "")))
