"""Read the body of a blob from a registry, or from the storage that the registry redirects to."""

from collections.abc import Collection, Iterator

from tallyman.adapters.errors.statuses import error_of
from tallyman.adapters.http.client import PIECE, Response
from tallyman.errors import NotAllowed, NotFound, Throttled, Unreachable

_SHORT = 16 * PIECE
"""Blobs of at most so many bytes are read in quarters of a PIECE: large buffers pay off only on long reads."""


class BlobBody:
    """The bytes from `start`; none where the blob ends there (416). `size`: bytes of the whole blob, wherever reading
    starts; None: not announced."""

    def __init__(self, response: Response, start: int, what: str, busy: Collection[int] = (429,)) -> None:
        """`busy`: statuses that mean Throttled. Raises TallymanError for an answer that is not the blob."""
        self._response, self._what = response, what
        status = response.status
        self._ended = status == 416 and start > 0
        if status not in (200, 206) and not self._ended:
            kind = {403: NotAllowed, 401: NotAllowed, 404: NotFound}.get(status, Unreachable)
            raise error_of(Throttled if status in busy else kind, f"{what}: the answer is {status}", response.headers)
        if status == 206 and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            raise Unreachable(f"{what}: the answer is another part than the one from byte {start}")
        self._skip = start if status == 200 else 0  # servers may ignore ranges
        length = response.length
        whole = None if length is None else length + (start if status == 206 else 0)
        self.size: int | None = start if self._ended else whole
        self._piece = PIECE if length is None or length > _SHORT else PIECE // 4

    def __iter__(self) -> Iterator[bytes]:
        while not self._ended:
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
