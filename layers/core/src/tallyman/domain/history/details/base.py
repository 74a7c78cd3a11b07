"""The base class of the details of facts: reading and writing them.

A class has a field for each key; a key that older facts lack has the field's default. Keys without a field are ignored,
so that one class can read several kinds (`Destination`).
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import ClassVar, Self

from tallyman.domain.history.facts import Fact, Kind, Via, fact_id
from tallyman.domain.names import Digest, Repository
from tallyman.domain.plain import Plain, names_of
from tallyman.domain.times import whole_millis


class Details(Plain):
    """The base class."""

    __slots__ = ()
    RENAMED: ClassVar = {"source": "from", "target": "to", "replicated_from": "source"}

    @classmethod
    def parse(cls, fact: Fact) -> Self:
        """The details of the fact. Raises TypeError where a required key is missing."""
        make: Callable[..., Self] = cls
        names = names_of(cls)
        return make(**{names[key]: part for key, part in fact.detail.items() if key in names})

    @classmethod
    def of(cls, facts: Iterable[Fact]) -> list[Self]:
        """The details of each fact."""
        return [cls.parse(fact) for fact in facts]


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
