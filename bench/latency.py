"""Measure the time from the answer to a push until the image is in every region of prod, on the local cloud.

    .venv/bin/python bench/latency.py [--images 40]

Each image is the demo's program for two platforms, with a version of its own; scans complete by themselves. The time
runs from the answer to the push of the index until the promotion is in the ledger. Prints p50, p95 and the slowest in
seconds. The first image, which starts the workers, is printed separately and not counted.
"""

import argparse
import os
import statistics
import time
from pathlib import Path

from tallyman.domain.history.facts import Kind
from tallyman_cli.local.sample import push
from tallyman_cli.registry.creation import create_in
from tallyman_cli.shared.context import Stack, connect
from tallyman_local.cloud.cloud import Cloud, Options
from tallyman_local.cloud.sample import widget_server

NAME = "rocketseat/widget-server"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=40, help="how many images count")
    images = parser.parse_args().images
    with Cloud(root=Path(__file__).resolve().parents[1], options=Options(scanner="clean")) as cloud:
        os.environ.update(cloud.environment())
        stack = connect()
        create_in(stack, NAME, "dev")
        seconds = [one(stack, cloud, number) for number in range(images + 1)]
    first, counted = seconds[0], sorted(seconds[1:])
    p95 = counted[max(0, round(0.95 * len(counted)) - 1)]
    print(f"first image (workers start) {first:.2f} s")
    print(
        f"push to promoted, {len(counted)} images, two regions: p50 {statistics.median(counted):.2f} s, "
        f"p95 {p95:.2f} s, slowest {counted[-1]:.2f} s"
    )


def one(stack: Stack, cloud: Cloud, number: int) -> float:
    """Push one image and wait for its promotion. Return the seconds."""
    place = stack.policy.environment("dev").repositories(NAME)[0]
    sample = widget_server(f"1.0.{number}")
    push(stack, place, sample)
    cloud.settle(60)
    stack.target.put_manifest(place, sample.root, f"v1.0.{number}")
    began = time.perf_counter()
    while not any(f.kind is Kind.PROMOTED for f in stack.ledger.of_digest(sample.root.digest)):
        if time.perf_counter() - began > 60:
            raise SystemExit(f"v1.0.{number} was not promoted within a minute: {cloud.left()}")
        time.sleep(0.01)
    seconds = time.perf_counter() - began
    cloud.settle(60)
    return seconds


if __name__ == "__main__":
    main()
