"""The newest part of a repository's recorded history, read no further than a page of it needs."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from tallyman.domain.history.facts import Fact
from tallyman.domain.history.fold import PUSHES
from tallyman.domain.names import Digest, Repository
from tallyman.ports.records import Ledger

PAGE = 125
"""Facts of a Query."""
LEAST = 200
"""Facts that are read at least, so that the picture of the tags shows more than the page's own images."""
MOST = 5_000
"""Facts after which a page ends, however few images it has."""


@dataclass
class Window:
    """Facts of one repository, newest first and without a gap, down to `oldest` (None: to the first one there is).

    `images`: digests that were pushed under a tag, the newest push first, with the facts of those pushes.
    """

    facts: list[Fact] = field(default_factory=list)
    images: dict[Digest, list[Fact]] = field(default_factory=dict)
    oldest: datetime | None = None

    def of(self, digest: Digest) -> list[Fact]:
        """The window's facts of a digest, newest first."""
        return [f for f in self.facts if f.digest == digest]


def read(
    ledger: Ledger,
    repository: Repository,
    until: datetime | None,
    images: int,
    least: int = LEAST,
    keep: Callable[[Fact], bool] = lambda fact: True,
) -> Window:
    """Read back from `until` (None: now) to the push of `images` images at most. `keep`: whether a fact counts (not if
    it was not known at a past moment). Cost: a Query for 125 facts; an image of two platforms makes about ten."""
    window = Window()
    for fact in ledger.of_repository(repository, until, page=PAGE):
        is_image = fact.kind in PUSHES and fact.tag is not None and fact.digest is not None
        enough = len(window.images) >= images and len(window.facts) >= least
        if (enough and not (is_image and fact.digest in window.images)) or len(window.facts) >= MOST:
            window.oldest = window.facts[-1].at
            break
        if not keep(fact):
            continue
        window.facts.append(fact)
        if is_image and fact.digest is not None:
            window.images.setdefault(fact.digest, []).append(fact)
    return window
