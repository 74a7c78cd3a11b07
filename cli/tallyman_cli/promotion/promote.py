"""`tallyman promote`: requests a promotion, and waits for its outcome. The gates hold for people too."""

from collections.abc import Container
from typing import Annotated
from uuid import uuid4

import typer

from tallyman.domain.decide import PROMOTED, Decision
from tallyman.domain.gates import PASSED
from tallyman.domain.history.details.commands import Said
from tallyman.domain.history.details.decisions import Destination
from tallyman.domain.history.details.promotions import Parked
from tallyman.domain.history.facts import Fact, Kind
from tallyman.errors import BadInput
from tallyman_cli.promotion import candidates
from tallyman_cli.promotion.why import To, note_unknown
from tallyman_cli.shared import asking, context, options, output
from tallyman_cli.shared.options import option
from tallyman_cli.shared.waiting import wait_for


@options.by_policy
def promote(  # noqa: PLR0913 - each argument is an option of the command
    image: options.Image,
    to: To,
    dry_run: Annotated[bool, option("--dry-run", "Only show the verdicts of the gates.")] = False,
    no_wait: asking.NoWait = False,
    override: Annotated[
        list[str] | None,
        option("--override GATE", "Override this gate for 24 hours, if the policy allows it; recorded and announced."),
    ] = None,
    because: Annotated[str | None, option("--because REASON", "The reason for the override.")] = None,
    timeout: options.Timeout = 300,
) -> None:
    """Request the promotion of an image, by digest, to every registry of an environment, and wait for the result.

    The policy defines who may request it (people.promote); every gate applies.

    Exit status: 0 promoted (--dry-run: it would be; --no-wait: requested); 1 refused, in conflict or waiting; 2 no
    promotion leads to that environment.
    """
    gates = override or []
    _check(gates, because, dry_run)
    opened = context.connect()
    where = candidates.candidate(opened, image, to)
    note_unknown(opened, where)
    if dry_run:
        decision = candidates.evaluate(opened, where)
        _answer(opened, where, decision, None)
        if not would_go(decision):
            raise typer.Exit(1)
        return
    for gate in gates:
        command = {**candidates.as_command(where), "command": "override", "gate": gate, "because": because}
        asked = asking.ask(opened, command, timeout=timeout)
        if asked.trouble:
            _answer(opened, where, candidates.evaluate(opened, where), asked.request)
        asking.finish(asked)
    request, before = str(uuid4()), _endings(opened, where)
    opened.hints.send("commands", {**candidates.as_command(where), "command": "promote", "request": request})
    output.say(f"requested the promotion of {where.text} to {to} (request {request})")
    if no_wait:
        if output.is_json():
            output.data({**candidates.as_json(where, candidates.evaluate(opened, where)), "request": request})
        return
    decision, trouble = _outcome(opened, where, request, before, timeout)
    _answer(opened, where, decision, request)
    if trouble:
        output.trouble(trouble)
    if trouble or decision.verdict != PROMOTED:
        raise typer.Exit(1)


def _check(gates: list[str], because: str | None, dry_run: bool) -> None:
    if gates and (not because or not because.strip()):
        raise BadInput("--override needs a reason: --because …")
    if because and not gates:
        raise BadInput("--because is the reason of an --override: name the gate")
    if gates and dry_run:
        raise BadInput("--dry-run writes nothing, and an override is recorded: leave one of the two out")


def would_go(decision: Decision) -> bool:
    """Whether a promotion would succeed, as far as that is known before the targets are read."""
    return decision.verdict in (PASSED, PROMOTED) or (decision.may_stage and candidates.only_target(decision))


Settled = tuple[Decision, str | None]
"""The last decision, and what prevented the promotion besides the gates (None: nothing did)."""


def _endings(stack: context.Stack, where: candidates.Candidate) -> dict[str, Fact]:
    """The facts that end a promotion of the image there, by their sort keys."""
    here = Destination(where.target, where.canonical)
    facts = (fact for fact in stack.ledger.of_digest(where.digest) if fact.kind in (Kind.PROMOTED, Kind.PARKED))
    return {fact.sort: fact for fact in facts if Destination.parse(fact) == here}


def _outcome(
    stack: context.Stack, where: candidates.Candidate, request: str, before: Container[str], timeout: float
) -> Settled:
    """Wait until the image is promoted, a gate fails or waits, or the time is over (`timeout` seconds). `before`: the
    endings that there were before the request."""

    def recorded() -> Fact | None:
        facts = stack.ledger.of_digest(where.digest)
        return next((f for f in facts if f.kind is Kind.REQUESTED and Said.parse(f).request == request), None)

    def settled() -> Settled | None:
        """The decision; None while the image is staged or tagged. A request voids earlier answers of the targets."""
        decision = candidates.evaluate(stack, where)
        under_way = decision.verdict == PASSED or candidates.only_target(decision)
        if decision.may_go_anew:  # it was promoted before: its targets are read again
            ended = next((fact for sort, fact in _endings(stack, where).items() if sort not in before), None)
            if ended is not None and ended.kind is Kind.PARKED:
                return decision, f"not brought again: {Parked.parse(ended).reason}"
            under_way = ended is None
        return None if under_way else (decision, None)

    start = stack.monotonic()
    asked = wait_for(stack, recorded, timeout)
    if asked is None:
        decision = candidates.evaluate(stack, where)
        # an event may have promoted it, whatever became of the request
        return decision, None if decision.verdict == PROMOTED else asking.LOST.format(timeout=timeout)
    if refused := Said.parse(asked).refused:
        return candidates.evaluate(stack, where), f"refused: {refused}"
    still = f"still in progress after {timeout:g} s; `tallyman why` shows the state"
    found = wait_for(stack, settled, timeout - (stack.monotonic() - start))
    return found or (candidates.evaluate(stack, where), still)


def _answer(opened: context.Stack, where: candidates.Candidate, decision: Decision, request: str | None) -> None:
    if output.is_json():
        output.data({**candidates.as_json(where, decision), "request": request})
    else:
        candidates.show(where, decision, candidates.released_instead(opened, where, decision))
