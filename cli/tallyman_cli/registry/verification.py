"""Requests a verification, which the stack carries out, and waits for its verdict."""

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from tallyman.domain.history.details.verifications import Verified
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.times import format_time
from tallyman.errors import NotFound, Refused, TransientError
from tallyman_cli.shared import addresses, naming, output
from tallyman_cli.shared.context import Stack
from tallyman_cli.shared.waiting import wait_for


def ask(stack: Stack, text: str, timeout: float = 300) -> dict[str, Any] | None:
    """The verdict as {digest, repository, verdict, level, at, request, checks}; None: there was none within `timeout`
    seconds.

    Raises NotFound if the registry does not hold the image: no verdict would ever come.
    """
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
    return {
        "digest": digest,
        "repository": str(place),
        "verdict": Verified.parse(fact).verdict,
        "level": Verified.parse(fact).level,
        "at": format_time(fact.at),
        "request": request,
        "checks": [as_check(check) for check in Verified.parse(fact).checks],
    }


def as_check(check: Mapping[str, Any]) -> dict[str, Any]:
    """A check as JSON."""
    return {"name": check["name"], "verdict": check["verdict"], "reason": check.get("reason")}


def table(checks: list[dict[str, Any]]) -> list[tuple[output.Cell, ...]]:
    """The rows of a table of checks."""
    return [(c["name"], output.mark(c["verdict"]), c.get("reason") or "") for c in checks]
