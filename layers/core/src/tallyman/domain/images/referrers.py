"""Which referrers an image has, and which were removed: a removed signature no longer counts."""

from collections.abc import Iterable

from tallyman.domain.history.details.changes import Change
from tallyman.domain.history.details.referrers import Referred
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.history.fold import PUSHES
from tallyman.domain.times import second_of

_REMOVALS = (Kind.DELETED, Kind.UNTAGGED)


def is_gone(facts: Iterable[Fact], repository: str) -> bool:
    """Whether the image with these facts (all of its digest) was removed from the repository (`<registry>/<name>`) and
    not pushed there again. False where no fact records a removal.

    A removal counts only if the registry no longer held the image when it was asked; a push, if it did. Events have
    whole seconds: of a push and a removal within one second, the one that was recorded later counts as later.
    """
    here = [f for f in facts if str(f.repository) == repository]
    removals = [f for f in here if f.kind in _REMOVALS and Change.parse(f).removed]
    last = max(removals, key=lambda f: (second_of(f.at), f.seen), default=None)
    if last is None:
        return False
    second = second_of(last.at)
    pushes = [f for f in here if f.kind in PUSHES and Change.parse(f).index is not None]
    return not any(second_of(f.at) > second or (second_of(f.at) == second and f.seen > last.seen) for f in pushes)


def referrers(facts: Iterable[Fact]) -> set[tuple[str, str]]:
    """The referrers that an image's facts name: (repository that holds the referrer, its digest)."""
    return {
        (referred.repository, referred.referrer)
        for referred in Referred.of(f for f in facts if f.kind in (Kind.REFERRED, Kind.ORIGIN))
        if referred.repository
    }
