"""Gates as a policy sees them: their configurations, by the key under `gates:`.

Everything about one gate (its configuration, how that is read, how it judges) is in one module of `domain/gates/`.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from tallyman.domain.policy.reading import Node, Wrong, suggestion
from tallyman.domain.policy.shapes import Schema, Shape

if TYPE_CHECKING:
    from tallyman.domain.gates.signers import Signers

ALWAYS_OVERRIDABLE = ("freeze",)
"""Gates that are always asked, so that no policy names them under `gates:`, and that may be overridden."""


class GateConfig:
    """What a policy asks of one gate; each gate has a frozen dataclass of its own."""

    __slots__ = ()

    @property
    def words(self) -> Mapping[str, Any] | None:
        """As a policy writes it, plain data; None where the fields are the words."""
        return None

    @property
    def trusted(self) -> "Signers | None":
        """Whose signatures of images, or of statements about them, the gate asks for; None: nobody's."""
        return None


class GateKind(Protocol):
    """What reading a policy needs of a gate."""

    @property
    def shape(self) -> Shape[Any]: ...

    @property
    def description(self) -> str: ...

    @property
    def overridable(self) -> bool: ...


KnownGates = Mapping[str, GateKind]
"""The gates that a policy may name, by key."""


def overridable_gates(known: KnownGates) -> tuple[str, ...]:
    """The gates that a promotion may let be overridden."""
    return (*(name for name, kind in known.items() if kind.overridable), *ALWAYS_OVERRIDABLE)


class Gates(NamedTuple):
    """The gates of a promotion, each read by its own shape. What is not known is refused: unknown means closed."""

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
                        f"gate '{name}' is not known to this version of Tallyman, expected one of {there}{hint}"
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
