"""The commands of `tallyman`, from their parsers."""

from collections.abc import Iterator
from typing import Any

import typer

from tallyman_cli.main import app


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that does something, with the words that lead to it."""
    inner = getattr(command, "commands", None)
    if inner is None or command.invoke_without_command:
        yield path, command
    for name, each in (inner or {}).items():
        yield from leaves(each, (*path, name))


ROOT_COMMAND: Any = typer.main.get_command(app)
COMMANDS = dict(leaves(ROOT_COMMAND))


def options(command: Any) -> set[str]:
    """The names of a command's options, including short ones."""
    own = (name for parameter in command.params for name in parameter.opts)
    return {name for name in own if name.startswith("-")} | {"--help"}
