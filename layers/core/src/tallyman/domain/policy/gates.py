"""`gates` and `overridable` of a promotion: the configurations of gates by their keys.

All of one gate (its configuration, the parser, the verdict) is in one module of `domain/gates/`.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from tallyman.domain.policy.reading import Node, Wrong, suggestion
from tallyman.domain.policy.shapes import Schema, Shape

if TYPE_CHECKING:
    from tallyman.domain.gates.signers import Signers

ALWAYS_OVERRIDABLE = ("freeze",)
"""Gates that every promotion has, without a key under `gates:`, and that may be overridden."""


class GateConfig:
    """The configuration of one gate in a policy; each gate has a subclass."""

    __slots__ = ()

    @property
    def words(self) -> Mapping[str, Any] | None:
        """The configuration as a policy writes it, as JSON data; None: its fields have the policy's names and
        values."""
        return None

    @property
    def trusted(self) -> "Signers | None":
        """The signers whose signatures of images, or of statements about them, the gate needs; None: it needs none."""
        return None


class GateKind(Protocol):
    """The part of a gate that parsing a policy needs."""

    @property
    def shape(self) -> Shape[Any]: ...

    @property
    def description(self) -> str: ...

    @property
    def overridable(self) -> bool: ...


KnownGates = Mapping[str, GateKind]
"""The gates that a policy may name, by key."""


def overridable_gates(known: KnownGates) -> tuple[str, ...]:
    """The gates that a promotion may list under `overridable`."""
    return (*(name for name, kind in known.items() if kind.overridable), *ALWAYS_OVERRIDABLE)


class Gates(NamedTuple):
    """The gates of a promotion, each parsed by its own shape. Unknown gates are refused: unknown means closed."""

    known: KnownGates

    def read(self, node: Node) -> Mapping[str, GateConfig]:
        if not isinstance(node.value, Mapping):
            raise node.expected("gates, as in {verified: true, soak: 24h}")
        known = self.known
        gates: dict[str, GateConfig] = {}
        failure: Wrong | None = None
        for name, value in node.value.items():
            child = node.child(str(name), value)
            try:
                if name not in known:
                    hint = suggestion(str(name), tuple(known))
                    there = ", ".join(known)
                    raise child.wrong(
                        f"gate '{name}' is unknown to this version of Tallyman, expected one of {there}{hint}"
                    )
                gates[name] = known[name].shape.read(child)
            except Wrong as error:
                failure = error
        if failure:
            raise failure
        return MappingProxyType(gates)

    def schema(self) -> Schema:
        keys = {name: {"description": kind.description, **kind.shape.schema()} for name, kind in self.known.items()}
        return {"type": "object", "additionalProperties": False, "properties": keys}


class Overridable(NamedTuple):
    """Gates that people may override, by name."""

    known: KnownGates

    def read(self, node: Node) -> tuple[str, ...]:
        if not isinstance(node.value, list):
            raise node.expected("a list of gates, as in [soak, window]")
        names = overridable_gates(self.known)
        failure: Wrong | None = None
        for index, value in enumerate(node.value):
            if value not in names:
                failure = node.child(index, value).expected(f"a gate that may be overridden ({', '.join(names)})")
        if failure:
            raise failure
        return tuple(node.value)

    def schema(self) -> Schema:
        return {"type": "array", "items": {"enum": list(overridable_gates(self.known))}}
