"""HTTP/1.1 over the standard library's `http.client`: kept connections, TLS, proxies, bodies read in large pieces.

Redirects are answers: whoever follows them decides who is shown credentials. Nothing is sent again, unless a kept
connection turns out to be closed before an answer came.
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
"""Bytes of a body that are read and handed on at a time."""

_RECORD = 65536  # bytes asked of a connection at a time: what came before it falls silent is not lost
_SELECTABLE = 1024  # `select` takes no higher file numbers

Body = bytes | Iterable[bytes] | None
Key = tuple[str, str, int]
"""Scheme, host, port."""


class BodyTooLong(ConnectionError):
    """A body of more bytes than the caller reads."""


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
        """Seconds: for connecting, for the longest silence of the other side, and that a piece may take to go.

        `ca_file`: certificates to trust instead of this machine's. `trust`: a TLS context instead of either. `proxy`:
        the one, if any, for a scheme, host and port. `private`: `stranger` in `open` may be at any address."""
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
        """The answer, its body not read yet: read it to its end, or close it.

        `read`: as above, for this request. `stranger`: the host that named this address, which is not its own; then
        private, loopback and link-local addresses are asked only if that host has one too.
        Unreachable: no answer. NotAllowed: the certificate is not trusted, the proxy or the rule above refuses."""
        key = origin(url)
        sent = {"User-Agent": f"tallyman/{__version__}", **headers}
        written = "".join(sent.values())
        if not (key[2] and url.isascii() and written.isascii() and (url + written).isprintable() and " " not in url):
            raise Unreachable(f"{what}: a header or address holds what HTTP does not carry")
        parts = urlsplit(url)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        proxy = self._proxy(*key)
        public = bool(stranger) and not self._private and not is_private(stranger)
        if public and is_private(key[1]):
            raise _inward(what, stranger, key)
        if proxy and key[0] == "http":  # the proxy reads the request; TLS goes through a tunnel
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
                    continue  # it was kept too long: the next one, in the end a new one
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
            # the other side closed while we were sending, and says why: that is its answer
        connection.sock.settimeout(read)
        return connection.getresponse()

    def _take(self, key: Key, proxy: "Proxy | None", what: str) -> tuple[HTTPConnection, bool]:
        """A connection, and whether it was used before."""
        while True:
            with self._lock:
                idle = self._idle.get(key)
                connection = idle.pop() if idle else None
            if connection is None:
                return self._connected(key, proxy, what), False
            if not _readable(connection, 0):  # nothing may have come while nobody asked: not even the end
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
            text = f"{what}: {host}:{port} shows a certificate that is not trusted here ({error.verify_message})"
            hint = "" if self._trust else "; SSL_CERT_FILE names a file of those to trust"
            raise NotAllowed(text + hint) from None
        except (OSError, HTTPException, ValueError) as error:
            connection.close()
            if proxy and any(f"failed: {status}" in str(error) for status in (401, 403, 405, 407)):
                refused = f"{what}: the proxy {proxy} lets us not through to {host}:{port} ({error})"
                raise NotAllowed(refused) from None
            through = f" through the proxy {proxy}" if proxy else ""
            words = _words(error) if isinstance(error, OSError) else f"what it answers is not HTTP: {error!r}"
            raise Unreachable(f"{what}: no answer from {host}:{port}{through} ({words})") from error

    def _release(self, key: Key, connection: HTTPConnection, keep: bool) -> None:
        with self._lock:
            if keep and not self._closed:
                self._idle.setdefault(key, []).append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Closes idle connections, and those that come back later."""
        with self._lock:
            self._closed = True
            idle = [c for connections in self._idle.values() for c in connections]
            self._idle.clear()
        for connection in idle:
            connection.close()

    def __del__(self) -> None:
        self.close()


class Response:
    """Status, headers and a body that is read in pieces. `length`: bytes of the body, None where only its end shows."""

    def __init__(self, answer: http.client.HTTPResponse, release: Callable[[bool], None]) -> None:
        """`release` is called once, with whether the connection can be kept."""
        self._answer: http.client.HTTPResponse | None = answer
        self._release, self._late = release, list[OSError]()
        self.status, self.headers, self.length = answer.status, answer.headers, answer.length
        if self.length == 0 or answer.isclosed():
            self._end()

    def read(self, size: int = PIECE) -> bytes:
        """At most `size` bytes, as many where so many are left; empty at the end. OSError where it broke."""
        pieces: list[bytes] = []
        left = size
        while left and self._answer:
            try:
                part = self._part(min(left, _RECORD))
            except OSError as error:  # what came before is not lost: the error is the next call's
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
        """The whole body. BodyTooLong where it is longer than `limit`, OSError where it broke."""
        body = self.read(limit + 1)
        if len(body) > limit:
            self.close()
            raise BodyTooLong(f"an answer of more than {limit} bytes")
        if self._answer:  # it broke after what came
            self.read()
        return body

    def close(self) -> None:
        """Of no further use, unless it was read to its end: then the connection is kept already."""
        self._end(whole=False)

    def _end(self, *, whole: bool = True) -> None:
        answer, self._answer = self._answer, None
        if answer:
            answer.close()
            self._release(whole and not answer.will_close)


def origin(url: str) -> Key:
    """Scheme, host and port of an address; the port 0 where it is none of HTTP."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)
        return parts.scheme, parts.hostname or "", port if parts.hostname and parts.scheme in ("http", "https") else 0
    except ValueError:
        return "", "", 0


@cache
def tls(ca_file: str | None = None) -> ssl.SSLContext:
    """Loads the certificates that this machine trusts, once. That takes 20 ms or more, in which other threads can work:
    who knows that it will be needed begins early."""
    return ssl.create_default_context(cafile=ca_file)


def _readable(connection: HTTPConnection, seconds: float) -> bool:
    with suppress(OSError, ValueError):
        if 0 <= connection.sock.fileno() < _SELECTABLE:
            return bool(select.select([connection.sock], [], [], seconds)[0])
    return seconds == 0


def _inward(what: str, stranger: str, key: Key) -> NotAllowed:
    return NotAllowed(
        f"{what}: {stranger} sends us to {key[1]}:{key[2]}, a private address: refused (--private-redirects allows it)"
    )


def _words(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else "") or str(error) or type(error).__name__
