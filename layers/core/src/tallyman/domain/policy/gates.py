"""Gates as a policy sees them: their configurations, by the key under `gates:`.

Everything about one gate (its configuration, how that is read, how it judges) is in one module of `domain/gates/`.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from tallyman.domain.policy.shapes import Shape

ALWAYS_OVERRIDABLE = ("freeze",)
"""Gates that are always asked, so that no policy names them under `gates:`, and that may be overridden."""


class GateConfig:
    """What a policy asks of one gate; each gate has a frozen dataclass of its own."""

    __slots__ = ()

    @property
    def words(self) -> Mapping[str, Any] | None:
        """As a policy writes it, plain data; None where the fields are the words."""
        return None


class GateKind(Protocol):
    """What reading a policy needs of a gate."""

    @property
    def shape(self) -> Shape[Any]: ...

    @property
    def description(self) -> str: ...

    @property
    def overridable(self) -> bool: ...


def known_gates() -> Mapping[str, GateKind]:
    """The gates that a policy may name, by key."""
    from tallyman.domain.gates import GATES  # gates are built of this package's shapes, and get a whole Policy

    return GATES


def overridable_gates() -> tuple[str, ...]:
    """The gates that a promotion may let be overridden."""
    return (*(name for name, kind in known_gates().items() if kind.overridable), *ALWAYS_OVERRIDABLE)
