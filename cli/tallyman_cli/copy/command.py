"""`tallyman copy` among the other commands. The parser of copy.py defines and reads its options, and prints the help.

Typer gets the options for completion only; start.py calls copy.py directly.
"""

import argparse
from inspect import Parameter, Signature
from typing import Any, Optional

import typer

from tallyman_cli.copy.copy import EXIT, HELP, parser, run
from tallyman_cli.shared.chosen import chosen


def copy(**given: Any) -> None:
    # the docstring is HELP, below
    arguments = [word for action in _OPTIONS for word in _words(action, given[action.dest])]
    places = [given["source"], *(given["targets"] or ())] if given["source"] else []
    status = run([*arguments, *(["--", *places] if places else [])], stack=chosen.stack, policy=chosen.policy)
    if status:
        raise typer.Exit(status)


def _words(action: argparse.Action, given: Any) -> list[str]:
    name = action.option_strings[-1]
    if action.nargs == 0:
        return [name] if given else []
    found = given if isinstance(given, list) else [given] if given is not None else []
    return [word for value in found for word in (name, value)]


def _help(action: argparse.Action) -> str:
    """The help of argparse as a sentence, like that of other commands."""
    text = action.help or ""
    return f"{text[:1].upper()}{text[1:]}."


def _parameter(action: argparse.Action) -> Parameter:
    if not action.option_strings:
        default = typer.Argument(None, metavar=str(action.metavar), help=_help(action))
        kind: Any = Optional[list[str] if action.nargs else str]  # noqa: UP045 - typer reads no `str | None` of a name
    else:
        default = typer.Option(
            None if action.nargs is None else False,
            action.option_strings[-1],
            metavar=str(action.metavar) if action.metavar else None,
            help=_help(action),
        )
        kind = bool
        if action.nargs is None:
            kind = Optional[list[str] if isinstance(action.default, list) else str]  # noqa: UP045
    return Parameter(action.dest, Parameter.KEYWORD_ONLY, default=default, annotation=kind)


copy.__doc__ = f"{HELP}\n\n{EXIT}"
_ACTIONS = parser()._actions
_OPTIONS = [action for action in _ACTIONS if action.option_strings]
_PARAMETERS = [_parameter(action) for action in _ACTIONS]
vars(copy)["__signature__"] = Signature(_PARAMETERS)
copy.__annotations__ = {each.name: each.annotation for each in _PARAMETERS}
