"""The page on a port of this machine, until somebody stops it."""

import threading
from collections.abc import Callable
from typing import Any

from cheroot.wsgi import Server

from tallyman_cli.ui.app import Application
from tallyman_cli.ui.desk import Desk
from tallyman_cli.ui.guard import Guard
from tallyman_cli.ui.render import compile_first_views

HOST = "127.0.0.1"
THREADS = 10
"""Requests that are answered at a time; each page reads with some threads of its own."""


class PageServer:
    """Serves the page on a port of 127.0.0.1 (0: a free one). Raises OSError if the port is taken."""

    def __init__(self, desk: Desk, port: int = 0) -> None:
        self._server = Server((HOST, port), self._answer, numthreads=THREADS)
        self._server.shutdown_timeout = 0
        self._server.error_log = _silent  # type: ignore[method-assign]
        self._server.prepare()
        self.guard = Guard(self._server.bind_addr[1])
        self._app = Application(desk, self.guard)
        self._thread = threading.Thread(target=self._server.serve, name="tallyman-ui", daemon=True)

    @property
    def address(self) -> str:
        """The address to open. It holds the token, for which the browser gets a cookie."""
        return f"http://{HOST}:{self.guard.port}/?token={self.guard.token}"

    def start(self) -> None:
        """Compile the first templates, then begin to answer."""
        compile_first_views()
        self._thread.start()

    def stop(self) -> None:
        """Close the port."""
        self._server.stop()
        self._thread.join(timeout=2)

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        return self._app(environ, start_response)


def _silent(msg: str = "", level: int = 20, traceback: bool = False) -> None:
    """A browser that goes away in the middle of an answer is not an error."""
