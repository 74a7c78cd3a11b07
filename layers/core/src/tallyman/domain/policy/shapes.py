"""Shapes of values in a policy. Each parses a node and describes itself as JSON Schema, so that a key, its check and
its description are written once. (They are named tuples: a dataclass takes ten times as long at a cold start.)
"""

import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from tallyman.domain.policy.durations import DURATION_EXPECTED, DURATION_PATTERN, BadDuration, parse_duration
from tallyman.domain.policy.reading import Node, Wrong, check_keys, suggestion

Schema = dict[str, Any]
T_co = TypeVar("T_co", covariant=True)
E = TypeVar("E", bound=StrEnum)


class Shape(Protocol[T_co]):
    """The parser and the description of one kind of value."""

    def read(self, node: Node) -> T_co:
        """Parse the node. Raises Wrong after noting the problem in the document."""
        ...

    def schema(self) -> Schema:
        """The shape as JSON Schema, draft 2020-12."""
        ...


def _same(value: Any) -> Any:
    return value


class Boolean(NamedTuple):
    """true or false."""

    build: Callable[[bool], Any] = _same

    def read(self, node: Node) -> Any:
        if not isinstance(node.value, bool):
            raise node.expected("true or false")
        return self.build(node.value)

    def schema(self) -> Schema:
        return {"type": "boolean"}


class Integer(NamedTuple):
    """A whole number of at least `minimum`."""

    minimum: int = 0

    def read(self, node: Node) -> int:
        value = node.value
        if isinstance(value, bool) or not isinstance(value, int) or value < self.minimum:
            raise node.expected(f"a whole number, at least {self.minimum}")
        return value

    def schema(self) -> Schema:
        return {"type": "integer", "minimum": self.minimum}


class Share:
    """A number from 0 to 1."""

    def read(self, node: Node) -> float:
        value = node.value
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise node.expected("a number from 0 to 1, such as 0.5")
        return float(value)

    def schema(self) -> Schema:
        return {"type": "number", "minimum": 0, "maximum": 1}


class String(NamedTuple):
    """A string that is not empty, and matches the whole `pattern` if there is one. `what`: its description in messages;
    `build` makes a value of it, and may raise ValueError with a message."""

    pattern: str | None = None
    what: str = "a string"
    build: Callable[[str], Any] = _same

    def read(self, node: Node) -> Any:
        value = node.value
        if isinstance(value, (int, float)):  # YAML's 1.0 and 0123, and on, off, yes and no
            quotes = not self.pattern or re.fullmatch(self.pattern, str(value))
            raise node.expected(self.what, ": put it in quotes" if quotes else "")
        if not isinstance(value, str) or not value or (self.pattern and not re.fullmatch(self.pattern, value)):
            raise node.expected(self.what)
        try:
            return self.build(value)
        except ValueError as error:
            raise node.wrong(str(error)) from error

    def schema(self) -> Schema:
        if self.pattern:
            return {"type": "string", "pattern": f"^(?:{self.pattern})$"}
        return {"type": "string", "minLength": 1}


def role_name() -> String:
    """`role/NAME`, with the role's path if it has one."""
    return String(r"role/[A-Za-z0-9_+=,.@/-]*[A-Za-z0-9_+=,.@-]", "a role such as role/release-managers")


class Duration(NamedTuple):
    """A duration such as 24h."""

    build: Callable[[timedelta], Any] = _same

    def read(self, node: Node) -> Any:
        if not isinstance(node.value, str):
            raise node.expected(DURATION_EXPECTED)
        try:
            return self.build(parse_duration(node.value))
        except BadDuration as error:
            raise node.wrong(str(error)) from None

    def schema(self) -> Schema:
        return {"type": "string", "pattern": DURATION_PATTERN}


class Day:
    """A date such as 2027-01-31; a date in YAML, a string in JSON."""

    def read(self, node: Node) -> date:
        value = node.value
        if isinstance(value, date) and not isinstance(value, datetime):
            return value
        if isinstance(value, str) and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
            try:
                return date.fromisoformat(value)
            except ValueError as error:
                raise node.expected("a date such as 2027-01-31") from error
        raise node.expected("a date such as 2027-01-31")

    def schema(self) -> Schema:
        return {"type": "string", "format": "date"}


class Choice(NamedTuple, Generic[E]):
    """One of a few words."""

    words: type[E]

    def read(self, node: Node) -> E:
        if not isinstance(node.value, str) or node.value not in list(self.words):
            hint = suggestion(node.value, tuple(map(str, self.words))) if isinstance(node.value, str) else ""
            raise node.expected(" or ".join(map(str, self.words)) + hint)
        return self.words(node.value)

    def schema(self) -> Schema:
        return {"enum": [str(word) for word in self.words]}


class ListOf(NamedTuple):
    """A list of `least` to `most` values of one kind, as a tuple. `build` makes a value of it, and may raise
    ValueError."""

    item: Shape[Any]
    least: int = 0
    most: int | None = None
    build: Callable[[tuple[Any, ...]], Any] = _same

    def read(self, node: Node) -> Any:
        if not isinstance(node.value, list):
            raise node.expected("a list")
        if len(node.value) < self.least or (self.most is not None and len(node.value) > self.most):
            limits = f"at least {self.least}" if len(node.value) < self.least else f"at most {self.most}"
            raise node.wrong(f"expected {limits} in the list, found {len(node.value)}")
        items, failure = [], None
        for index, value in enumerate(node.value):
            try:
                items.append(self.item.read(node.child(index, value)))
            except Wrong as error:
                failure = error
        if failure:
            raise failure
        try:
            return self.build(tuple(items))
        except ValueError as error:
            raise node.wrong(str(error)) from error

    def schema(self) -> Schema:
        found: Schema = {"type": "array", "items": self.item.schema()}
        if self.least:
            found["minItems"] = self.least
        if self.most is not None:
            found["maxItems"] = self.most
        return found


class OneOrMore(NamedTuple):
    """A list, or one of its values without the list. `one`: the type of such a value in the file."""

    many: ListOf
    one: type

    def read(self, node: Node) -> Any:
        if isinstance(node.value, self.one):
            return self.many.build((self.many.item.read(node),))
        return self.many.read(node)

    def schema(self) -> Schema:
        return {"anyOf": [self.many.item.schema(), self.many.schema()]}


class Key(NamedTuple):
    """A key of a record. `description`: one sentence for people."""

    shape: Shape[Any]
    description: str
    required: bool = False


class Record(NamedTuple):
    """A mapping with known keys. `build` is called with the keys that are given; its defaults stand for the others."""

    keys: Mapping[str, Key]
    build: Callable[..., Any]
    expected: str
    renamed: Mapping[str, str] = MappingProxyType({})  # key → the parameter of `build`

    def read(self, node: Node) -> Any:
        if not isinstance(node.value, Mapping):
            raise node.expected(self.expected)
        values: dict[str, Any] = {}
        failure = check_keys(node, tuple(self.keys))
        for name, key in self.keys.items():
            if name not in node.value:
                if key.required:
                    failure = node.wrong(f"'{name}' is missing: {key.description[0].lower()}{key.description[1:]}")
                continue
            try:
                values[name] = key.shape.read(node.child(name, node.value[name]))
            except Wrong as error:
                failure = error
        if failure:
            raise failure
        return self.build(**{self.renamed.get(name, name): value for name, value in values.items()})

    def schema(self) -> Schema:
        found: Schema = {
            "type": "object",
            "additionalProperties": False,
            "properties": {n: {"description": k.description, **k.shape.schema()} for n, k in self.keys.items()},
        }
        if required := [name for name, key in self.keys.items() if key.required]:
            found["required"] = required
        return found


class OneOf(NamedTuple):
    """A record in one of several forms: the first whose key is given. `expected`: all forms, for people."""

    forms: Mapping[str, Record]
    expected: str

    def read(self, node: Node) -> Any:
        form = next((f for f in self.forms if isinstance(node.value, Mapping) and f in node.value), None)
        if form is None:
            raise node.expected(self.expected)
        return self.forms[form].read(node)

    def schema(self) -> Schema:
        return {"anyOf": [record.schema() for record in self.forms.values()]}
