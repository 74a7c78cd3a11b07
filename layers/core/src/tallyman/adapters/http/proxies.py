"""The way to a host through an HTTP proxy, for the copy's own HTTP (wire.py). Loaded only where a proxy is named."""

import http.client
import socket
from dataclasses import field

from tallyman.errors import NotAllowed
from tallyman.values import value


@value(slots=False)
class Proxy:
    """A proxy that is spoken to without TLS. `authorization`: the value of `Proxy-Authorization`, empty for none."""

    host: str
    port: int
    authorization: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def headers(self) -> dict[str, str]:
        """What it wants of us beside the request."""
        return {"Proxy-Authorization": self.authorization} if self.authorization else {}

    def tunnel(self, host: str, port: int, timeout: float, what: str) -> socket.socket:
        """A connection to the host (CONNECT, RFC 9110 §9.3.6), over which TLS is spoken. NotAllowed where the proxy
        refuses for good; OSError where it can't now."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        connection.set_tunnel(host, port, headers=self.headers)
        try:
            connection.connect()
        except http.client.HTTPException as error:
            connection.close()
            raise OSError(f"what it answers to CONNECT is no HTTP ({error!r})") from error
        except OSError as error:
            connection.close()
            if any(f"failed: {status}" in str(error) for status in (401, 403, 405, 407)):
                raise NotAllowed(f"{what}: the proxy {self} lets us not through to {host}:{port} ({error})") from None
            raise
        found: socket.socket = connection.sock
        return found
