"""Measure a cold start before the first message: the import of each handler with its clients, compared to boto3's.

    .venv/bin/python bench/imports.py [--runs 9] [--instructions]

The peer is `import boto3` with its ECR and DynamoDB clients, which any handler that uses both needs. Handlers are
imported as Lambda does, which makes the same two clients (record_command uses no registry, and makes only DynamoDB's).
Clients of other services are made at their first operation, and measured separately: S3, SQS, SNS and EventBridge,
which most functions use. Each run is a process of its own; peer and handlers take turns. Prints medians of the wall
time in the process, in milliseconds. `--instructions` instead counts the instructions of the whole process, once, with
valgrind: the result does not depend on the load of the machine.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PEER = 'import boto3; [boto3.client(s, region_name="us-east-2") for s in ("ecr", "dynamodb")]'
HANDLER = "import app"
FURTHER = """
import tallyman.runtime
from tallyman import bootstrap
adapters = bootstrap.started("record_push")
bootstrap.Services(adapters).record_push
[adapters.clients.get(s) for s in ("s3", "sqs", "sns", "events")]
"""
WITH_FURTHER = "record_push and four more clients"


def main() -> None:
    """Measure and print a line for each handler."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--instructions", action="store_true")
    asked = parser.parse_args()
    names = sorted(path.parent.name for path in (ROOT / "functions").glob("*/app.py"))
    codes = {"boto3": PEER} | dict.fromkeys(names, HANDLER) | {WITH_FURTHER: FURTHER}
    taken: dict[str, list[float]] = {name: [] for name in codes}
    for run in range(2 if asked.instructions else asked.runs + 1):
        for name, times in taken.items():
            counted = asked.instructions and run > 0
            times.append((count if counted else measure)(codes[name], name.split()[0]))
    medians = {name: statistics.median(times[1:]) for name, times in taken.items()}  # the first compiles
    unit = "million instructions" if asked.instructions else "ms"
    peer = medians.pop("boto3")
    print(f"boto3 with its ECR and DynamoDB clients {peer:.0f} {unit}")
    for name, median in medians.items():
        print(f"{name} {median:.0f} {unit}, {median - peer:+.0f}, ratio {median / peer:.2f}")


def count(code: str, name: str) -> float:
    """Millions of instructions of a process that runs the code, with the start of the interpreter."""
    tool = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
    done = subprocess.run(
        [*tool, sys.executable, "-c", code], env=environment(name), capture_output=True, text=True, check=True
    )
    found = re.search(r"I\s+refs:\s+([\d,]+)", done.stderr)
    if not found:
        raise SystemExit(f"valgrind printed no instructions:\n{done.stderr}")
    return int(found[1].replace(",", "")) / 1e6


def measure(code: str, name: str) -> float:
    """Milliseconds from the first import until the clients exist."""
    program = f"import time; began = time.perf_counter()\n{code}\nprint((time.perf_counter() - began) * 1000)"
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(name), capture_output=True, text=True, check=True
    )
    return float(done.stdout.splitlines()[-1])


def environment(name: str) -> dict[str, str]:
    """The functions' variables in the template, with names of nothing: no call is made."""
    queue = "https://sqs.us-east-2.amazonaws.com/111111111111/none"
    queues = {f"TALLYMAN_{q}_QUEUE": queue for q in ("VERIFY", "PROMOTE", "RETENTION", "COMMANDS")}
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(
            [str(ROOT / "functions" / name), str(ROOT / "layers/core/src"), str(ROOT / "layers/origin/src")]
        ),
        "AWS_DEFAULT_REGION": "us-east-2",
        "AWS_REGION": "us-east-2",
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
        "AWS_LAMBDA_FUNCTION_NAME": name,
        "POWERTOOLS_SERVICE_NAME": name,
        "POWERTOOLS_METRICS_NAMESPACE": "Tallyman",
        "TALLYMAN_STACK": "tallyman",
        "TALLYMAN_LEDGER_TABLE": "none",
        "TALLYMAN_STATE_TABLE": "none",
        "TALLYMAN_ARCHIVE_BUCKET": "none",
        "TALLYMAN_NOTICES_TOPIC": "arn:aws:sns:us-east-2:111111111111:none",
        "TALLYMAN_BUS": "none",
        "TALLYMAN_DEAD_LETTERS": queue,
        "TALLYMAN_HUB": "111111111111/us-east-2",
        "TALLYMAN_POLICY": str(ROOT / "layers/policy/tallyman.yaml"),
        **queues,
    }


if __name__ == "__main__":
    main()
