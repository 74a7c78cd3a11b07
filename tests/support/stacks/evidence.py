"""The statements of the stack's roles that something needs: recorded while the stack's tests run, and combined.

    make least-privilege          # runs tests/stack with LEAST_PRIVILEGE=FOLDER, then this module on the folder

A statement is needed if it alone allowed a call (`Permissions.needed`): without it that call is refused. Those of a
managed policy count once, whichever of the roles that share it needed them.
"""

import json
import os
import re
import sys
import uuid
from pathlib import Path

from tallyman_local.cloud.cloud import Cloud

#: Statements that no call to the local cloud can need, and why.
ELSEWHERE = {
    "Trace": "Lambda sends its traces itself, and the local cloud has no X-Ray",
    "Revocations": "the local cloud has no AWS Signer that answers; tests/contract/ports/test_signer.py has the call",
}
_REGION = re.compile(r"-[a-z]{2}(?:-[a-z]+)+-\d$")


def _names(cloud: Cloud, statements: set[tuple[str, str]]) -> list[tuple[str, str]]:
    """(Role or policy, Sid) without stack and region, so that those of several clouds can be combined; without those
    created by tests."""
    named = ((arn.rpartition("/")[2], sid) for arn, sid in statements)
    own = f"{cloud.stack}-"
    return sorted((_REGION.sub("", name).removeprefix(own), sid) for name, sid in named if name.startswith(own))


def write(cloud: Cloud) -> None:
    """Write one file for one cloud, into the folder that LEAST_PRIVILEGE names."""
    if folder := os.environ.get("LEAST_PRIVILEGE"):
        found = {
            "all": _names(cloud, cloud.permissions.statements()),
            "needed": _names(cloud, cloud.permissions.needed),
        }
        (Path(folder) / f"{uuid.uuid4()}.json").write_text(json.dumps(found))


def needless(folder: Path) -> tuple[int, list[tuple[str, str]]]:
    """The number of statements, and those that no call needed."""
    every: set[tuple[str, str]] = set()
    needed: set[tuple[str, str]] = set()
    for path in folder.glob("*.json"):
        found = json.loads(path.read_text())
        every |= {(role, sid) for role, sid in found["all"]}
        needed |= {(role, sid) for role, sid in found["needed"]}
    return len(every), sorted((role, sid) for role, sid in every - needed if sid not in ELSEWHERE)


if __name__ == "__main__":
    count, left = needless(Path(sys.argv[1]))
    for role, sid in left:
        print(f"{role}: no call needed the statement {sid}")
    print(f"{count} statements, {count - len(left)} needed")
    sys.exit(1 if left or not count else 0)
