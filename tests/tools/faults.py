"""`make faults SEEDS=1000 [FIRST=0]`: runs of the entire system under a seeded scheduler; prints and replays failures.

Exit status 1 if a run broke a law. `--guards`: instead, switch each guard off in turn, and print the number of runs
until a law was broken.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial

from support.schedules import chains, scenarios
from support.schedules.guards import GUARDS


def main() -> int:
    """Parse the arguments, run, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=540.0, help="stop beginning new runs after so long")
    parser.add_argument("--chains", action="store_true", help="runs over dev, staging and prod, with retention")
    parser.add_argument("--native", action="store_true", help="ECR replicates within prod: late, in part or not at all")
    parser.add_argument("--guards", action="store_true")
    asked = parser.parse_args()
    if asked.guards:
        return guards(asked.seeds)
    run, shortened = (chains.run, chains.shortened) if asked.chains else (scenarios.run, scenarios.shortened)
    if asked.native:
        run, shortened = partial(scenarios.run, native=True), partial(scenarios.shortened, native=True)
    return schedules(asked.seeds, asked.first, asked.seconds, run, shortened)


def schedules(
    number: int,
    first: int,
    seconds: float,
    run: Callable[[int], scenarios.Result],
    shortened: Callable[[scenarios.Result], scenarios.Result],
) -> int:
    """Run the seeds one after the other."""
    began, faults, done = time.monotonic(), Counter[str](), 0
    broken = 0
    for seed in range(first, first + number):
        if time.monotonic() - began > seconds:
            print(f"stopped after {seconds:.0f} s, before seed {seed}")
            break
        result = run(seed)
        done += 1
        faults.update(result.count)
        if result.broken:
            broken += 1
            shortest = shortened(result)
            print(f"\nseed {seed} breaks a law: {result.broken}\nthe shortest run that still does: {shortest.broken}")
            print("\n".join(f"  {line}" for line in shortest.log))
            print(f"replay: make faults SEEDS=1 FIRST={seed}")
    print(f"{done} schedules, {broken} broken; faults: {dict(sorted(faults.items()))}")
    return 1 if broken else 0


def guards(number: int) -> int:
    """Run with each guard off in turn."""
    silent = 0
    for name, off in GUARDS.items():
        with off():
            found = next(filter(None, chains.missed(number)), None)
        silent += not found
        print(f"{name}: {f'missed: {found[:160]}' if found else 'NOT missed by any run'}", flush=True)
    return 1 if silent else 0


if __name__ == "__main__":
    sys.exit(main())
