"""A document while it is parsed: the lines of its parts, and the problems found so far.

A parser that finds a problem notes it in the document and raises `Wrong`; a parser of several parts first parses the
others, so that one run reports all problems.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from tallyman.errors import PolicyError

Path = tuple[str | int, ...]
Positions = Mapping[Path, int]


class Problem(NamedTuple):
    """One problem. `line` counts from 1; None: not known. `key`: the place, such as `promotions[0].tags`."""

    file: str
    line: int | None
    key: str
    message: str

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{where}: {self.key}: {self.message}" if self.key else f"{where}: {self.message}"


class PolicyProblem(PolicyError):
    """An invalid policy. `problems`: all that were found; the message has a line for each."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class Wrong(Exception):
    """A value that can't be parsed; the problem is noted in the document. Never leaves this package."""


class Document:
    """A document while it is parsed. `positions`: the line of each path; `environments`: the names that it defines."""

    def __init__(self, file: str, positions: Positions, problems: Iterable[Problem] = ()) -> None:
        self.file = file
        self.positions = positions
        self.problems = list(problems)
        self.warnings: list[Problem] = []
        self.environments: tuple[str, ...] = ()

    def problem(self, path: Path, message: str) -> Problem:
        """A problem at this path, with its line or that of the nearest enclosing part."""
        line = next((self.positions[p] for n in range(len(path), -1, -1) if (p := path[:n]) in self.positions), None)
        return Problem(self.file, line, path_text(path), message)


def path_text(path: Path) -> str:
    """The path as text, such as `repositories[0].promotions[1].gates`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


class Node(NamedTuple):
    """A value in a document."""

    value: object
    path: Path
    document: Document

    @property
    def key(self) -> str:
        """The place in the document, such as `repositories[0].match`."""
        return path_text(self.path)

    def child(self, step: str | int, value: object) -> "Node":
        """A value inside this one."""
        return Node(value, (*self.path, step), self.document)

    def wrong(self, message: str, path: Path | None = None) -> Wrong:
        """Note the problem at `path`, or at this node; the caller raises the result."""
        self.document.problems.append(self.document.problem(self.path if path is None else path, message))
        return Wrong(message)

    def expected(self, what: str, advice: str = "") -> Wrong:
        """Note that `what` was expected; the caller raises the result."""
        return self.wrong(f"expected {what}, found {found_text(self.value)}{advice}")

    def warn(self, message: str) -> None:
        """Note something that is allowed, but probably a mistake."""
        self.document.warnings.append(self.document.problem(self.path, message))


def found_text(value: object) -> str:
    """The value in a message, as YAML would write it, shortened."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case str():
            return f'"{value if len(value) <= 60 else value[:57] + "..."}"'
        case Mapping():
            return "a mapping"
        case list() | tuple():
            return "a list"
        case int() if abs(value) >= 10**20:
            return "a very large number"
        case _:
            return str(value)


def suggestion(word: str, known: tuple[str, ...]) -> str:
    """` (did you mean 'soak'?)`, or nothing where no known word is similar."""
    from difflib import get_close_matches  # only a mistake needs it, not every cold start

    near = get_close_matches(word, known, 1)
    return f" (did you mean '{near[0]}'?)" if near else ""


def check_keys(node: Node, known: tuple[str, ...]) -> Wrong | None:
    """Note every unknown key of the mapping, with the most similar known one; return the last problem, or None."""
    failure = None
    for key in node.value if isinstance(node.value, Mapping) else ():
        if not isinstance(key, str):
            failure = node.wrong(f"expected text as a key, found {found_text(key)}: put it in quotes")
        elif key not in known:
            hint = suggestion(key, known) or f" (known: {', '.join(known)})"
            failure = node.wrong(f"unknown key '{key}'{hint}", (*node.path, key))
    return failure
