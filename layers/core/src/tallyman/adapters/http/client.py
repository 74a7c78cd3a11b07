"""HTTP/1.1 over the standard library's `http.client`: kept connections, TLS, proxies, bodies read in large pieces.

Redirects are returned, not followed: the caller decides which host gets credentials. No request is repeated, unless a
kept connection turns out to be closed before the answer.
"""

import http.client
import select
import ssl
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cache, partial
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tallyman import __version__
from tallyman.adapters.http.private_addresses import is_inside, is_private
from tallyman.errors import NotAllowed, Unreachable

if TYPE_CHECKING:
    from tallyman.adapters.http.proxies import Proxy

PIECE = 1024 * 1024
"""Bytes of a body in one piece."""

_RECORD = 65536  # bytes of one read: what was received before a connection stalls is not lost
_SELECTABLE = 1024  # `select` takes no higher file numbers

Body = bytes | Iterable[bytes] | None
Key = tuple[str, str, int]
"""Scheme, host, port."""


class BodyTooLong(ConnectionError):
    """A body that is longer than the caller's limit."""


class HttpClient:
    """Connections to any number of hosts, shared between threads."""

    def __init__(  # noqa: PLR0913 - all named
        self,
        *,
        connect: float = 5.0,
        read: float = 60.0,
        send: float = 120.0,
        ca_file: str | None = None,
        trust: ssl.SSLContext | None = None,
        proxy: "Callable[[str, str, int], Proxy | None]" = lambda scheme, host, port: None,
        private: bool = False,
    ) -> None:
        """Timeouts in seconds: `connect`, `read` (the longest silence of the server) and `send` (for each piece).

        `ca_file`: certificates to trust instead of this machine's. `trust`: a TLS context instead of either. `proxy`:
        returns the proxy for a scheme, host and port, or None. `private`: allow private addresses that another host
        names (`stranger` in `open`)."""
        self._connect, self._read, self._send, self._proxy = connect, read, send, proxy
        self._ca_file, self._trust, self._private = ca_file, trust, private
        self._idle: dict[Key, list[HTTPConnection]] = {}
        self._lock = threading.Lock()
        self._closed = False

    def open(  # noqa: PLR0913 - the parts of a request, all but method and address named
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        what: str,
        body: Body = None,
        read: float | None = None,
        stranger: str = "",
    ) -> "Response":
        """The answer, with its body unread: read it to its end, or close it.

        `read`: another timeout for this request. `stranger`: another host that named this address, for example in a
        redirect; then a private, loopback or link-local address is refused, unless that host has one too.
        Raises Unreachable where there is no answer; NotAllowed where the certificate is not trusted, the proxy refuses,
        or the address is refused."""
        key = origin(url)
        sent = {"User-Agent": f"tallyman/{__version__}", **headers}
        written = "".join(sent.values())
        if not (key[2] and url.isascii() and written.isascii() and (url + written).isprintable() and " " not in url):
            raise Unreachable(f"{what}: the URL or a header is not valid in HTTP")
        parts = urlsplit(url)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        proxy = self._proxy(*key)
        public = bool(stranger) and not self._private and not is_private(stranger)
        if public and is_private(key[1]):
            raise _inward(what, stranger, key)
        if proxy and key[0] == "http":  # the proxy gets the request itself; TLS goes through a tunnel
            path, sent = f"http://{parts.netloc}{path}", {**sent, **proxy.headers}
        if body is None and method in ("POST", "PUT", "PATCH"):
            sent["Content-Length"] = "0"
        while True:
            connection, kept = self._take(key, proxy, what)
            try:
                if public and not proxy and is_inside(connection.sock.getpeername()[0]):
                    raise _inward(what, stranger, key)
                answer = self._exchange(connection, method, path, sent, body, read or self._read)
                return Response(answer, partial(self._release, key, connection))
            except (OSError, HTTPException) as error:
                connection.close()
                if kept and isinstance(error, ConnectionError) and (body is None or isinstance(body, bytes)):
                    continue  # the server had closed it: try the next kept one, at last a new one
                raise Unreachable(f"{what}: the connection broke ({_words(error)})") from error
            except BaseException:
                connection.close()
                raise

    def _exchange(
        self,
        connection: HTTPConnection,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: Body,
        read: float,
    ) -> http.client.HTTPResponse:
        connection.sock.settimeout(read if body is None else self._send)
        try:
            connection.request(method, path, body, headers, encode_chunked="Transfer-Encoding" in headers)
        except TimeoutError:
            raise
        except OSError:
            if body is None or not _readable(connection, 1.0):
                raise
            # the server closed the connection while we were sending, after an answer that says why
        connection.sock.settimeout(read)
        return connection.getresponse()

    def _take(self, key: Key, proxy: "Proxy | None", what: str) -> tuple[HTTPConnection, bool]:
        """A connection, and whether it is a kept one."""
        while True:
            with self._lock:
                idle = self._idle.get(key)
                connection = idle.pop() if idle else None
            if connection is None:
                return self._connected(key, proxy, what), False
            if not _readable(connection, 0):  # readable: the server has closed it, or sent what nobody requested
                return connection, True
            connection.close()

    def _connected(self, key: Key, proxy: "Proxy | None", what: str) -> HTTPConnection:
        scheme, host, port = key
        first = (proxy.host, proxy.port) if proxy else (host, port)
        connection: HTTPConnection
        if scheme == "https":
            connection = HTTPSConnection(*first, timeout=self._connect, context=self._trust or tls(self._ca_file))
            if proxy:
                connection.set_tunnel(host, port, headers=proxy.headers)
        else:
            connection = HTTPConnection(*first, timeout=self._connect)
        try:
            connection.connect()
            return connection
        except ssl.SSLCertVerificationError as error:
            connection.close()
            text = f"{what}: {host}:{port} has a certificate that this machine does not trust ({error.verify_message})"
            hint = "" if self._trust else "; set SSL_CERT_FILE to a file with the certificates to trust"
            raise NotAllowed(text + hint) from None
        except (OSError, HTTPException, ValueError) as error:
            connection.close()
            if proxy and any(f"failed: {status}" in str(error) for status in (401, 403, 405, 407)):
                refused = f"{what}: the proxy {proxy} refuses the connection to {host}:{port} ({error})"
                raise NotAllowed(refused) from None
            through = f" through the proxy {proxy}" if proxy else ""
            words = _words(error) if isinstance(error, OSError) else f"its answer is not HTTP: {error!r}"
            raise Unreachable(f"{what}: no answer from {host}:{port}{through} ({words})") from error

    def _release(self, key: Key, connection: HTTPConnection, keep: bool) -> None:
        with self._lock:
            if keep and not self._closed:
                self._idle.setdefault(key, []).append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Close idle connections; those in use are closed when they are released."""
        with self._lock:
            self._closed = True
            idle = [c for connections in self._idle.values() for c in connections]
            self._idle.clear()
        for connection in idle:
            connection.close()

    def __del__(self) -> None:
        self.close()


class Response:
    """Status, headers and a body that is read in pieces. `length`: bytes of the body; None: not announced."""

    def __init__(self, answer: http.client.HTTPResponse, release: Callable[[bool], None]) -> None:
        """`release` is called once; its argument says whether the connection can be kept."""
        self._answer: http.client.HTTPResponse | None = answer
        self._release, self._late = release, list[OSError]()
        self.status, self.headers, self.length = answer.status, answer.headers, answer.length
        if self.length == 0 or answer.isclosed():
            self._end()

    def read(self, size: int = PIECE) -> bytes:
        """The next `size` bytes, fewer only before the end; empty at the end. Raises OSError where the body breaks."""
        pieces: list[bytes] = []
        left = size
        while left and self._answer:
            try:
                part = self._part(min(left, _RECORD))
            except OSError as error:  # return what was received; the next call raises the error
                if not pieces:
                    raise
                self._late.append(error)
                break
            if part:
                pieces.append(part)
                left -= len(part)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _part(self, size: int) -> bytes:
        assert self._answer is not None
        if self._late:
            raise self._late.pop()
        try:
            part = self._answer.read1(size)
        except HTTPException as error:
            raise ConnectionError("the body ended early") from error
        if not part and self._answer.length:
            raise ConnectionError("the body ended early")
        if not part or self._answer.length == 0:
            self._end()
        return part

    def all(self, limit: int) -> bytes:
        """The whole body. Raises BodyTooLong where it is longer than `limit` bytes, OSError where it breaks."""
        body = self.read(limit + 1)
        if len(body) > limit:
            self.close()
            raise BodyTooLong(f"the answer is longer than {limit} bytes")
        if self._answer:  # the body broke: this raises the error
            self.read()
        return body

    def close(self) -> None:
        """Close the connection, unless the body was read to its end, which has released the connection already."""
        self._end(whole=False)

    def _end(self, *, whole: bool = True) -> None:
        answer, self._answer = self._answer, None
        if answer:
            answer.close()
            self._release(whole and not answer.will_close)


def origin(url: str) -> Key:
    """Scheme, host and port of a URL; the port is 0 where the URL is not valid HTTP or HTTPS."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)
        return parts.scheme, parts.hostname or "", port if parts.hostname and parts.scheme in ("http", "https") else 0
    except ValueError:
        return "", "", 0


@cache
def tls(ca_file: str | None = None) -> ssl.SSLContext:
    """The TLS context with the certificates that this machine trusts, loaded once. Loading takes 20 ms or more without
    the interpreter's lock: callers that will need it may start it early in a thread."""
    return ssl.create_default_context(cafile=ca_file)


def _readable(connection: HTTPConnection, seconds: float) -> bool:
    with suppress(OSError, ValueError):
        if 0 <= connection.sock.fileno() < _SELECTABLE:
            return bool(select.select([connection.sock], [], [], seconds)[0])
    return seconds == 0


def _inward(what: str, stranger: str, key: Key) -> NotAllowed:
    return NotAllowed(
        f"{what}: {stranger} redirects to {key[1]}:{key[2]}, a private address: refused (--private-redirects allows it)"
    )


def _words(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else "") or str(error) or type(error).__name__
