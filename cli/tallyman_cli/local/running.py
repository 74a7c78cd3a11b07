"""Calls the local cloud in which a command runs."""

import json
import os
from typing import Any

from tallyman.errors import BadInput, Refused
from tallyman_cli.shared import output

NOT_INSIDE = "not inside a local cloud: run this below `tallyman local exec -- …`, or export what `local start` prints"


def endpoint() -> str:
    """The address of the local cloud that this command runs in. Raises BadInput if there is none."""
    url = os.environ.get("AWS_ENDPOINT_URL", "")
    if not url.startswith("http://127.0.0.1:"):
        raise BadInput(NOT_INSIDE)
    return url


def ask(path: str, request: dict[str, Any], *, seconds: float = 60) -> dict[str, Any]:
    """Send a request to the cloud, and return its answer. Raises BadInput if there is none or the input is bad,
    Refused if it refuses."""
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
            raise BadInput(NOT_INSIDE) from None
        raise (Refused if error.code == 409 else BadInput)(f"{code + ': ' if code else ''}{text}") from None
    except OSError:
        raise BadInput(f"{NOT_INSIDE} (nothing answers at {url})") from None


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
