"""`make bench-copy`: `tallyman copy` against skopeo, and crane, regctl and oras where they are on the PATH.
`BEFORE=PATH`: also against the `tallyman` command of an earlier release there.

    python bench/copying.py [--runs 5] [--only NAME] [--latency MILLISECONDS] [--tls] [--json FILE]

Registries, sink and data are on this machine, in memory where it has a memory disk. The tools run in turn, so that
noise affects all alike; the source is warm. Prints a table, and for scripts one line for each workload:
`<workload> ratio <x>  (to <peer>)`, our median divided by that of the fastest peer that checks what it copies, or
`<workload> requests <n>`.
"""

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from copy_runs import measure, show
from copy_tools import peers
from copy_workloads import Bench

BUDGET = 8.5 * 60
"""Seconds after which no further round of runs begins, after the first two."""


def main() -> None:
    """Measure all workloads."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", action="append", help="the name of a workload")
    parser.add_argument("--latency", type=float, default=0.0, help="milliseconds of a round trip")
    parser.add_argument("--tls", action="store_true", help="use registries with TLS, as real ones have")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    options = parser.parse_args()
    for needed, package in (("docker-registry", "docker-registry"), ("skopeo", "skopeo")):
        if not shutil.which(needed):
            raise SystemExit(f"{needed} is not on the PATH (Debian: apt-get install {package})")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that processes and files are cleaned up
    began = time.monotonic()
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 12e9
    with (
        tempfile.TemporaryDirectory(prefix="bench-copy-", dir=memory if roomy else None) as folder,
        Bench(Path(folder), options.latency, options.tls) as bench,
    ):
        chosen = [w for w in bench.workloads() if not options.only or w.name in options.only]
        where = f"{os.cpu_count()} cores, {'memory disk' if roomy else 'disk'}"
        line = f", {options.latency:g} ms a round trip" if options.latency else ""
        line += ", with TLS" if options.tls else ""
        print(f"peers: {', '.join(peers())}; {where}{line}")
        documents = []
        for workload in chosen:
            measure(workload, options.runs, began + BUDGET, bench.environment)
            documents.append(show(workload))
    if options.json:
        options.json.write_text(json.dumps(documents, indent=1))
    print(f"\n{time.monotonic() - began:.0f} s in all", file=sys.stderr)


if __name__ == "__main__":
    main()
