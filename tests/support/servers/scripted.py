"""An HTTP server that returns scripted answers, valid or not, and records its requests."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from support.servers.serving import serving


@dataclass(frozen=True)
class Reply:
    """One answer. `length`: Content-Length, if not the truth (-1: no such header); `reset`: the connection breaks after
    the body instead of ending; `deaf`: answers without reading the request's body."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None
    reset: bool = False
    deaf: bool = False


@dataclass
class Asked:
    """One request. `complete`: its body is complete."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""
    complete: bool = True


@dataclass
class Scripted:
    """The server: `replies` are given in turn, then `default`."""

    base: str
    replies: list[Reply] = field(default_factory=list)
    default: Reply = field(default_factory=lambda: Reply(500, b"the script is over"))
    asked: list[Asked] = field(default_factory=list)
    answered: threading.Condition = field(default_factory=threading.Condition)

    def then(self, status: int = 200, body: bytes = b"", **headers: str) -> "Scripted":
        """Add an answer; headers with `_` for `-`."""
        self.replies.append(Reply(status, body, {k.replace("_", "-"): v for k, v in headers.items()}))
        return self

    def saw(self, ready: Callable[["Scripted"], Any]) -> None:
        """Wait until `ready` accepts the recorded requests."""
        with self.answered:
            assert self.answered.wait_for(lambda: ready(self), timeout=10)


def oci(status: int, code: str, message: str, **headers: str) -> Reply:
    """A refusal in OCI's format."""
    import json

    body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
    return Reply(
        status, body, {"Content-Type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
    )


@contextmanager
def scripted() -> Iterator[Scripted]:  # noqa: C901 - a table: a branch for each scripted behaviour
    """A server on a free port of this machine until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            asked = Asked(self.command, self.path, dict(self.headers.items()))
            with script.answered:
                reply = script.replies.pop(0) if script.replies else script.default
            if not reply.deaf:
                asked.body, asked.complete = self._read()
            with script.answered:
                script.asked.append(asked)
                script.answered.notify_all()
            if not asked.complete:
                self.close_connection = True
                return
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            if reply.length != -1:
                self.send_header("Content-Length", str(len(reply.body) if reply.length is None else reply.length))
            if reply.reset or reply.deaf or reply.length is not None:
                self.close_connection = True
                self.send_header("Connection", "close")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(reply.body)
            if reply.reset:
                self.wfile.flush()
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

        def _read(self) -> tuple[bytes, bool]:
            body = b""
            if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
                while True:
                    line = self.rfile.readline()
                    if not line.endswith(b"\r\n"):
                        return body, False
                    size = int(line.strip() or b"0", 16)
                    part = self.rfile.read(size)
                    body += part
                    if len(part) < size or self.rfile.readline() != b"\r\n":
                        return body, False
                    if size == 0:
                        return body, True
            length = int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(length)
            return body, len(body) == length

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:
                self.close_connection = True  # as the test intended

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with serving(Handler) as port:
        script = Scripted(f"http://127.0.0.1:{port}")
        yield script
