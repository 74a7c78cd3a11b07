"""Options that several commands share."""

from collections.abc import Callable
from datetime import datetime
from functools import wraps
from inspect import Parameter, signature
from pathlib import Path
from typing import Annotated, Any

import typer

from tallyman.domain.times import parse_moment, parse_time
from tallyman.errors import BadInput
from tallyman_cli.shared import output
from tallyman_cli.shared.chosen import chosen

IMAGE_HELP = (
    "ENVIRONMENT/REPOSITORY:TAG or …@DIGEST, such as dev/rocketseat/widget-server:v1, or a full ECR address. "
    "prod[2]/… reads the environment's second registry."
)


LONGEST_WAIT = 366 * 86_400
"""Seconds; timers of the operating system take no longer ones."""


def seconds(given: float | None) -> float | None:
    """The callback of an option that takes seconds to wait."""
    if given is not None and not 0 <= given <= LONGEST_WAIT:  # NaN is in no range
        raise typer.BadParameter(f"{given} is not a time to wait: expected 0 to {LONGEST_WAIT} seconds")
    return given


def option(form: str, help: str, default: str | bool = True, **more: Any) -> Any:
    """An option of a command. `form`: as in the help, such as `--to ENVIRONMENT`; `default`: the words for the default
    in the help (True: its value, False: none)."""
    name, _, metavar = form.partition(" ")
    return typer.Option(name, metavar=metavar or None, help=help, show_default=default, **more)


def argument(metavar: str, help: str, default: str | bool = True, **more: Any) -> Any:
    """An argument of a command, described in the same way."""
    return typer.Argument(metavar=metavar, help=help, show_default=default, **more)


Image = Annotated[str, argument("IMAGE", IMAGE_HELP)]
AsJson = Annotated[bool, option("--json", "Print JSON.", callback=output.use_json)]
Stack = Annotated[
    str | None, option("--stack NAME", "The CloudFormation stack (or TALLYMAN_STACK).", default="tallyman")
]
PolicyFile = Annotated[
    Path | None, option("--policy FILE", "Use this policy file (or TALLYMAN_POLICY).", default="the one in force")
]
At = Annotated[
    str | None, option("--at TIME", "Answer as of this time (RFC 3339: 2026-11-16T01:54:34Z).", default="now")
]
PriceFile = Annotated[
    Path | None, option("--prices FILE", "Use a price table of your own.", default="the built-in one")
]
Timeout = Annotated[float, option("--timeout SECONDS", "How long to wait for the result.", callback=seconds)]


Command = Callable[..., None]


def _adding(*names: str) -> Callable[[Command], Command]:
    """Make a decorator that adds options after a command's own. `output.is_json` and `chosen` know their values."""
    every = {"as_json": (False, AsJson), "stack": (None, Stack), "policy": (None, PolicyFile)}
    added = [Parameter(n, Parameter.KEYWORD_ONLY, default=every[n][0], annotation=every[n][1]) for n in names]

    def decorate(command: Command) -> Command:
        @wraps(command)
        def wrapper(*, as_json: bool, stack: str | None, policy: Path | None = None, **given: Any) -> None:
            with chosen.for_command(stack, policy):
                command(**given)

        own = signature(command)
        vars(wrapper)["__signature__"] = own.replace(parameters=[*own.parameters.values(), *added])
        return wrapper

    return decorate


on_stack = _adding("as_json", "stack")
"""Decorates a command that reads the stack: adds --json and --stack."""
by_policy = _adding("as_json", "stack", "policy")
"""Decorates a command that reads the stack, and judges by a policy: adds --json, --stack and --policy."""


def moment(text: str | None) -> datetime | None:
    """The time of `--at`. Raises BadInput if it is not one."""
    return parse_moment(text) if text is not None else None


def note_future(at: datetime | None, now: datetime) -> None:
    """Say that nobody knows yet what an answer as of a future time would be."""
    if at is not None and at > now:
        output.say(f"{output.when(at)} is in the future; the answer uses what is known now")


def beginning(text: str, now: datetime) -> datetime:
    """The time of `--since`. Raises BadInput if it is not a time, or a future one."""
    since = parse_time(text)
    if since > now:
        raise BadInput(f"--since {text} is in the future; it is {output.when(now)} now")
    return since
