"""The base class of the values in the state table: reading them from JSON data and writing them.

A value has a field for each key. A time is stored as RFC 3339, a tuple as a list, a value within a value as an object.
A key that an item of an earlier version lacks is read as the field's default, or as None.
"""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields
from datetime import datetime
from types import UnionType
from typing import Any, ClassVar, Self, get_args, get_origin

from tallyman.domain.names import Digest
from tallyman.domain.plain import Plain, names_of, plain
from tallyman.domain.times import parse_time

LONGEST_REASON = 2000
"""The number of characters of a reason that an item keeps."""
_REASONS = frozenset({"reason", "failed", "said"})
"""Keys whose text is cut at LONGEST_REASON: they may quote other systems, and the fact has all of it."""


class StateValue(Plain):
    """The base class."""

    __slots__ = ()
    RENAMED: ClassVar = {
        "source": "from",
        "target": "to",
        "holders": "with",
        "notified": "told",
        "uses_notified": "uses_told",
        "stuck_notified": "stuck_told",
        "reported": "told",
        "reported_at": "told_at",
    }

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Self:
        """The value in an item's JSON data. Raises KeyError where a key is missing that every item has."""
        make: Callable[..., Self] = cls
        data = cls.completed(data)
        return make(
            **{
                name: read(data[key] if absent is MISSING else data.get(key, absent))
                for name, key, read, absent in _layout(cls)
            }
        )

    @classmethod
    def completed(cls, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """The data with keys that an item of an earlier version lacks, and that follow from its others."""
        return data

    def dump(self) -> dict[str, Any]:
        """The value as JSON data, for an item."""
        return {key: brief(part) if key in _REASONS else part for key, part in Plain.dump(self).items()}


def brief(reason: Any) -> Any:
    """The reason, cut at LONGEST_REASON characters if it is a text, as items must stay small."""
    return f"{reason[:LONGEST_REASON]}…" if isinstance(reason, str) and len(reason) > LONGEST_REASON else plain(reason)


_Reader = Callable[[Any], Any]
_LAYOUTS: dict[type[StateValue], list[tuple[str, str, _Reader, Any]]] = {}


def _layout(cls: type[StateValue]) -> list[tuple[str, str, _Reader, Any]]:
    """For each field: its name, its key, what reads it from JSON data, and its value where the key is missing (MISSING:
    every item has the key)."""
    if cls not in _LAYOUTS:
        found = zip(names_of(cls), fields(cls), strict=True)  # type: ignore[arg-type]
        _LAYOUTS[cls] = [(f.name, key, _reader(f.type), _absent(f)) for key, f in found]
    return _LAYOUTS[cls]


def _absent(field: Field[Any]) -> Any:
    optional = field.type is Any or type(None) in get_args(field.type)
    return None if optional and field.default is MISSING else field.default


def _reader(kind: Any) -> _Reader:
    """The function that makes a value of this type from JSON data. Raises TypeError for a type without one."""
    if isinstance(kind, UnionType):
        (inner,) = (each for each in get_args(kind) if each is not type(None))
        read, none = _reader(inner), (None,) if inner is str else (None, "")
        return lambda data: None if data in none else read(data)
    if get_origin(kind) is tuple:
        each = _reader(get_args(kind)[0])
        return lambda data: tuple(map(each, data or ()))
    if isinstance(kind, type) and issubclass(kind, StateValue):
        return kind.parse
    found = _READERS.get(get_origin(kind) or kind)
    if found is None:
        raise TypeError(f"a field of the type {kind} can't be read from JSON data: add a reader to _READERS")
    return found


def _as_it_is(data: Any) -> Any:
    return data


_READERS: dict[Any, _Reader] = {
    datetime: parse_time,
    Digest: Digest,
    bool: bool,
    int: int,
    str: _as_it_is,
    Mapping: _as_it_is,
    Any: _as_it_is,
}
