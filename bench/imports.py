"""What a cold start costs before the first message: the import of each handler with its clients, beside boto3's.

    .venv/bin/python bench/imports.py [--runs 9]

The peer is `import boto3` and its ECR and DynamoDB clients, what any handler that speaks to both pays. Handlers are
imported as Lambda does, and then make the same two clients by their own adapters. Each run is a process of its own;
peer and handlers take turns; medians, in milliseconds of wall time inside the process.
"""

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PEER = 'import boto3; [boto3.client(s, region_name="us-east-2") for s in ("ecr", "dynamodb")]'
HANDLER = """
import app
from tallyman.adapters.clients import Clients
from tallyman.domain.names import Registry
clients = Clients(Registry("111111111111", "us-east-2"), "tallyman", "bench")
[clients.get(s) for s in ("ecr", "dynamodb")]
"""


def main() -> None:
    """Measures and prints a line for each handler."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=9)
    runs = parser.parse_args().runs
    names = sorted(path.parent.name for path in (ROOT / "functions").glob("*/app.py"))
    taken: dict[str, list[float]] = {name: [] for name in ("boto3", *names)}
    for _ in range(runs + 1):
        for name, times in taken.items():
            times.append(measure(PEER if name == "boto3" else HANDLER, name))
    medians = {name: statistics.median(times[1:]) for name, times in taken.items()}  # the first compiles
    print(f"boto3 with its ECR and DynamoDB clients {medians['boto3']:.0f} ms")
    for name in names:
        print(
            f"{name} {medians[name]:.0f} ms, {medians[name] - medians['boto3']:+.0f} ms, "
            f"ratio {medians[name] / medians['boto3']:.2f}"
        )


def measure(code: str, name: str) -> float:
    """Milliseconds from before the first import until the clients are there."""
    program = f"import time; began = time.perf_counter()\n{code}\nprint((time.perf_counter() - began) * 1000)"
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(name), capture_output=True, text=True, check=True
    )
    return float(done.stdout.splitlines()[-1])


def environment(name: str) -> dict[str, str]:
    """What the template gives the functions, with names of nothing: no call is made."""
    queue = "https://sqs.us-east-2.amazonaws.com/111111111111/none"
    queues = {f"TALLYMAN_{q}_QUEUE": queue for q in ("VERIFY", "PROMOTE", "RETENTION", "COMMANDS")}
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join([str(ROOT / "functions" / name), str(ROOT / "layers/core/src")]),
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
