"""Storage prices per region. Prices are data with a date and a source, never constants in the code."""

import math
from collections.abc import Mapping
from typing import Any

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

    def monthly(self, size: int) -> float:
        """US dollars per month for `size` bytes, before any free allowance."""
        return size / GB * self.usd


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

    def of(self, region: str) -> Price | None:
        """The price in the region; None: not known."""
        return self.regions.get(region, self.other)


def _price(region: str, value: Any) -> Price:
    usd = value.get("usd") if isinstance(value, Mapping) else None
    if not isinstance(usd, int | float) or isinstance(usd, bool) or not 0 <= usd < math.inf:
        raise BadInput(f"the price of {region}: expected 'usd', a number of dollars per GB and month")
    return Price(region, float(usd), str(value.get("date", "")), str(value.get("source", "")))
