"""`@value`: a frozen class with slots that is cheap to define.

Each cold start of a Lambda function defines all classes of the modules that it imports. The standard library compiles
up to seven methods for each frozen dataclass, which is most of such a module's import time: 72 classes took a fifth of
a handler's import. Here all classes share the methods, and the first instance compiles `__init__`. Fields, defaults,
slots, `replace`, `asdict` and matching are those of `dataclasses`.

`@value(slots=False)` makes a class without slots, for classes with a `cached_property`.
"""

import dataclasses
from collections.abc import Callable
from operator import attrgetter
from typing import Any, TypeVar, dataclass_transform, overload

__all__ = ["value"]

_MISSING = dataclasses.MISSING
_T = TypeVar("_T")


@overload
def value(cls: type[_T], /) -> type[_T]: ...
@overload
def value(*, slots: bool) -> Callable[[type[_T]], type[_T]]: ...
@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field,))
def value(cls: type[Any] | None = None, /, *, slots: bool = True) -> Any:
    """Make `cls` a frozen dataclass. `slots`: whether instances have slots and no `__dict__`."""

    def decorate(cls: type) -> type:
        own = set(cls.__dict__)
        if not cls.__doc__:
            cls.__doc__ = cls.__name__  # else `dataclasses` formats the signature, which takes ten times as long
        made: type = dataclasses.dataclass(init=False, repr=False, eq=False, slots=slots)(cls)
        for name, method in _methods(made).items():
            if name not in own or (name == "__hash__" and "__eq__" in own and made.__hash__ is None):
                setattr(made, name, method)
        return made

    return decorate if cls is None else decorate(cls)


def _methods(cls: type) -> dict[str, Any]:
    """The methods that `dataclasses` would have compiled for a frozen class."""
    compared = _reader([f.name for f in dataclasses.fields(cls) if f.compare])
    hashed = _reader([f.name for f in dataclasses.fields(cls) if (f.compare if f.hash is None else f.hash)])

    def __init__(self: Any, *args: Any, **named: Any) -> None:
        initialize = _initializer(cls)
        if cls.__dict__.get("__init__") is __init__:
            cls.__init__ = initialize  # type: ignore[misc]
        initialize(self, *args, **named)

    def __eq__(self: Any, other: object) -> Any:
        return compared(self) == compared(other) if other.__class__ is self.__class__ else NotImplemented

    def __hash__(self: Any) -> int:
        return hash(hashed(self))

    found = {"__init__": __init__, "__eq__": __eq__, "__hash__": __hash__}
    return found | {"__repr__": _repr, "__setattr__": _refuse_set, "__delattr__": _refuse_delete, **_PICKLING}


def _reader(names: list[str]) -> Callable[[Any], Any]:
    """A function that returns the values of these attributes as a tuple."""
    if len(names) > 1:
        return attrgetter(*names)
    return (lambda value: (getattr(value, names[0]),)) if names else lambda value: ()


def _initializer(cls: type) -> Callable[..., None]:
    """`__init__` as `dataclasses` writes it: a parameter for each field, then `__post_init__`."""
    known: dict[str, Any] = {"_set": object.__setattr__, "_MISSING": _MISSING}
    parameters, lines = [], []
    for field in dataclasses.fields(cls):
        name, value = field.name, field.name
        if field.default is not _MISSING:
            known[f"_default_{name}"] = field.default
        if field.default_factory is not _MISSING:
            known[f"_make_{name}"] = field.default_factory
            value = f"_make_{name}() if {name} is _MISSING else {name}" if field.init else f"_make_{name}()"
        elif not field.init:
            if field.default is _MISSING:
                continue
            value = f"_default_{name}"
        if field.init:
            default = f"_default_{name}" if field.default is not _MISSING else "_MISSING"
            optional = field.default is not _MISSING or field.default_factory is not _MISSING
            parameters.append(f"{name}={default}" if optional else name)
        lines.append(f" _set(self, {name!r}, {value})")
    if hasattr(cls, "__post_init__"):
        lines.append(" self.__post_init__()")
    exec("\n".join([f"def __init__({', '.join(['self', *parameters])}):", *lines, " pass"]), known)
    made: Callable[..., None] = known["__init__"]
    made.__qualname__ = f"{cls.__qualname__}.__init__"
    return made


def _repr(self: Any) -> str:
    shown = (f"{f.name}={getattr(self, f.name)!r}" for f in dataclasses.fields(self) if f.repr)
    return f"{self.__class__.__qualname__}({', '.join(shown)})"


def _refuse_set(self: object, name: str, value: object) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_delete(self: object, name: str) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


def _getstate(self: Any) -> dict[str, Any]:
    return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}


def _setstate(self: Any, state: dict[str, Any]) -> None:
    for name, value in state.items():
        object.__setattr__(self, name, value)


_PICKLING = {"__getstate__": _getstate, "__setstate__": _setstate}
