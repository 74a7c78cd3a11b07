"""What a registry reported about its images and repositories: pushes, removals, storage, settings."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from tallyman.domain.history.details.base import Details
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.names import Digest
from tallyman.values import value

NOT_ASKED = ""


class Child(NamedTuple):
    """A platform image, or an index, that an index lists. `platform`: `linux/arm64`."""

    digest: Digest
    platform: str | None
    is_index: bool


@value
class Change(Details):
    """Of pushed, replicated, untagged, deleted, archived, restored.

    `current`: what the tag pointed to when the registry was asked (None: nothing, NOT_ASKED: no tag). `index`: whether
    the image is an index; None: its manifest was not read. `platforms`: {digest, platform, index} of an index's
    children. `built`: what its annotations say. `gone`, `absent`: the registry had the image no more, of a removal by
    digest and by tag. `event`, `call`: the ids of the event or API call that reported it.
    """

    SPARSE: ClassVar = frozenset(
        {"current", "index", "platforms", "built", "gone", "absent", "event", "call", "source"}
    )
    current: str | None = NOT_ASKED
    index: bool | None = None
    platforms: Sequence[Mapping[str, Any]] | None = None
    built: Mapping[str, str] | None = None
    gone: bool | None = None
    absent: bool = False
    event: str | None = None
    call: str | None = None
    replicated_from: str | None = None

    @property
    def children(self) -> tuple[Child, ...]:
        """What the index lists."""
        return tuple(Child(Digest(c["digest"]), c["platform"], bool(c.get("index"))) for c in self.platforms or ())

    @property
    def removed(self) -> bool:
        """Whether the registry, asked when the removal was reported, no longer had the image."""
        return bool(self.gone or self.absent)


def children_of(facts: Iterable[Fact]) -> tuple[Child, ...]:
    """What the pushes among these facts say that the index lists."""
    return tuple(
        child for fact in facts if fact.kind in (Kind.PUSHED, Kind.REPLICATED) for child in Change.parse(fact).children
    )


def took_the_image(fact: Fact) -> bool:
    """Whether the fact says that the image was removed, by digest or with its last tag."""
    return fact.kind is Kind.DELETED or (fact.kind is Kind.UNTAGGED and Change.parse(fact).absent)


@value
class Settings(Details):
    """Of settings_changed: an API call by its id, name and parameters."""

    call: str
    name: str
    parameters: Mapping[str, Any]
