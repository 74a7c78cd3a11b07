"""Measure the page with much data: a repository of 5,000 images, and a board of 500 repositories.

`make bench-page` runs it on a local cloud: it fills the ledger and the state through the real adapters, and then
requests each view over HTTP a few times. Prints the first, the median and the worst time, and the median of processor
time, in milliseconds.
"""

import argparse
import json
import os
import statistics
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from http.cookiejar import CookieJar

from tallyman.domain.history.facts import Fact, Kind, Via, fact_id
from tallyman.domain.names import Digest, Repository
from tallyman.domain.times import format_time
from tallyman.state import releases, sweeps, tags
from tallyman.state.items import StateChange
from tallyman_cli.local.cloud import new_cloud
from tallyman_cli.local.options import ScannerMode
from tallyman_cli.shared.context import Stack, connect
from tallyman_cli.ui.command import desk_of, served

DEV = Repository.parse("111111111111/us-east-2/rocketseat/widget-server")
NOW = datetime.now(UTC).replace(microsecond=0)


def pushed(place: Repository, number: int, total: int) -> tuple[Fact, StateChange]:
    """The fact and the state of one push, a minute after the one before."""
    at = NOW - timedelta(minutes=total - number)
    digest, tag = Digest.of(f"{place} {number}".encode()), f"v1.{number}.0"
    detail = {"current": digest, "index": False}
    fact = Fact(Kind.PUSHED, fact_id(place, tag), at, at, Via.EVENT, digest, place, tag, size=50_000_000, detail=detail)
    return fact, StateChange(*tags.key(place, tag), 0, {"digest": digest, "at": format_time(at)})


def fill(stack: Stack, images: int, repositories: int) -> None:
    """Write the ledger and the state, through the adapters."""
    work = [pushed(DEV, number, images) for number in range(images)]
    changes: list[StateChange] = []
    for number in range(repositories):
        name = f"rocketseat/app-{number:03}"
        place = Repository(DEV.registry, name)
        work.append(pushed(place, 0, 1))
        data = {"swept": format_time(NOW), "images": 1, "bytes": 50_000_000}
        changes.append(StateChange(*sweeps.key(place), 0, data))
        release = {"id": "x", "digest": work[-1][0].digest, "tags": ["v1.0.0"], "at": format_time(NOW), "policy": "-"}
        changes.append(StateChange(*releases.key("prod", name), 0, {**release, "previous": None, "announced": True}))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda pair: stack.ledger.append(*pair), work))
        list(pool.map(stack.state.put, changes))


def timed(address: str, path: str, times: int) -> Iterator[tuple[float, float]]:
    """Milliseconds of each answer: wall time, and processor time of this process, which includes the local cloud's."""
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
    opener.open(address).read()
    base = address.partition("/?")[0]
    for _ in range(times):
        began, busy = time.perf_counter(), time.process_time()
        opener.open(base + path).read()
        yield (time.perf_counter() - began) * 1000, (time.process_time() - busy) * 1000


def main() -> None:
    """Print a line for each view, or with --json one object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=5_000)
    parser.add_argument("--repositories", type=int, default=500)
    parser.add_argument("--times", type=int, default=31)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    cloud = new_cloud(None, ScannerMode.manual)
    cloud.start()
    try:
        os.environ.update(cloud.environment())
        stack = connect()
        fill(stack, given.images, given.repositories)
        found = {}
        with served(desk_of(stack, cloud.stack, None)) as address:
            for name, path in (
                (f"board of {given.repositories} repositories", "/"),
                (f"repository of {given.images} images", f"/repository/dev/{DEV.name}"),
            ):
                clock, busy = zip(*timed(address, path, given.times), strict=True)
                found[name] = {
                    "first": clock[0],
                    "median": statistics.median(clock),
                    "worst": max(clock),
                    "processor": statistics.median(busy),
                }
                if not given.json:
                    print(f"{name}: " + ", ".join(f"{which} {value:.0f} ms" for which, value in found[name].items()))
        if given.json:
            print(json.dumps(found, indent=2))
    finally:
        cloud.stop()


if __name__ == "__main__":
    main()
