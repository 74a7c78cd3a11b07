"""The base class of the details of facts: reading and writing them.

A class has a field for each key; a key that older facts lack has the field's default. Keys without a field are ignored,
so that one class can read several kinds (`Destination`).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any, ClassVar, Self

from tallyman.domain.history.facts import Fact, Kind, Via, fact_id
from tallyman.domain.names import Digest, Repository
from tallyman.domain.times import whole_millis

_STORED = {"source": "from", "target": "to", "replicated_from": "source"}
"""The stored key of each field whose key differs from its name."""


class Details:
    """The base class. `SPARSE`: keys that `dump` leaves out where the field has its default."""

    __slots__ = ()
    SPARSE: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def parse(cls, fact: Fact) -> Self:
        """The details of the fact. Raises TypeError where a required key is missing."""
        make: Callable[..., Self] = cls
        names = _NAMES.get(cls) or _names(cls)
        return make(**{names[key]: part for key, part in fact.detail.items() if key in names})

    @classmethod
    def of(cls, facts: Iterable[Fact]) -> list[Self]:
        """The details of each fact."""
        return [cls.parse(fact) for fact in facts]

    def dump(self) -> dict[str, Any]:
        """The details as JSON data, for a fact."""
        defaults = {field.name: field.default for field in fields(self)}  # type: ignore[arg-type]
        return {
            key: _plain(value)
            for key, name in _names(type(self)).items()
            if (value := getattr(self, name)) != defaults[name] or key not in self.SPARSE
        }


def new_fact(  # noqa: PLR0913 - the columns of a fact, all named
    kind: Kind,
    key: Sequence[object],
    details: Details,
    now: datetime,
    *,
    at: datetime | None = None,
    via: Via = Via.RECONCILED,
    digest: Digest | None = None,
    repository: Repository | None = None,
    tag: str | None = None,
    environment: str | None = None,
    actor: str | None = None,
) -> Fact:
    """A fact that is recorded `now`, and happened `at` (None: now); both are cut to milliseconds. `key`: what
    identifies the event besides its kind; the fact's id is made from both."""
    return Fact(
        kind=kind,
        id=fact_id(kind, *key),
        at=whole_millis(at or now),
        seen=whole_millis(now),
        via=via,
        digest=digest,
        repository=repository,
        tag=tag,
        environment=environment,
        actor=actor,
        detail=details.dump(),
    )


_NAMES: dict[type[Details], dict[str, str]] = {}


def _names(cls: type[Details]) -> dict[str, str]:
    """The name of the field of each stored key."""
    if cls not in _NAMES:
        _NAMES[cls] = {_STORED.get(f.name, f.name): f.name for f in fields(cls)}  # type: ignore[arg-type]
    return _NAMES[cls]


def _plain(value: Any) -> Any:
    """The value with a tuple as a list and a mapping as a dict, as in JSON."""
    if isinstance(value, tuple):
        return list(value)
    return dict(value) if isinstance(value, Mapping) else value
