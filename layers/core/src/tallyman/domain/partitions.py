"""AWS's partitions: their regions, and the parts of host names and ARNs that depend on the partition.

Source: the file `partitions.json` that botocore ships, read once. A newer botocore brings new regions and partitions.
"""

import json
import re
from functools import cache
from pkgutil import get_data

from tallyman.values import value


@value
class Partition:
    """One partition. `name`: as in ARNs. `suffix`: of host names such as those of ECR's registries; `dual_stack`: the
    same for hosts that also have IPv6. `pattern`: a regular expression for names of regions."""

    name: str
    suffix: str
    dual_stack: str
    pattern: str
    regions: frozenset[str]


@cache
def partitions() -> tuple[Partition, ...]:
    """Every partition, `aws` first. The first call reads a file of 10 KB."""
    document = json.loads(get_data("botocore", "data/partitions.json") or b"")
    return tuple(
        Partition(
            name=found["id"],
            suffix=found["outputs"]["dnsSuffix"],
            # the file has the suffix of services, such as api.aws; registries use on.aws
            dual_stack="on." + found["outputs"]["dualStackDnsSuffix"].removeprefix("api."),
            pattern=found["regionRegex"],
            regions=frozenset(name for name in found["regions"] if not name.endswith("-global")),
        )
        for found in document["partitions"]
    )


@cache
def partition_of(region: str) -> Partition:
    """The partition that lists the region, else the one whose pattern matches its name, else `aws`."""
    found = [p for p in partitions() if region in p.regions]
    found += [p for p in partitions() if re.fullmatch(p.pattern, region)]
    return (found or partitions())[0]


def regions() -> list[str]:
    """The names of all regions of all partitions."""
    return sorted(name for partition in partitions() for name in partition.regions)


def nearest(region: str) -> str | None:
    """The region that was probably meant: one with the same letters in another order, else a similar name, or None."""
    from difflib import get_close_matches  # only a mistake needs it, not every cold start

    turned = [known for known in regions() if sorted(known) == sorted(region)]
    return next(iter(turned or get_close_matches(region, regions(), 1)), None)
