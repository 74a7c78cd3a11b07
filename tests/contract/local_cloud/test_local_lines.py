"""The local servers read lines in less time than cheroot, and the same ones."""

from collections.abc import Sequence
from typing import Any

import pytest
from cheroot.makefile import StreamReader

from tallyman_local.server.http import _Lines


class Pieces:
    """A socket that receives one piece at a time, and then the end."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self.left = list(pieces)

    def recv_into(self, buffer: bytearray) -> int:
        piece = self.left.pop(0) if self.left else b""
        now, later = piece[: len(buffer)], piece[len(buffer) :]
        if later:
            self.left.insert(0, later)
        buffer[: len(now)] = now
        return len(now)

    def _decref_socketios(self) -> None:
        pass


def steps(reader: type[StreamReader], pieces: Sequence[bytes], sizes: Sequence[int | None]) -> list[tuple[bytes, int]]:
    """What `readline` returns for each size, and the bytes counted by then. A size below -1 is a `read` of so many
    bytes."""
    stream: Any = reader(Pieces(pieces), "rb", 64)
    found = []
    for size in sizes:
        raw = stream.readline(size) if size is None or size >= -1 else stream.read(-size)
        found.append((bytes(raw), stream.bytes_read))
    stream.close()
    return found


@pytest.mark.parametrize(
    "pieces",
    [
        [b"GET / HTTP/1.1\r\nHost: a\r\n\r\nbody that is longer than it needs to be\r\n", b"rest\n", b"\n", b"x\n"],
        [b"a" * 300 + b"\n" + b"b\n" * 3, b"c\n", b"d\n", b"e\n"],
        [b"\n\n\n\n", b"\n", b"\n", b"\n"],
        [b"one\ntwo\nno end", b"\n", b"last\n", b"end\n"],
    ],
    ids=["a request", "a long line", "empty lines", "a line in two pieces"],
)
@pytest.mark.parametrize(
    "sizes",
    [[256, 256, 256, 256], [-1, None, -1, None], [3, 1, 2, 4], [256, -2, 256, -3], [1, 256, -5, 256], [0, 256, 0, 5]],
    ids=str,
)
def test_lines_are_those_of_cheroot(pieces: list[bytes], sizes: list[int | None]) -> None:
    assert steps(_Lines, pieces, sizes) == steps(StreamReader, pieces, sizes)
