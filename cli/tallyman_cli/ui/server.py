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
"""Requests at a time; each page reads with some threads of its own."""


class PageServer:
    """Answers on a port of 127.0.0.1, a free one unless one is asked for. Raises OSError where it is taken."""

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
        """What a person opens: with the token, which the browser swaps for a cookie."""
        return f"http://{HOST}:{self.guard.port}/?token={self.guard.token}"

    def start(self) -> None:
        """Begins to answer; the first page is made as fast as the next."""
        compile_first_views()
        self._thread.start()

    def stop(self) -> None:
        """Closes the port."""
        self._server.stop()
        self._thread.join(timeout=2)

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        return self._app(environ, start_response)


def _silent(msg: str = "", level: int = 20, traceback: bool = False) -> None:
    """A browser that goes away in the middle of an answer is not an error."""
