"""Sends commands to the stack's queue, and waits until they are recorded. SQS itself says who sent one."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import uuid4

import typer

from tallyman.domain.events.commands import parse_command
from tallyman.domain.history.details.commands import Said
from tallyman.domain.history.facts import Fact
from tallyman.errors import BadInput, BadMessage
from tallyman_cli.shared import output
from tallyman_cli.shared.context import Stack
from tallyman_cli.shared.options import option
from tallyman_cli.shared.waiting import wait_for

Because = Annotated[str, option("--because REASON", "The reason; recorded permanently.", default=False)]
NoWait = Annotated[bool, option("--no-wait", "Send the request and return at once.")]

LOST = (
    "the command was not taken up within {timeout:g} s, but it still may be; if it failed, it is in the dead-letter "
    "queue with its reason: tallyman letters list --queue commands"
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A command that was sent, and its outcome. `fact`: what recorded it, None if that did not come in time or was not
    waited for; `trouble`: why it failed, in a sentence."""

    request: str
    fact: Fact | None
    trouble: str | None

    @classmethod
    def of(cls, request: str, fact: Fact) -> "Asked":
        """The outcome that the fact records."""
        refused = Said.parse(fact).refused
        return cls(request, fact, f"refused: {refused}" if refused else None)

    @property
    def done(self) -> bool:
        """Whether it was recorded in time, and nothing failed."""
        return self.fact is not None and not self.trouble

    @property
    def as_json(self) -> dict[str, Any]:
        """The keys that every such command has in its JSON."""
        return {
            "request": self.request,
            "recorded": self.fact is not None and not Said.parse(self.fact).refused,
            "refused": Said.parse(self.fact).refused if self.fact else None,
        }


def ask(
    stack: Stack,
    command: Mapping[str, Any],
    *,
    timeout: float,
    wait: bool = True,
    facts: Callable[[], Iterable[Fact]] | None = None,
) -> Asked:
    """Send the command, and wait until a fact records it, `timeout` seconds at most. `facts`: reads the facts that
    may record it, again and again; by default those of the command's `digest`."""
    request = str(uuid4())
    stack.hints.send("commands", checked({**command, "request": request}))
    if not wait:
        output.say(f"sent the request {request}")
        return Asked(request, None, None)
    read = facts or (lambda: stack.ledger.of_digest(command["digest"]))
    found = wait_for(stack, lambda: _answer(read(), request), timeout)
    if found is None:
        return Asked(request, None, LOST.format(timeout=timeout))
    return Asked.of(request, found)


def checked(command: dict[str, Any]) -> dict[str, Any]:
    """The command, if record_command can parse it. Raises BadInput: no fact would say what was wrong with it."""
    reason = command.get("because")
    if isinstance(reason, str) and not reason.strip():
        raise BadInput("--because is empty: expected a reason")
    try:
        parse_command(json.dumps(command))
    except BadMessage as error:
        raise BadInput(str(error)) from None
    return command


def finish(asked: Asked) -> None:
    """If the command failed, prints why and exits with 1."""
    if asked.trouble:
        output.trouble(asked.trouble)
        raise typer.Exit(1)


def _answer(facts: Iterable[Fact], request: str) -> Fact | None:
    return next((fact for fact in facts if Said.parse(fact).request == request), None)
