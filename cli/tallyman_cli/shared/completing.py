"""Completes a command line: commands, options, and values from the stack.

The scripts of `tallyman completion` call it with the line up to the cursor. An error suggests nothing, because a shell
shows none while it completes (TALLYMAN_DEBUG=1 shows them).
"""

import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from tallyman_cli.shared import output
from tallyman_cli.shared.lazy import Table

LINE, SHELL = "_TALLYMAN_COMPLETE", "_TALLYMAN_COMPLETE_SHELL"
"""The variables that hold the line up to the cursor, and the name of the shell."""

Candidate = tuple[str, str]
"""A text to insert, and what it is, in a few words."""


def answer(root: Any, environ: MutableMapping[str, str] = os.environ) -> None:
    """Print the candidates for the line in the environment, one a line."""
    line, shell = environ.pop(LINE), environ.pop(SHELL, "bash")
    try:
        found = list(candidates(root, line))
    except Exception:
        if output.debugging(environ):
            raise
        return
    for value, what in found:
        sys.stdout.write(f"{value}\t{what}\n" if what and shell != "bash" else f"{value}\n")


@dataclass(slots=True)
class _Line:
    """How far a line is read: its command, the arguments and option values given; `option`: the one whose value comes
    next; `ended`: `--` came, after which there are no options."""

    command: Any
    given: list[str] = field(default_factory=list)
    values: dict[str, str] = field(default_factory=dict)
    option: Any = None
    ended: bool = False

    def take(self, word: str) -> None:
        """Read one more word."""
        if self.option is not None:
            self.values[self.option.name] = word
            self.option = None
        elif word == "--":
            self.ended = True
        elif word.startswith("-") and not self.ended:
            name, there, value = word.partition("=")
            option = next((p for p in _options(self.command) if name in p.opts), None)
            if option is not None and there:
                self.values[option.name] = value
            elif option is not None and not option.is_flag:
                self.option = option
        elif (inner := commands(self.command)) is not None and word in inner:
            self.command, self.given, self.ended = inner[word], [], False
        else:
            self.given.append(word)

    @property
    def parameter(self) -> Any:
        """The option or argument whose value the next word is; None: there is none."""
        if self.option is not None:
            return self.option
        arguments = [p for p in self.command.params if p.param_type_name == "argument"]
        if len(self.given) < len(arguments):
            return arguments[len(self.given)]
        return arguments[-1] if arguments and arguments[-1].nargs == -1 else None


def candidates(root: Any, line: str) -> Iterator[Candidate]:
    """The candidates for the last word of the line."""
    words = _words(line)
    begun = words.pop() if words and not line[-1:].isspace() else ""
    at = _Line(root)
    for word in words[1:]:
        at.take(word)
    inner = commands(at.command)
    if at.option is None and begun.startswith("-") and not at.ended:
        name, there, value = begun.partition("=")
        option = next((p for p in _options(at.command) if name in p.opts), None)
        if there and option is not None:
            yield from ((f"{name}={found}", what) for found, what in _values(option, value, at))
            return
        for each in _options(at.command):
            yield from ((opt, each.help or "") for opt in each.opts if opt.startswith("--") and opt.startswith(begun))
        yield from [("--help", "Show what the command does.")] if "--help".startswith(begun) else []
    elif at.option is None and inner is not None:
        for name in inner:
            if name.startswith(begun):
                yield name, inner.entries[name].summary if isinstance(inner, Table) else inner[name].short_help or ""
    elif at.parameter is not None:
        yield from _values(at.parameter, begun, at)


def commands(command: Any) -> Any:
    """A group's commands by name; None for a command."""
    return vars(command).get("commands")


def _options(command: Any) -> Iterable[Any]:
    return [parameter for parameter in command.params if parameter.param_type_name == "option"]


def _words(line: str) -> list[str]:
    """The words of a line; an open quote is closed at its end."""
    for closing in ("", '"', "'"):
        try:
            return shlex.split(line + closing)
        except ValueError:
            continue
    return line.split()


def _values(parameter: Any, begun: str, at: _Line) -> Iterator[Candidate]:
    """The candidates for the value of a parameter, by its metavar."""
    kind = parameter.metavar or ""
    find = _KINDS.get(kind)
    if find is None and kind.isascii() and kind.replace("|", "").islower():  # the words themselves: bash|zsh|fish
        yield from ((word, "") for word in kind.split("|") if word.startswith(begun))
    elif find is not None:
        from tallyman_cli.shared.chosen import read_files

        read_files()
        yield from ((value, what) for value, what in find(at, begun) if value.startswith(begun))


def _policy(at: _Line) -> Any:
    from pathlib import Path

    from tallyman_cli.shared import context

    file = at.values.get("policy")
    return context.rules(at.values.get("stack"), Path(file) if file else None)


def _environments(at: _Line, begun: str) -> Iterator[Candidate]:
    for name, environment in _policy(at).environments.items():
        yield name, ", ".join(map(str, environment.registries))


def _repositories(at: _Line, begun: str) -> Iterator[Candidate]:
    """An environment with `/`, then its repositories."""
    environment, slash, _ = begun.partition("/")
    if not slash:
        yield from ((f"{name}/", what) for name, what in _environments(at, begun))
        return
    from tallyman_cli.shared import context

    policy, opened = _policy(at), context.connect(at.values.get("stack"))
    registry = policy.environment(environment).registries[0]
    for settings in opened.registries.repositories(registry):
        held_by, name = policy.environment_of(settings.repository)
        if held_by is not None and held_by.name == environment:
            yield f"{environment}/{name}", ""


def _images(at: _Line, begun: str) -> Iterator[Candidate]:
    """A repository with `:`, then its tags, the newest first."""
    path, colon, _ = begun.partition(":")
    if not colon:
        yield from ((name if name.endswith("/") else f"{name}:", what) for name, what in _repositories(at, begun))
        return
    from tallyman_cli.shared import context

    environment, _, name = path.partition("/")
    opened = context.connect(at.values.get("stack"))
    place = _policy(at).environment(environment).repositories(name)[0]
    found = sorted(opened.source.images(place), key=lambda image: image.pushed_at, reverse=True)
    yield from ((f"{path}:{tag}", "") for image in found for tag in image.tags)


_KINDS: dict[str, Callable[[_Line, str], Iterator[Candidate]]] = {
    "ENVIRONMENT": _environments,
    "REPOSITORY": _repositories,
    "ENVIRONMENT/REPOSITORY": _repositories,
    "ENVIRONMENT[/REPOSITORY]": _repositories,
    "IMAGE": _images,
    "IMAGE|REPOSITORY": _images,
    "ENVIRONMENT|REPOSITORY": _repositories,
    "SOURCE": _images,
    "TARGET …": _repositories,
}
