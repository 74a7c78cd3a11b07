"""HTTP/1.1 as copying needs it: few instructions a request, bodies in large pieces, connections kept.

http.client and urllib3 do the same with about 0.2 ms of processor time a request and one more copy of each body;
copies of many small blobs, and the start of a command, are made of that.
"""

import io
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tallyman import __version__
from tallyman.errors import Unreachable

if TYPE_CHECKING:
    from tallyman.adapters.proxies import Proxy

PIECE = 1024 * 1024
"""Bytes of a body that are read and handed on at a time."""

_BUFFER = 65536  # bytes that are read ahead
_LINE = 65536  # bytes of a header line
_HEADERS = 200
_SELECTABLE = 1024  # `select` takes no higher file numbers
_EMPTY = (204, 304)

Body = bytes | Iterable[bytes] | None
_Key = tuple[str, str, int]  # scheme, host, port


class Headers(dict[str, str]):
    """Names in lower case; asked for in any."""

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(name.lower(), default)


class Wire:
    """Connections to any number of hosts, shared between threads. Redirects are answers; nothing is sent again,
    unless a kept connection turns out to be closed before a byte of an answer came."""

    def __init__(
        self,
        *,
        connect: float = 5.0,
        read: float = 60.0,
        send: float = 120.0,
        proxy: "Callable[[str, str, int], Proxy | None]" = lambda scheme, host, port: None,
    ) -> None:
        """Seconds: for connecting, for the longest silence of the other side, and that a piece may take to go.
        `proxy`: through which one, if any, to a scheme, host and port."""
        self._connect, self._read, self._send, self._proxy = connect, read, send, proxy
        self._idle: dict[_Key, list[_Connection]] = {}
        self._lock = threading.Lock()
        self._closed = False

    def open(self, method: str, url: str, *, headers: Mapping[str, str], what: str, body: Body = None) -> "Response":
        """The answer, its body not read yet: read it to its end, or close it. Unreachable where there is none."""
        parts = urlsplit(url)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        key = (parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
        proxy = self._proxy(*key)
        if proxy and parts.scheme == "http":  # it reads the request; what is encrypted goes through a tunnel
            path, headers = f"http://{parts.netloc}{path}", {**headers, **proxy.headers}
        lines = [f"{method} {path} HTTP/1.1", f"Host: {parts.netloc}", f"User-Agent: tallyman/{__version__}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if isinstance(body, bytes):
            lines.append(f"Content-Length: {len(body)}")
        elif body is None and method in ("POST", "PUT", "PATCH"):
            lines.append("Content-Length: 0")
        head = "\r\n".join(lines)
        if not head.isascii() or head.count("\r\n") != len(lines) - 1 or "\n" in head.replace("\r\n", ""):
            raise Unreachable(f"{what}: a header or address holds what HTTP does not carry")
        raw = head.encode() + b"\r\n\r\n"
        while True:
            connection = self._take(key, proxy, what)
            try:
                connection.send(raw, body, chunked=headers.get("Transfer-Encoding") == "chunked")
                return Response(connection, method, self)
            except OSError as error:
                connection.close()
                if connection.served and not connection.answering and (body is None or isinstance(body, bytes)):
                    continue  # it was kept too long: the next one, in the end a new one
                raise Unreachable(f"{what}: the connection broke ({_words(error)})") from error
            except BaseException:
                connection.close()
                raise

    def _take(self, key: _Key, proxy: "Proxy | None", what: str) -> "_Connection":
        while True:
            with self._lock:
                idle = self._idle.get(key)
                connection = idle.pop() if idle else None
            if connection is None:
                try:
                    opened = _opened(key, proxy, self._connect, what)
                    return _Connection(key, opened, self._read, self._send)
                except OSError as error:
                    through = f" through the proxy {proxy}" if proxy else ""
                    raise Unreachable(f"{what}: no answer from {key[1]}:{key[2]}{through} ({_words(error)})") from error
            if connection.alive():
                return connection
            connection.close()

    def give_back(self, connection: "_Connection") -> None:
        """Whole and of further use."""
        with self._lock:
            if not self._closed:
                self._idle.setdefault(connection.key, []).append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Closes what is idle, and what comes back later."""
        with self._lock:
            self._closed = True
            idle = [c for connections in self._idle.values() for c in connections]
            self._idle.clear()
        for connection in idle:
            connection.close()


class _Connection:
    """Without TLS the kernel keeps the time (SO_RCVTIMEO, SO_SNDTIMEO) and fills or empties a whole piece in one call:
    Python's own timeouts are a `poll` before each read and write, and a turn of all threads for each part that came."""

    def __init__(self, key: _Key, opened: socket.socket, read: float, send: float) -> None:
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
        with suppress(OSError):
            self.file.close()
        with suppress(OSError):
            self.socket.close()


def _opened(key: _Key, proxy: "Proxy | None", timeout: float, what: str) -> socket.socket:
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


class Response:
    """Status, headers and a body that is read in pieces. `length`: bytes of the body, None where only its end tells."""

    def __init__(self, connection: _Connection, method: str, wire: Wire) -> None:
        self._connection: _Connection | None = connection
        self._wire, self._file = wire, connection.file
        status = 100
        while 100 <= status < 200:
            status, version = self._status(connection)
            self.headers = self._read_headers()
        self.status = status
        kept = self.headers.get("connection", "").lower()
        self._keep = version == b"HTTP/1.1" and kept != "close"
        self._chunked = "chunked" in self.headers.get("transfer-encoding", "").lower()
        length = self.headers.get("content-length")
        self.length: int | None = int(length) if length and length.isdigit() and not self._chunked else None
        self._left = 0  # of the chunk, or of all
        self._ended = False
        if method == "HEAD" or status in _EMPTY or self.length == 0:
            self._end()
        elif self.length is not None:
            self._left = self.length
        elif not self._chunked:
            self._keep = False

    def read(self, size: int = PIECE) -> bytes:
        """At most `size` bytes, as many where so many are left; empty at the end. OSError where it broke."""
        if self._ended:
            return b""
        if self._chunked and not self._left and not self._next_chunk():
            return b""
        assert self._connection is not None
        piece = self._connection.body(min(size, self._left) if self.length is not None or self._chunked else size)
        self._left -= len(piece)
        if not piece:
            if self.length is not None or self._chunked:
                raise ConnectionError("the body ended early")
            self._end()
        elif self._chunked and not self._left:
            self._file.readline(_LINE)
        elif self.length is not None and not self._left:
            self._end()
        return piece

    def all(self, limit: int) -> bytes:
        """The whole body; OSError where it is longer than `limit` or broke."""
        body = io.BytesIO()
        while piece := self.read():
            body.write(piece)
            if body.tell() > limit:
                self.close()
                raise ConnectionError(f"an answer of more than {limit} bytes")
        return body.getvalue()

    def close(self) -> None:
        """Of no further use, unless it was read to its end: then the connection is kept already."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._ended = True

    def _end(self) -> None:
        self._ended = True
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._keep:
            connection.served = True
            self._wire.give_back(connection)
        else:
            connection.close()

    def _status(self, connection: _Connection) -> tuple[int, bytes]:
        line = self._file.readline(_LINE)
        if not line:
            raise ConnectionError("closed without an answer")
        connection.answering = True
        version, _, rest = line.partition(b" ")
        code = rest[:3]
        if not version.startswith(b"HTTP/1.") or not code.isdigit():
            raise ConnectionError("the answer is no HTTP")
        return int(code), version

    def _read_headers(self) -> Headers:
        found = Headers()
        for _ in range(_HEADERS):
            line = self._file.readline(_LINE)
            if line in (b"\r\n", b"\n"):
                return found
            if not line.endswith(b"\n"):
                raise ConnectionError("the answer's headers broke off")
            name, _, value = line.decode("latin-1").partition(":")
            found[name.strip().lower()] = value.strip()
        raise ConnectionError("too many headers")

    def _next_chunk(self) -> bool:
        line = self._file.readline(_LINE).partition(b";")[0].strip()
        try:
            self._left = int(line, 16)
        except ValueError:
            raise ConnectionError("the body broke off") from None
        if self._left:
            return True
        self._read_headers()
        self._end()
        return False


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


def _words(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
