"""Reading and writing the detail of a fact: what all of them have in common.

A class names each key as a field; what older facts lack is the field's default. Keys that a class does not name are
passed over, so that it also reads kinds that say more (`Destination`).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any, ClassVar, Self

from tallyman.domain.history.facts import Fact

_STORED = {"source": "from", "target": "to", "replicated_from": "source"}
"""Fields whose key in the stored detail is another."""


class Details:
    """Base of the value classes. `SPARSE`: keys that are left out where their field has its default."""

    __slots__ = ()
    SPARSE: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def parse(cls, fact: Fact) -> Self:
        """What the fact says. TypeError where a key is missing that no fact of the kind ever lacked."""
        make: Callable[..., Self] = cls
        names = _NAMES.get(cls) or _names(cls)
        return make(**{names[key]: part for key, part in fact.detail.items() if key in names})

    @classmethod
    def of(cls, facts: Iterable[Fact]) -> list[Self]:
        """What each of the facts says."""
        return [cls.parse(fact) for fact in facts]

    def dump(self) -> dict[str, Any]:
        """As plain JSON data, for a fact."""
        defaults = {field.name: field.default for field in fields(self)}  # type: ignore[arg-type]
        return {
            key: _plain(value)
            for key, name in _names(type(self)).items()
            if (value := getattr(self, name)) != defaults[name] or key not in self.SPARSE
        }


_NAMES: dict[type[Details], dict[str, str]] = {}


def _names(cls: type[Details]) -> dict[str, str]:
    """The field of each stored key."""
    if cls not in _NAMES:
        _NAMES[cls] = {_STORED.get(f.name, f.name): f.name for f in fields(cls)}  # type: ignore[arg-type]
    return _NAMES[cls]


def _plain(value: Any) -> Any:
    """A tuple as a list, a mapping as a dict: as JSON has them."""
    if isinstance(value, tuple):
        return list(value)
    return dict(value) if isinstance(value, Mapping) else value
