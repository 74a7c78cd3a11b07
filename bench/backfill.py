"""Measure the first sweep of a large repository on fakes: the time and calls of each run, and the size of its position.

    .venv/bin/python bench/backfill.py [--images 50000] [--pages 3]

Runs until every image is recorded, and `--pages` more, which verify and decide about 100 images each. The registry and
the tables are fakes: the calls are real numbers, the seconds are only those of this machine's processor.
"""

import argparse
import json
import sys
import time
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support.fakes.flows import Flow
from support.fakes.recording import SCHEDULE
from support.images.builders import DEV, image
from tallyman.state import sweeps
from tallyman.state.items import StateChange
from tallyman.state.sweeps import SWEEPS

RUN = 800.0
"""Seconds of a run, as in reconcile's function."""


def left(until: float) -> float:
    """Seconds of the run that remain."""
    return until - time.monotonic()


def main() -> None:
    """Print a line for each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--pages", type=int, default=3)
    asked = parser.parse_args()
    flow = Flow()
    for number in range(asked.images):
        flow.registries.push(DEV, image(str(number)), f"v1.{number}.0")
    flow.delivered = len(flow.registries.pushes)
    flow.clock.advance(hours=1)
    sizes, put = [0], flow.state.put

    def measured(change: StateChange) -> None:
        if change.pk == sweeps.PARTITION:
            sizes.append(len(json.dumps(change.data)))
        put(change)

    flow.state.put = measured  # type: ignore[method-assign]
    number = more = 0
    while more < asked.pages:
        number += 1
        flow.clock.advance(minutes=15)
        begun, began = flow.counted(), time.monotonic()
        until = began + RUN
        flow.services.reconcile.run(SCHEDULE, str(number), partial(left, until))
        spent = flow.spent(begun)
        calls = sum(count for name, count in spent.calls.items() if name != "item of a batch") + spent.ecr
        sweep = SWEEPS.get(flow.state, sweeps.key(DEV))
        recorded = sweep is not None and sweep.swept is not None
        more += recorded
        took = f"{time.monotonic() - began:.0f} s, position at most {max(sizes)} bytes"
        print(f"run {number}: {calls} calls, {took}{', all recorded' if recorded else ''}", flush=True)


if __name__ == "__main__":
    main()
