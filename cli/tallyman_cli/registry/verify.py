"""`tallyman verify`: has the stack verify an image's bytes now, and shows the result."""

from typing import Any
from uuid import uuid4

import typer

from tallyman.domain.history.details.verifications import Verified
from tallyman.domain.history.facts import Fact, Kind
from tallyman.errors import NotFound, Refused, TransientError, Unreachable
from tallyman_cli.shared import addresses, context, naming, options, output
from tallyman_cli.shared.waiting import wait_for
from tallyman_cli.views import record


@options.by_policy
def verify(image: options.Image, timeout: options.Timeout = 300) -> None:
    """Verify the bytes of an image now, as the policy requires: digests, sizes, layers, platforms, tag.

    The stack's function verify_digest checks the image and records the verdict; this command waits for it.

    Exit status: 0 passed; 1 failed, unknown, or no verdict in time.
    """
    found = ask(context.connect(), image, timeout)
    if found is None:
        raise Unreachable(
            f"no verdict on {image} within {timeout:g} s. It may still come, and then `tallyman show {image}` has it; "
            "a request that failed is in the dead-letter queue of verify_digest with its reason"
        )
    if output.is_json():
        output.data(found)
    else:
        output.line(f"{found['repository']}@{output.digest(found['digest'])}: {found['verdict']}")
        output.line()
        show_checks(found["checks"])
    if found["verdict"] != "passed":
        raise typer.Exit(1)


def ask(stack: context.Stack, text: str, timeout: float = 300) -> dict[str, Any] | None:
    """Request a verification, and wait for its verdict: {digest, repository, verdict, level, at, checks, request};
    None: there was none within `timeout` seconds. Raises NotFound if the registry does not hold the image."""
    named = addresses.image(stack.policy, text)
    digest = naming.digest_of(stack, named)
    place, request = named.place, str(uuid4())
    try:
        there = bool(stack.source.describe(place, [digest]))
    except NotFound:
        there = False
    except (TransientError, Refused):
        there = True  # not known: these credentials may not ask, or got no answer; the stack's own role will
    if not there:
        raise NotFound(f"{text}: there is no image {digest} in {place}")
    hint = {"repository": str(place), "digest": digest, "tag": named.tag, "request": request}
    stack.hints.send("verify", {"verify": hint})
    output.say(f"verifying {place}@{output.digest(digest)} (request {request})")

    def verdict() -> Fact | None:
        facts = stack.ledger.of_digest(digest)
        return next((f for f in facts if f.kind is Kind.VERIFIED and Verified.parse(f).request == request), None)

    fact = wait_for(stack, verdict, timeout)
    if fact is None:
        return None
    return {"digest": digest, "repository": str(place), **record.verification_row(fact), "request": request}


def show_checks(checks: list[dict[str, Any]]) -> None:
    """Print a table of checks."""
    output.table({"check": c["name"], "verdict": c["verdict"], "what": c.get("reason")} for c in checks)
