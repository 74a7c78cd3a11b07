"""The surroundings of `make invoke`: prepares the local cloud for the event, and reports what the function wrote.

The events of `events/` describe a push of `tallyman_cli.events.parts.event_image`. Here it is pushed for real. The
cloud's own workers lose that event, so that the function under test has something to find.
"""

import json
import sys
import urllib.request
from typing import Any

import boto3

from tallyman_cli.events.parts import NAME, TAG, event_image
from tallyman_cli.registry.creation import create_in
from tallyman_cli.shared.context import Stack, connect


def control(url: str, path: str, **request: Any) -> dict[str, Any]:
    """An answer of the cloud's control API."""
    call = urllib.request.Request(
        f"{url}/_tallyman/{path}", json.dumps(request).encode(), {"Content-Type": "application/json"}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(call, timeout=90) as answer:
        found: dict[str, Any] = json.loads(answer.read())
        return found


def prepare(url: str, function: str) -> None:
    """Prepare the cloud for this function's event.

    record_push, verify_digest and reconcile: an image was pushed, and no function knows. record_scan: a scan has just
    ended. record_command: a verified image whose scan is missing. promote_image: every gate is open, the target was
    missing.
    """
    stack = connect()
    for made in create_in(stack, NAME, "dev"):
        assert made["state"] in ("created", "equal"), made
    unseen = function in ("record_push", "verify_digest", "reconcile")
    with_chaos(url, unseen)
    push(stack)
    settle(url)
    children = [child.digest for child in event_image().children]
    if function == "record_scan":
        with_chaos(url, True)
        scan(url, children[0], {"critical": 1, "medium": 9})
        control(url, "scan", image=f"dev/{NAME}@{children[1]}", status="FAILED")
    if function == "promote_image":
        control(url, "fail", name="prod_1", status=503)
        for child in children:
            scan(url, child, {})
        settle(url)
        control(url, "fail", off=True)
    with_chaos(url, False)


def with_chaos(url: str, lose: bool) -> None:
    """From now on lose all events, or none."""
    control(url, "chaos", **({"lose": 1.0} if lose else {"off": True}))


def settle(url: str) -> None:
    """Wait until nothing is in progress."""
    answer = control(url, "settle", timeout=60)
    assert answer["settled"], answer


def scan(url: str, digest: str, counts: dict[str, int]) -> None:
    """Complete a scan."""
    control(url, "scan", image=f"dev/{NAME}@{digest}", counts=counts)


def push(stack: Stack) -> None:
    """Push the image of the events to dev, as a client does: blobs, platforms by digest, the index by its tag."""
    (dev, *_), image = stack.policy.environment("dev").repositories(NAME), event_image()
    for digest, raw in image.blobs.items():
        if stack.target.missing_blobs(dev, [digest]):
            stack.target.upload(dev, digest, len(raw), [raw])
    for child in image.children:
        stack.target.put_manifest(dev, child)
    stack.target.put_manifest(dev, image.root, TAG)


class Written:
    """The current contents of the tables, for a later comparison."""

    def __init__(self, variables: dict[str, str]) -> None:
        self._tables = {
            "facts": variables["TALLYMAN_LEDGER_TABLE"],
            "state": variables["TALLYMAN_STATE_TABLE"],
        }
        self._client = boto3.client("dynamodb")
        self._before = self._items()

    def _items(self) -> dict[tuple[str, str, str], dict[str, Any]]:
        found = {}
        for what, table in self._tables.items():
            for page in self._client.get_paginator("scan").paginate(TableName=table):
                for item in page["Items"]:
                    found[what, item["pk"]["S"], item["sk"]["S"]] = item
        return found

    def tell(self) -> list[str]:
        """Print a line for each fact and state that was written since, to stderr too."""
        lines = []
        for (what, pk, sk), item in sorted(self._items().items()):
            if self._before.get((what, pk, sk)) == item:
                continue
            kind = item.get("kind", {}).get("S", "")
            lines.append(f"wrote {what}: {kind or sk} ({pk})")
        for line in lines or ["wrote nothing to the tables"]:
            print(line, file=sys.stderr)
        return lines
