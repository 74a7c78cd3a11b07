"""Simulate a burst of pushes, and measure how long their images take until they are promoted.

    .venv/bin/python bench/load.py [--images 200] [--seconds 60] [--workers 4] [--svg docs/images/load.svg]

The functions' own reactions run on fakes, in simulated time: an invocation takes the time of its calls, by the figures
below, which are assumptions. So the result shows where messages wait, not how fast AWS is. `--workers` are those of
each queue; batches are those of template.yaml. Each image has one platform, and is scanned two seconds after its push.
"""

import argparse
import json
import sys
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support.fakes.flows import FEEDS, Flow
from support.images.builders import DEV, Built, image, scan_event
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.images.details import ScanReport
from tallyman.ports.records import Appended

START, TABLE, ECR = 0.005, 0.005, 0.03
"""Seconds of an invocation without its calls, of a DynamoDB call and of an ECR call."""
SCANNED = timedelta(seconds=2)


@dataclass
class Load:
    """A burst on one hub. `pushed`, `promoted`: the time of each, by digest. An image that arrives after a newer
    version moves no release."""

    workers: int
    flow: Flow = field(default_factory=Flow)
    pushed: dict[str, datetime] = field(default_factory=dict)
    promoted: dict[str, datetime] = field(default_factory=dict)
    _done: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        real = self.flow.ledger.append

        def append(fact: Fact, *changes: Any) -> Appended:
            if fact.kind is Kind.PROMOTED:
                self._done.append(str(fact.digest))
            return real(fact, *changes)

        self.flow.ledger.append = append  # type: ignore[assignment, method-assign]

    def run(self, images: int, seconds: float) -> None:
        """Push the images, evenly over the seconds, and run invocations until no message is left."""
        flow, began = self.flow, self.flow.clock()
        todo = [(began + timedelta(seconds=seconds * n / images), image(f"load {n}"), n) for n in range(images)]
        busy = {queue: [began] * self.workers for queue in FEEDS}
        while todo or flow.queue:
            starts = [(at, queue) for queue in FEEDS if (at := self._next(queue, busy[queue])) is not None]
            start = min(starts, default=None)
            if todo and (start is None or todo[0][0] <= start[0]):
                at, built, number = todo.pop(0)
                flow.clock.now = max(flow.clock.now, at)
                self._push(built, f"v1.{number}.0")
                continue
            assert start is not None
            flow.clock.now = max(flow.clock.now, start[0])
            end = self._invoke(start[1])
            free = busy[start[1]]
            free[free.index(min(free))] = end

    def _next(self, queue: str, busy: list[datetime]) -> datetime | None:
        """When the next invocation of a queue starts, by its batching window and its first free worker; None: the queue
        is empty."""
        due: list[datetime] = [at for at, name, _ in self.flow.queue if name == queue]
        if not due:
            return None
        batch = self.flow.batches[FEEDS[queue]]
        due.sort()
        full = due[batch.size - 1] if len(due) >= batch.size else due[0] + timedelta(seconds=batch.window)
        return max(min(due[0] + timedelta(seconds=batch.window), full), min(busy))

    def _push(self, built: Built, tag: str) -> None:
        flow = self.flow
        self.pushed[built.digest] = flow.clock()
        flow.push(built, tag)
        at = flow.clock() + SCANNED
        flow.registries.set_scan(DEV, built.digest, ScanReport("complete", {}, completed_at=at))
        flow.queue.append((at, "scan", json.dumps(scan_event(DEV, built.digest, at=at))))

    def _invoke(self, queue: str) -> datetime:
        """Run one invocation; its messages and push appear at its end. Return the time of its end."""
        flow = self.flow
        begun, before = flow.counted(), list(flow.queue)
        flow.invoke(queue)
        flow.tell()
        spent = flow.spent(begun)
        tables = sum(n for name, n in spent.calls.items() if name != "item of a batch")
        took = timedelta(seconds=START + TABLE * tables + ECR * spent.ecr)
        old = {id(message) for message in before}
        flow.queue = [m if id(m) in old else (m[0] + took, m[1], m[2]) for m in flow.queue]
        self.promoted.update(dict.fromkeys(self._done, flow.clock() + took))
        self._done.clear()
        return flow.clock() + took

    def curve(self) -> list[int]:
        """How many images wait, for each second."""
        first, last = min(self.pushed.values()), max(self.promoted.values())
        seconds = range(int((last - first).total_seconds()) + 2)
        moments = [first + timedelta(seconds=s) for s in seconds]
        there = [sum(at <= m for at in self.pushed.values()) for m in moments]
        done = [sum(at <= m for at in self.promoted.values()) for m in moments]
        return [a - b for a, b in zip(there, done, strict=True)]

    def lags(self) -> list[float]:
        """Seconds from push to promotion, sorted."""
        return sorted((self.promoted[d] - at).total_seconds() for d, at in self.pushed.items())


def svg(curve: list[int]) -> str:
    """The curve as an SVG image."""
    wide, high, most = 720, 240, max(curve) or 1
    points = " ".join(
        f"{50 + wide * x / max(1, len(curve) - 1):.1f},{20 + high * (1 - y / most):.1f}" for x, y in enumerate(curve)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide + 80} {high + 60}" font-family="sans-serif" '
        f'font-size="12"><rect width="100%" height="100%" fill="white"/><path d="M50 20V{20 + high}H{50 + wide}" '
        f'fill="none" stroke="#999"/><polyline points="{points}" fill="none" stroke="#0969da" stroke-width="2"/>'
        f'<text x="46" y="24" text-anchor="end">{most}</text><text x="{50 + wide}" y="{high + 38}" '
        f'text-anchor="end">{len(curve) - 1} s</text>'
        '<text x="50" y="14">images pushed and not yet promoted</text></svg>\n'
    )


def main() -> None:
    """Run the simulation and print its results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60, help="how long the burst takes")
    parser.add_argument("--workers", type=int, default=4, help="workers of each queue")
    parser.add_argument("--svg", type=Path, help="write the curve to this file, as an SVG image")
    arguments = parser.parse_args()
    load, began = Load(arguments.workers), time.perf_counter()
    load.run(arguments.images, arguments.seconds)
    curve, lags = load.curve(), load.lags()
    most = max(curve) or 1
    step = max(1, len(curve) // 30)
    for second in range(0, len(curve), step):
        print(f"{second:5d} s {curve[second]:6d} {'#' * round(50 * curve[second] / most)}")
    runs = load.flow.runs
    print(f"{len(lags)} images promoted, {sum(runs.values()) / len(lags):.2f} invocations an image: {dict(runs)}")
    print(f"promote_image ran {runs['promote_image'] / len(lags):.2f} times an image")
    p50, p95 = lags[len(lags) // 2], lags[int(len(lags) * 0.95)]
    print(f"simulated seconds from push to promotion: p50 {p50:.1f}, p95 {p95:.1f}")
    print(f"it took {time.perf_counter() - began:.0f} s")
    if arguments.svg:
        arguments.svg.write_text(svg(curve))


if __name__ == "__main__":
    main()
