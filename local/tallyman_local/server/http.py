"""HTTP/1.1 servers on loopback for WSGI applications.

cheroot, not werkzeug's threaded server: a small request on a kept connection takes half the time (0.25 ms instead of
0.53 ms on two cores), an idle connection holds no thread, chunked bodies are decoded while they arrive, and a body of
any size needs only a few tens of megabytes of memory.
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
#: `Host` headers of this machine. Names below `.localhost` always resolve to loopback (RFC 6761).
_LOOPBACK: Final = re.compile(r"(?:(?:[a-z0-9-]+\.)*localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?", re.IGNORECASE)

#: Bytes of a chunk that are in memory at a time, and the form of its size.
_PIECE: Final = 256 * 1024
_SIZE: Final = re.compile(rb"[0-9a-fA-F]{1,15}")

log = logging.getLogger("tallyman.local")


@cache
def _give_back_large_buffers() -> None:
    """Make glibc return large freed buffers. It keeps those of up to 32 MiB for each thread: bodies of 14 MB (a part
    of a layer over ECR's API) held 250 MB. With a fixed threshold such buffers are mapped, and returned when freed."""
    with suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL(None).mallopt(-3, 256 * 1024)  # M_MMAP_THRESHOLD, bytes


class Listener:
    """A server for `app` on a port of 127.0.0.1 (0: any free one), until `stop()`. Raises OSError where the port is
    taken."""

    def __init__(self, app: WsgiApp, *, threads: int = 32, port: int = 0) -> None:
        _give_back_large_buffers()
        self._server = Server((HOST, port), _drained(app), numthreads=threads, request_queue_size=128)
        self._server.timeout = 300  # seconds for which an idle connection is kept
        self._server.keep_alive_conn_limit = 500  # cheroot's 10 made most calls of a cloud's workers connect anew
        self._server.shutdown_timeout = 0
        self._server.expiration_interval = 0.1  # seconds, which is how long stop() takes
        self._server.error_log = _log_error  # type: ignore[method-assign]
        self._prepare()
        self.port: int = self._server.bind_addr[1]
        self._thread = threading.Thread(target=self._serve, name=f"http-{self.port}", daemon=True)

    def _prepare(self) -> None:
        """Open the port in a daemon thread: cheroot's workers are then daemons too, and a listener that is never
        stopped (because of a signal) does not keep the process alive."""
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
        """Start to answer; earlier connections wait in the backlog."""
        self._thread.start()

    def stop(self) -> None:
        """Close the port and its connections."""
        self._server.stop()
        self._thread.join(timeout=2)

    @staticmethod
    def stop_all(listeners: "Iterable[Listener]") -> None:
        """Stop several listeners at once."""
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
    # a client that disconnects in the middle of a body is not an error
    log.log(level if level >= logging.ERROR else logging.DEBUG, msg, exc_info=traceback and sys.exc_info())


def _drained(app: WsgiApp) -> WsgiApp:
    """Read the rest of the request body after `app`: a client that is still sending would never read the answer.
    (cheroot itself reads a rest of known length, but in one piece, and never that of a chunked body.)"""

    def drained(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        body = environ["wsgi.input"]
        if isinstance(body, ChunkedRFile):
            body = environ["wsgi.input"] = _Pieces(body.rfile, body.maxlen)
        answer = app(environ, start_response)
        if environ.get("CONTENT_LENGTH") or environ.get("HTTP_TRANSFER_ENCODING"):
            with suppress(OSError, ValueError):  # the client disconnected (ValueError: cheroot's, inside a chunk)
                while body.read(1 << 20):
                    pass
        return answer

    return drained


class _Pieces(ChunkedRFile):
    """cheroot's reader of chunked bodies, but with only a piece of a chunk in memory: the client chooses how long a
    chunk is. Raises ValueError, as cheroot's does, where a chunk is incomplete or has no size."""

    _left = 0  # unread bytes of the current chunk

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
            raise ValueError("a chunk is incomplete")


def for_this_machine(app: WsgiApp) -> WsgiApp:
    """Refuse, with 403, a request whose Host is not this machine, or whose Origin differs from its Host.

    For applications that need no secret: a web page can resolve its own name to 127.0.0.1. `/v2/` requires a token, and
    so answers under any name.
    """

    def guarded(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        host, origin = environ.get("HTTP_HOST", ""), environ.get("HTTP_ORIGIN")
        refused = ""
        if not _LOOPBACK.fullmatch(host):
            refused = f"the Host {host or '(none)'} is not this machine: expected localhost or 127.0.0.1"
        elif origin is not None and origin != f"http://{host}":
            refused = f"requests from web pages of {origin} are refused"
        if not refused:
            return app(environ, start_response)
        body = f"{refused}\n".encode()
        headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
        start_response("403 Forbidden", headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    return guarded


def read_body(environ: Environ) -> bytes:
    """The whole request body, with Content-Length or chunked. For bodies that fit in memory."""
    length = environ.get("CONTENT_LENGTH")
    if length:
        return bytes(environ["wsgi.input"].read(int(length)))
    if "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "").lower():
        blocks = []
        while block := environ["wsgi.input"].read(1 << 20):
            blocks.append(block)
        return b"".join(blocks)
    return b""
