"""What storage costs: prices are data with a date and a source, never constants of the code."""

from collections.abc import Mapping
from typing import Any

from tallyman.errors import BadInput
from tallyman.values import value

GB = 1_000_000_000


@value
class Price:
    """US dollars for a GB and a month in one region, as `source` said on `date`."""

    region: str
    usd: float
    date: str
    source: str

    def monthly(self, size: int) -> float:
        """What so many bytes cost a month, before any free allowance."""
        return size / GB * self.usd


@value
class Prices:
    """A price for each region. `other`: for a region that is not in the table; None: not known then."""

    regions: Mapping[str, Price]
    other: Price | None

    @classmethod
    def parse(cls, data: Any) -> "Prices":
        """From `{"regions": {"us-east-2": {"usd": 0.1, "date": "2026-11-01", "source": "…"}}}`, with `*` for all other
        regions. Raises BadInput that says what is wrong."""
        regions = data.get("regions") if isinstance(data, Mapping) else None
        if not isinstance(regions, Mapping):
            raise BadInput('a price table is {"regions": {"<region>": {"usd": …, "date": …, "source": …}}}')
        found = {str(region): _price(str(region), value) for region, value in regions.items()}
        return cls(found, found.pop("*", None))

    def of(self, region: str) -> Price | None:
        """The price in the region."""
        return self.regions.get(region, self.other)


def _price(region: str, value: Any) -> Price:
    usd = value.get("usd") if isinstance(value, Mapping) else None
    if not isinstance(usd, int | float) or isinstance(usd, bool) or usd < 0:
        raise BadInput(f"the price of {region}: expected usd, a number of dollars for a GB and a month")
    return Price(region, float(usd), str(value.get("date", "")), str(value.get("source", "")))
