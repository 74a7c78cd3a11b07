"""Changes that a registry reports about its images and repositories: pushes, removals, storage, settings."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from tallyman.domain.history.details.base import Details
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.names import Digest
from tallyman.values import value

NOT_ASKED = ""
"""`Change.current` where the change has no tag, or the registry was not asked."""


class Child(NamedTuple):
    """A platform image or index that an index lists. `platform`: such as `linux/arm64`."""

    digest: Digest
    platform: str | None
    is_index: bool


@value
class Change(Details):
    """Details of pushed, replicated, untagged, deleted, archived and restored.

    `current`: the digest that the tag pointed to when the registry was asked (None: none; see NOT_ASKED). `index`:
    whether the image is an index; None: its manifest was not read. `platforms`: {digest, platform, index} of an index's
    children. `built`: see `provenance.built`. `gone` (removal by digest) and `absent` (removal by tag): the registry no
    longer had the image. `event`, `call`: the id of the event or API call that reported the change.
    `replicated_from`: the registry that a replicated image comes from.
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
        """The images that the index lists; empty where the image is not an index."""
        return tuple(Child(Digest(c["digest"]), c["platform"], bool(c.get("index"))) for c in self.platforms or ())

    @property
    def removed(self) -> bool:
        """Whether the registry, asked when the removal was reported, no longer had the image."""
        return bool(self.gone or self.absent)


def children_of(facts: Iterable[Fact]) -> tuple[Child, ...]:
    """The children in the pushes of an index among these facts."""
    return tuple(
        child for fact in facts if fact.kind in (Kind.PUSHED, Kind.REPLICATED) for child in Change.parse(fact).children
    )


def took_the_image(fact: Fact) -> bool:
    """Whether the fact records that the image was removed, by digest or with its last tag."""
    return fact.kind is Kind.DELETED or (fact.kind is Kind.UNTAGGED and Change.parse(fact).absent)


@value
class Settings(Details):
    """Details of settings_changed: the id, name and parameters of the API call."""

    call: str
    name: str
    parameters: Mapping[str, Any]
