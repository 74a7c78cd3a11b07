"""Connections of the copy's own HTTP (wire.py): sockets with and without TLS, read and written in large pieces."""

import io
import select
import socket
import struct
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tallyman.adapters.http.proxies import Proxy

PIECE = 1024 * 1024
"""Bytes of a body that are read and handed on at a time."""

_BUFFER = 65536  # bytes that are read ahead
_SELECTABLE = 1024  # `select` takes no higher file numbers

Body = bytes | Iterable[bytes] | None
Key = tuple[str, str, int]
"""Scheme, host, port."""


class Connection:
    """One connection to a host. `served`: it has been of use before; `answering`: an answer has begun.

    Without TLS the kernel keeps the time (SO_RCVTIMEO, SO_SNDTIMEO) and fills or empties a whole piece in one call:
    Python's own timeouts are a `poll` before each read and write, and a turn of all threads for each part that came."""

    def __init__(self, key: Key, opened: socket.socket, read: float, send: float) -> None:
        """`read` and `send`: seconds of silence, and for a piece to go. OSError where TLS can't be agreed on."""
        self.key, self.served, self.answering = key, False, False
        self._read, self._send, self._plain = read, send, key[0] != "https"
        self.socket = opened
        try:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.file: io.BufferedReader[Any]
            if self._plain:
                self.socket.settimeout(None)
                for option, seconds in ((socket.SO_RCVTIMEO, read), (socket.SO_SNDTIMEO, send)):
                    self.socket.setsockopt(socket.SOL_SOCKET, option, _timeval(seconds))
                self.file = io.BufferedReader(_Kernel(self.socket), _BUFFER)
            else:
                self.socket.settimeout(read)
                self.socket = tls().wrap_socket(self.socket, server_hostname=key[1])
                self.file = io.BufferedReader(_Records(self.socket), _BUFFER)
        except BaseException:
            self.socket.close()
            raise

    def alive(self) -> bool:
        """Nothing may have come while nobody asked: not even the end."""
        return not self._readable(0)

    def _readable(self, seconds: float) -> bool:
        if self.socket.fileno() >= _SELECTABLE:
            return False
        return bool(select.select([self.socket], [], [], seconds)[0])

    def body(self, size: int) -> bytes:
        """At most `size` bytes, as many where so many come; empty at the end."""
        return self.file.read1(size)

    def send(self, head: bytes, body: Body, *, chunked: bool) -> None:
        """A request. OSError where it broke, unless the other side closed and says why: that is its answer."""
        self.answering = False
        if isinstance(body, bytes) and len(body) < PIECE:
            self._all(head + body)
            return
        self._all(head)
        if body is None:
            return
        if not self._plain:
            self.socket.settimeout(self._send)
        try:
            for piece in _pieces(body):
                if chunked:
                    self._all(b"%x\r\n" % len(piece))
                self._all(piece)
                if chunked:
                    self._all(b"\r\n")
            if chunked:
                self._all(b"0\r\n\r\n")
        except OSError as error:
            if isinstance(error, TimeoutError) or not self._refused():
                raise
        finally:
            if not self._plain:
                with suppress(OSError):
                    self.socket.settimeout(self._read)

    def _all(self, raw: bytes) -> None:
        try:
            self.socket.sendall(raw)
        except BlockingIOError:
            raise TimeoutError("timed out") from None

    def _refused(self) -> bool:
        """Whether the other side closed while we were sending, and says why."""
        with suppress(OSError):
            return self._readable(1.0) and bool(self.file.peek(1))
        return False

    def close(self) -> None:
        """For good."""
        with suppress(OSError):
            self.file.close()
        with suppress(OSError):
            self.socket.close()


def opened(key: Key, proxy: "Proxy | None", timeout: float, what: str) -> socket.socket:
    """A socket that leads to a host, within so many seconds. OSError; NotAllowed where the proxy refuses."""
    scheme, host, port = key
    if proxy:
        if scheme == "https":
            return proxy.tunnel(host, port, timeout, what)
        host, port = proxy.host, proxy.port
    # as bytes, which `getaddrinfo` takes too: for a `str` Python loads its codec for names in other scripts
    name: Any = host.encode() if host.isascii() else host
    return socket.create_connection((name, port), timeout)


class _Kernel(io.RawIOBase):
    """What comes from a socket whose timeouts the kernel keeps."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Until the buffer is full, if it is larger than ours: then it is a body's, and so much will come."""
        try:
            return self._socket.recv_into(buffer, 0, socket.MSG_WAITALL if len(buffer) > _BUFFER else 0)
        except BlockingIOError:
            raise TimeoutError("timed out") from None


class _Records(io.RawIOBase):
    """What comes from a socket with TLS, which gives at most 16 KiB at a time."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._error: OSError | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """As above. What came before an error is not lost: the error is the next call's."""
        if self._error:
            raise self._error
        if len(buffer) <= _BUFFER:
            return self._socket.recv_into(buffer)
        filled, view = 0, memoryview(buffer)
        try:
            while filled < len(view) and (got := self._socket.recv_into(view[filled:])):
                filled += got
        except OSError as error:
            if not filled:
                raise
            self._error = error
        return filled


def _pieces(body: bytes | Iterable[bytes]) -> Iterator[bytes]:
    if isinstance(body, bytes):
        yield body
        return
    for piece in body:
        if piece:
            yield piece


def _timeval(seconds: float) -> bytes:
    whole = int(seconds)
    return struct.pack("ll", whole, int((seconds - whole) * 1_000_000))


_contexts: list[Any] = []
_loading = threading.Lock()


def tls() -> Any:
    """What TLS takes: the certificates that this machine trusts, loaded once. That takes 20 ms or more, in which other
    threads can work: who knows that it will be needed begins early."""
    with _loading:
        if not _contexts:
            import ssl

            _contexts.append(ssl.create_default_context())
        return _contexts[0]
