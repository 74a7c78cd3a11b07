"""HTTP/1.1 as copying needs it: few instructions a request, bodies in large pieces, connections kept.

http.client and urllib3 do the same with about 0.2 ms of processor time a request and one more copy of each body;
copies of many small blobs, and the start of a command, are made of that.
"""

import io
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tallyman import __version__
from tallyman.adapters.http.connections import PIECE, Body, Connection, Key, opened
from tallyman.errors import NotAllowed, Unreachable

if TYPE_CHECKING:
    from tallyman.adapters.http.proxies import Proxy

_LINE = 65536  # bytes of a header line
_HEADERS = 200
_EMPTY = (204, 304)


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
        self._idle: dict[Key, list[Connection]] = {}
        self._lock = threading.Lock()
        self._closed = False

    def open(self, method: str, url: str, *, headers: Mapping[str, str], what: str, body: Body = None) -> "Response":
        """The answer, its body not read yet: read it to its end, or close it. Unreachable where there is none;
        NotAllowed where the host's certificate is not trusted, or a proxy refuses."""
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

    def _take(self, key: Key, proxy: "Proxy | None", what: str) -> Connection:
        while True:
            with self._lock:
                idle = self._idle.get(key)
                connection = idle.pop() if idle else None
            if connection is None:
                try:
                    return Connection(key, opened(key, proxy, self._connect, what), self._read, self._send)
                except OSError as error:
                    if distrust := getattr(error, "verify_message", ""):  # ssl's own; not imported where no TLS is
                        text = f"{what}: {key[1]}:{key[2]} shows a certificate that is not trusted here ({distrust}); "
                        raise NotAllowed(f"{text}SSL_CERT_FILE names a file of those to trust") from None
                    through = f" through the proxy {proxy}" if proxy else ""
                    raise Unreachable(f"{what}: no answer from {key[1]}:{key[2]}{through} ({_words(error)})") from error
            if connection.alive():
                return connection
            connection.close()

    def give_back(self, connection: Connection) -> None:
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


class Response:
    """Status, headers and a body that is read in pieces. `length`: bytes of the body, None where only its end tells."""

    def __init__(self, connection: Connection, method: str, wire: Wire) -> None:
        self._connection: Connection | None = connection
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

    def _status(self, connection: Connection) -> tuple[int, bytes]:
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


def _words(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
