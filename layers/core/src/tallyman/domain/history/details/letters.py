"""What became of dead letters."""

from typing import ClassVar

from tallyman.domain.history.details.base import Details
from tallyman.values import value


@value
class LetterAnswer(Details):
    """Of letter, and of requested where a letter was not moved.

    `command` (replay, discard), the id of the `letter`, the `queue` that it lay in, the one that it `came_from`, why it
    lay there (`reason`, `error`), and the digest of its `body` in the archive's folder `letters`. `principal`,
    `because`, `refused` as in `Said`.
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
