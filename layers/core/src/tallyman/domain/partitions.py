"""AWS's partitions: which regions there are, and how hosts and ARNs of a region are called.

All of it is botocore's knowledge, read once from the data that it ships, as `zoneinfo` reads time zones: a region or
partition that is new there is known here.
"""

import json
import re
from functools import cache
from pkgutil import get_data

from tallyman.values import value


@value
class Partition:
    """`name` stands in ARNs. `suffix`: of hosts such as ECR's registries; `dual_stack`: of those with IPv6."""

    name: str
    suffix: str
    dual_stack: str
    pattern: str
    regions: frozenset[str]


@cache
def partitions() -> tuple[Partition, ...]:
    """Every partition, AWS's main one first; one reading of 10 KB."""
    document = json.loads(get_data("botocore", "data/partitions.json") or b"")
    return tuple(
        Partition(
            name=found["id"],
            suffix=found["outputs"]["dnsSuffix"],
            # of services api.aws; of registries on.aws
            dual_stack="on." + found["outputs"]["dualStackDnsSuffix"].removeprefix("api."),
            pattern=found["regionRegex"],
            regions=frozenset(name for name in found["regions"] if not name.endswith("-global")),
        )
        for found in document["partitions"]
    )


@cache
def partition_of(region: str) -> Partition:
    """The partition that lists the region, else the one whose names look like it, else AWS's main one."""
    found = [p for p in partitions() if region in p.regions]
    found += [p for p in partitions() if re.fullmatch(p.pattern, region)]
    return (found or partitions())[0]


def regions() -> list[str]:
    """The names of all regions of all partitions."""
    return sorted(name for partition in partitions() for name in partition.regions)


def nearest(region: str) -> str | None:
    """The region that was probably meant: one with two letters changed about, else one that is spelled alike."""
    from difflib import get_close_matches  # only a mistake needs it, not every cold start

    turned = [known for known in regions() if sorted(known) == sorted(region)]
    return next(iter(turned or get_close_matches(region, regions(), 1)), None)
