"""The body of a blob on its way from a registry, or from the store that it names."""

from collections.abc import Collection, Iterator

from tallyman.adapters.http.client import PIECE, Response
from tallyman.errors import NotAllowed, NotFound, Throttled, Unreachable

_SHORT = 16 * PIECE
"""Bytes of a blob up to which it is read in quarters of a PIECE: large buffers pay off only on long reads."""


class BlobBody:
    """`size` is the whole blob's, also where reading starts further on."""

    def __init__(self, response: Response, start: int, what: str, busy: Collection[int] = (429,)) -> None:
        """`busy`: what statuses ask us to come later."""
        self._response, self._what = response, what
        status = response.status
        if status not in (200, 206):
            kind = {403: NotAllowed, 401: NotAllowed, 404: NotFound}.get(status, Unreachable)
            if status in busy:
                raise Throttled(f"{what}: the answer is {status}")
            raise kind(f"{what}: the answer is {status}")
        if status == 206 and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            raise Unreachable(f"{what}: asked from byte {start}, the answer is another part")
        self._skip = start if status == 200 else 0  # ranges are optional to a server
        length = response.length
        self.size: int | None = None if length is None else length + (start if status == 206 else 0)
        self._piece = PIECE if length is None or length > _SHORT else PIECE // 4

    def __iter__(self) -> Iterator[bytes]:
        while True:
            try:
                piece = self._response.read(self._piece)
            except OSError as error:
                raise Unreachable(f"{self._what}: {error}") from error
            if not piece:
                return
            if self._skip:
                piece, self._skip = piece[self._skip :], max(0, self._skip - len(piece))
            if piece:
                yield piece
