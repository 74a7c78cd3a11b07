"""Loopback HTTP/1.1 servers for WSGI applications.

cheroot rather than werkzeug's threaded server: half the time per small request on a kept connection
(0.25 ms against 0.53 ms, measured on two cores), an idle connection holds no thread, chunked bodies are
decoded while they arrive, and a body of any size passes through a few tens of megabytes of memory.
"""

import ctypes
import logging
import re
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from typing import Any, Final

from cheroot.server import ChunkedRFile
from cheroot.wsgi import Server

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
WsgiApp = Callable[[Environ, StartResponse], Iterable[bytes]]

HOST: Final = "127.0.0.1"
#: `Host` headers of this machine. A name below `.localhost` is the loopback for everyone (RFC 6761).
_LOOPBACK: Final = re.compile(r"(?:(?:[a-z0-9-]+\.)*localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?", re.IGNORECASE)

#: Bytes of a chunk that are held at a time, and characters of its size.
_PIECE: Final = 256 * 1024
_SIZE: Final = re.compile(rb"[0-9a-fA-F]{1,15}")

log = logging.getLogger("tallyman.local")


@cache
def _give_back_large_buffers() -> None:
    """glibc keeps freed buffers of up to 32 MiB, for each thread: bodies of 14 MB (a part of a layer over ECR's API)
    made 250 MB of them. With a fixed threshold they are mapped, and go back when they are freed."""
    with suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL(None).mallopt(-3, 256 * 1024)  # M_MMAP_THRESHOLD, bytes


class Listener:
    """One port of 127.0.0.1, a free one unless one is asked for, that answers for `app` until `stop()`.

    Raises OSError where the port asked for is taken.
    """

    def __init__(self, app: WsgiApp, *, threads: int = 32, port: int = 0) -> None:
        _give_back_large_buffers()
        self._server = Server((HOST, port), _drained(app), numthreads=threads, request_queue_size=128)
        self._server.timeout = 300  # seconds an idle connection is kept
        self._server.shutdown_timeout = 0
        self._server.expiration_interval = 0.1  # seconds; the time that stop() takes
        self._server.error_log = _log_error  # type: ignore[method-assign]
        self._prepare()
        self.port: int = self._server.bind_addr[1]
        self._thread = threading.Thread(target=self._serve, name=f"http-{self.port}", daemon=True)

    def _prepare(self) -> None:
        """Open the port in a daemon thread: cheroot's workers inherit that, so that a listener which a signal keeps
        from being stopped does not hold up the end of the process."""
        failures: list[BaseException] = []

        def prepare() -> None:
            try:
                self._server.prepare()
            except BaseException as failure:
                failures.append(failure)

        thread = threading.Thread(target=prepare, daemon=True)
        thread.start()
        thread.join()
        if failures:
            raise failures[0]

    def start(self) -> None:
        """Begin to answer; connections made before that wait in the backlog."""
        self._thread.start()

    def stop(self) -> None:
        """Close the port and its connections."""
        self._server.stop()
        self._thread.join(timeout=2)

    @staticmethod
    def stop_all(listeners: "Iterable[Listener]") -> None:
        """Stop several at once."""
        threads = [threading.Thread(target=listener.stop) for listener in listeners]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _serve(self) -> None:
        try:
            self._server.serve()
        except Exception:
            log.exception("the server of port %s ended", self.port)


def _log_error(msg: str = "", level: int = 20, traceback: bool = False) -> None:
    # A client that goes away in the middle of a body is not an error of ours.
    log.log(level if level >= logging.ERROR else logging.DEBUG, msg, exc_info=traceback and sys.exc_info())


def _drained(app: WsgiApp) -> WsgiApp:
    """Read what `app` left of the request body: a client that still sends would else never read the answer.

    (cheroot reads a rest of known length itself, but in one piece, and no rest of a chunked body.)
    """

    def drained(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        body = environ["wsgi.input"]
        if isinstance(body, ChunkedRFile):
            body = environ["wsgi.input"] = _Pieces(body.rfile, body.maxlen)
        answer = app(environ, start_response)
        if environ.get("CONTENT_LENGTH") or environ.get("HTTP_TRANSFER_ENCODING"):
            with suppress(OSError, ValueError):  # the client broke off (ValueError: cheroot's, inside a chunk)
                while body.read(1 << 20):
                    pass
        return answer

    return drained


class _Pieces(ChunkedRFile):
    """cheroot's reader of chunked bodies, which holds a piece of a chunk and not all of it: how long one is, is the
    client's choice. Raises ValueError, as cheroot's, where a chunk breaks off or has no size."""

    _left = 0  # bytes of this chunk that are still to be read

    def _fetch(self) -> None:
        if self.closed:
            return
        if not self._left:
            size = self.rfile.readline(1024).partition(b";")[0].strip()
            if not _SIZE.fullmatch(size):
                raise ValueError(f"{size!r} is not the size of a chunk")
            self._left = int(size, 16)
            if not self._left:
                self.closed = True
                return
        self.buffer = self.rfile.read(min(self._left, _PIECE))
        self._left -= len(self.buffer)
        if not self.buffer or (not self._left and self.rfile.read(2) != b"\r\n"):
            raise ValueError("a chunk breaks off")


def for_this_machine(app: WsgiApp) -> WsgiApp:
    """Refuse, with 403, a request whose Host is not this machine or whose Origin is another one than its Host.

    For what acts without a secret: a page that a browser shows can resolve its own name to 127.0.0.1. `/v2/` asks for
    a token, and answers by whatever name a client or a proxy knows it.
    """

    def guarded(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        host, origin = environ.get("HTTP_HOST", ""), environ.get("HTTP_ORIGIN")
        refused = ""
        if not _LOOPBACK.fullmatch(host):
            refused = f"the Host {host or '(none)'} is not this machine: expected localhost or 127.0.0.1"
        elif origin is not None and origin != f"http://{host}":
            refused = f"a request of a page of {origin} is not answered"
        if not refused:
            return app(environ, start_response)
        body = f"{refused}\n".encode()
        headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
        start_response("403 Forbidden", headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    return guarded


def read_body(environ: Environ) -> bytes:
    """The whole request body, of a stated length or chunked. For bodies that fit memory."""
    length = environ.get("CONTENT_LENGTH")
    if length:
        return bytes(environ["wsgi.input"].read(int(length)))
    if "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "").lower():
        blocks = []
        while block := environ["wsgi.input"].read(1 << 20):
            blocks.append(block)
        return b"".join(blocks)
    return b""
