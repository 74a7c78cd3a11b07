"""Values as JSON data: the form in which facts, items of the state table and messages hold them."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, ClassVar

from tallyman.domain.times import format_time


class Plain:
    """The base of value classes with a key of JSON data for each field. `RENAMED`: the key of each field whose key
    differs from its name; `SPARSE`: keys that `dump` leaves out where the field has its default."""

    __slots__ = ()
    RENAMED: ClassVar[Mapping[str, str]] = MappingProxyType({})
    SPARSE: ClassVar[frozenset[str]] = frozenset()

    def dump(self) -> dict[str, Any]:
        """The value as JSON data."""
        defaults = {field.name: field.default for field in fields(self)}  # type: ignore[arg-type]
        return {
            key: plain(value)
            for key, name in names_of(type(self)).items()
            if (value := getattr(self, name)) != defaults[name] or key not in self.SPARSE
        }


_NAMES: dict[type[Plain], dict[str, str]] = {}


def names_of(cls: type[Plain]) -> dict[str, str]:
    """The name of the field of each key."""
    if cls not in _NAMES:
        _NAMES[cls] = {cls.RENAMED.get(f.name, f.name): f.name for f in fields(cls)}  # type: ignore[arg-type]
    return _NAMES[cls]


def plain(value: Any) -> Any:
    """The value as JSON data: a value class as an object, a time as RFC 3339, a tuple as a list. Lists and the parts of
    mappings have to be JSON data already."""
    if isinstance(value, Plain):
        return value.dump()
    if isinstance(value, datetime):
        return format_time(value)
    if isinstance(value, tuple):
        return [plain(each) for each in value]
    if isinstance(value, Mapping):
        return dict(value)
    return {f.name: plain(getattr(value, f.name)) for f in fields(value)} if is_dataclass(value) else value


def values_under(data: Any, key: str) -> Iterator[Any]:
    """The values under a key of JSON data, at any depth."""
    if isinstance(data, Mapping):
        if key in data:
            yield data[key]
        data = list(data.values())
    if isinstance(data, list | tuple):
        for part in data:
            yield from values_under(part, key)
