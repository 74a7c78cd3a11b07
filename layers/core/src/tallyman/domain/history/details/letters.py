"""Dead letters that people replayed or discarded."""

from typing import ClassVar

from tallyman.domain.history.details.base import Details
from tallyman.values import value


@value
class LetterAnswer(Details):
    """Details of letter, and of requested where a letter was not moved.

    `command`: replay or discard; `letter`: its id; `queue`: where it lay; `came_from`: its original queue; `reason`,
    `error`: why it lay there; `body`: the digest of its body in the archive's folder `letters`. `principal`, `because`,
    `refused`: see `Said`.
    """

    SPARSE: ClassVar = frozenset({"came_from", "reason", "error", "body"})
    command: str | None = None
    request: str | None = None
    principal: str | None = None
    because: str | None = None
    refused: str | None = None
    queue: str | None = None
    letter: str | None = None
    came_from: str | None = None
    reason: str | None = None
    error: str | None = None
    body: str | None = None
