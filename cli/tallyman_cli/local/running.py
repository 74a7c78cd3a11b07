"""Calls the local cloud in which a command runs."""

import json
import os
from typing import Any

import typer

from tallyman_cli.local.options import bad
from tallyman_cli.shared import output

NOT_INSIDE = "not inside a local cloud: run this below `tallyman local exec -- …`, or export what `local start` prints"


def endpoint() -> str:
    """The address of the local cloud that this command runs in. Exits with 2 if there is none."""
    url = os.environ.get("AWS_ENDPOINT_URL", "")
    return url if url.startswith("http://127.0.0.1:") else bad(NOT_INSIDE)


def ask(path: str, request: dict[str, Any], *, seconds: float = 60) -> dict[str, Any]:
    """Send a request to the cloud, and return its answer. Exits with 2 if there is none or the input is bad, with 1
    if it refuses."""
    import urllib.error
    import urllib.request

    url = endpoint()
    call = urllib.request.Request(
        f"{url}/_tallyman/{path}", json.dumps(request).encode(), {"Content-Type": "application/json"}
    )
    # No proxy: the address is this machine's own.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(call, timeout=seconds) as response:
            answer: dict[str, Any] = json.loads(response.read())
            return answer
    except urllib.error.HTTPError as error:
        with error:
            try:
                body = json.loads(error.read())
            except ValueError:
                body = {}
        code, text = body.get("code"), body.get("error")
        if text is None:
            bad(NOT_INSIDE)
        output.trouble(f"tallyman: {code + ': ' if code else ''}{text}")
        raise typer.Exit(1 if error.code == 409 else 2) from None
    except OSError:
        bad(f"{NOT_INSIDE} (nothing answers at {url})")


def describe(left: dict[str, Any]) -> str:
    """What `settle` left, in words."""
    parts = []
    if left.get("bus"):
        parts.append(f"{output.counted(left['bus'], 'event')} on the bus")
    for queue, counts in left.get("queues", {}).items():
        named = ", ".join(f"{count} {state.replace('_', ' ')}" for state, count in counts.items() if count)
        parts.append(f"{queue}: {named}")
    if left.get("invocations"):
        parts.append(output.counted(left["invocations"], "invocation"))
    if left.get("backfills"):
        parts.append(output.counted(left["backfills"], "replication backfill"))
    return "; ".join(parts)
