"""widget-server: answers every GET with its version, /health with 200. The standard library is all that it needs."""

import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

VERSION = os.environ.get("WIDGET_VERSION", "unknown")


class Widgets(BaseHTTPRequestHandler):
    """One request."""

    def do_GET(self) -> None:
        """The version, and which widget was asked for."""
        known = self.path == "/health" or self.path.startswith("/widgets/")
        body = json.dumps({"service": "widget-server", "version": VERSION, "path": self.path}).encode() + b"\n"
        self.send_response(200 if known else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, form: str, *values: object) -> None:
        """One line a request, on stdout."""
        print(form % values, flush=True)


def main() -> None:
    """Serve until SIGTERM."""
    server = ThreadingHTTPServer(("", int(os.environ.get("PORT", "8080"))), Widgets)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server.serve_forever()


if __name__ == "__main__":
    main()
