"""The cost of storage by repository, environment and region, from the last sweeps and a table of prices."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from tallyman.domain.costs import Prices
from tallyman.domain.history.details.changes import took_the_image
from tallyman.domain.history.facts import Fact
from tallyman.domain.history.fold import PUSHES
from tallyman.domain.images.manifest import INDEX_TYPES
from tallyman.domain.names import Digest, Repository
from tallyman.domain.times import text_or_none
from tallyman_cli.shared.context import Stack
from tallyman_cli.views import places
from tallyman_cli.views.reading import each

NOTE = "Layers that images share are counted for each image: the bill can only be lower."


def cost(stack: Stack, prices: Prices, match: str | None = None, months: int = 0) -> dict[str, Any]:
    """`{repositories: [{repository, environment, registry, images, bytes, usd_per_month, swept, months}], environments,
    registries, usd_per_month, unknown, note}`, the most expensive first. `months`: how many past ends of months to add
    for each repository, for which all its facts are read. `unknown`: repositories that no sweep has counted yet."""
    swept = places.sweeps(stack)
    named = [(place, *places.canonical(stack.policy, place)) for place in sorted(swept)]
    wanted = set(places.chosen({name for _, _, name in named}, match))
    rows: list[dict[str, Any]] = []
    unknown = []
    for place, environment, name in named:
        if name not in wanted:
            continue
        data = swept[place]
        if data.bytes is None:
            unknown.append(str(place))
            continue
        rows.append(
            {
                "repository": name,
                "environment": environment,
                "registry": str(place.registry),
                "place": str(place),
                "images": data.images,
                "bytes": data.bytes,
                "usd_per_month": _usd(prices, place, data.bytes),
                "swept": text_or_none(data.swept),
                "months": [],
            }
        )
    if months:
        now = stack.clock()
        past = each(lambda row: _months(stack, prices, Repository.parse(row["place"]), now, months), rows)
        for row, each_month in zip(rows, past, strict=True):
            row["months"] = each_month
    rows.sort(key=lambda row: (-(row["usd_per_month"] or 0), -row["bytes"], row["place"]))
    return {
        "repositories": rows,
        "environments": _totals(rows, "environment"),
        "registries": _totals(rows, "registry"),
        "usd_per_month": round(sum(row["usd_per_month"] or 0 for row in rows), 4),
        "unknown": unknown,
        "note": NOTE,
    }


def held(
    facts: Iterable[Fact], moments: Iterable[datetime], gone: Iterable[tuple[datetime, Digest]] = ()
) -> list[tuple[int, int]]:
    """How many images and bytes a repository held at each moment (in order), by its recorded pushes and removals. An
    index has no bytes of its own. `gone`: further removals that are assumed."""
    sizes: dict[Digest, int] = {}
    changes = [(at, False, digest) for at, digest in gone]
    for fact in facts:
        if fact.digest is None:
            continue
        if fact.kind in PUSHES:
            size = 0 if fact.media_type in INDEX_TYPES else fact.size
            sizes[fact.digest] = size or sizes.get(fact.digest, 0)
            changes.append((fact.at, True, fact.digest))
        elif took_the_image(fact):
            changes.append((fact.at, False, fact.digest))
    changes.sort(key=lambda change: (change[0], change[1]))
    found, there, number = [], set[Digest](), 0
    for moment in moments:
        while number < len(changes) and changes[number][0] <= moment:
            _, pushed, digest = changes[number]
            there.add(digest) if pushed else there.discard(digest)
            number += 1
        found.append((len(there), sum(sizes.get(digest, 0) for digest in there)))
    return found


def month_ends(now: datetime, months: int) -> list[datetime]:
    """The last `months` first instants of a month, oldest first, and `now`."""
    year, month = now.year, now.month
    found = [now]
    for _ in range(months):
        found.append(datetime(year, month, 1, tzinfo=UTC))
        year, month = (year, month - 1) if month > 1 else (year - 1, 12)
    return found[::-1]


def _months(stack: Stack, prices: Prices, place: Repository, now: datetime, months: int) -> list[dict[str, Any]]:
    ends = month_ends(now, months)
    counts = held(stack.ledger.of_repository(place, now), ends)
    return [
        {"at": f"{end:%Y-%m-%d}", "bytes": size, "usd_per_month": _usd(prices, place, size)}
        for end, (_, size) in zip(ends, counts, strict=True)
    ]


def _usd(prices: Prices, place: Repository, size: int) -> float | None:
    found = prices.monthly(place.registry, size)
    return found["usd_per_month"] if found else None


def _totals(rows: Iterable[Mapping[str, Any]], key: str) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        name = row[key] or "none"
        total = found.setdefault(name, {key: name, "repositories": 0, "images": 0, "bytes": 0, "usd_per_month": 0.0})
        total["repositories"] += 1
        total["images"] += row["images"]
        total["bytes"] += row["bytes"]
        total["usd_per_month"] = round(total["usd_per_month"] + (row["usd_per_month"] or 0), 4)
    return sorted(found.values(), key=lambda total: (-total["usd_per_month"], -total["bytes"], total[key]))
