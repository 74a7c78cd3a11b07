"""Imports a command when it runs. A table says where each command is, and what it does in a few words.

Importing all commands takes longer than most of them run. `--help` and completion need only the table.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command_from_info, get_group_from_info
from typer.models import CommandInfo, TyperInfo

from tallyman_cli.shared.examples import EXAMPLES, epilog


@dataclass(frozen=True, slots=True)
class Entry:
    """A command. `target`: `room.module:name` below tallyman_cli, a function or a group's Typer; `summary`: for the
    list of commands; `alone`: it draws on the terminal itself, or lets another program do so."""

    target: str
    summary: str
    alone: bool = False

    def load(self, name: str) -> Any:
        """The command. Cost: its imports."""
        module, _, attribute = self.target.partition(":")
        found: Any = vars(import_module(f"tallyman_cli.{module}"))[attribute]
        if isinstance(found, typer.Typer):
            info = TyperInfo(found, name=name, short_help=self.summary)
            group = get_group_from_info(
                info, pretty_exceptions_short=False, suggest_commands=True, rich_markup_mode=None
            )
            for inner, each in group.commands.items():
                each.epilog = epilog(f"{name} {inner}")
            if name in EXAMPLES:  # a group that is a command too
                group.epilog = epilog(name)
            return group
        command = CommandInfo(name, callback=found, short_help=self.summary, epilog=epilog(name))
        return get_command_from_info(command, pretty_exceptions_short=False, rich_markup_mode=None)


class Table(Mapping[str, Any]):
    """The commands by name, each loaded when it is first asked for."""

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        self.entries = entries
        self._loaded: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._loaded:
            self._loaded[name] = self.entries[name].load(name)
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


class LazyGroup(TyperGroup):
    """A group whose commands are in a table, which a subclass sets."""

    entries: Mapping[str, Entry] = {}

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        table: Any = Table(self.entries)  # typer declares a mutable mapping, but adds nothing to it here
        self.commands = table

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands in `--help` from the table; load no command."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in self.entries.items()])
