"""Plain HTTP for blobs and the registry's own API: pooled connections, no redirects, no retries behind our back."""

import logging
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import urllib3
from botocore.httpsession import get_cert_path
from urllib3.response import BaseHTTPResponse

from tallyman import __version__
from tallyman.adapters.errors.translate import translated

if TYPE_CHECKING:
    from tallyman.adapters.http.proxies import Proxy

# Whoever logs at DEBUG would else write down presigned addresses, which are as good as credentials.
logging.getLogger("urllib3").setLevel(logging.WARNING)

CHUNK = 1024 * 1024
"""Bytes that are read and handed on at a time."""


class Http:
    """A pool of connections that all threads share. Redirects are answers, not orders: a client that follows them
    with its headers gives its token to whoever is named there."""

    def __init__(
        self,
        *,
        connect: float = 3.0,
        read: float = 60.0,
        connections: int = 32,
        ca_bundle: str | None = None,
        proxy: "Callable[[str, str, int], Proxy | None] | None" = None,
    ) -> None:
        """`connect` and `read` in seconds: `read` is the longest silence, not the whole answer's time.

        `ca_bundle`: a file of certificates to trust; without it those that botocore trusts. `proxy`: through which
        one, if any, to a scheme, host and port."""
        self._connect, self._read, self._proxy = connect, read, proxy
        options: dict[str, Any] = {
            "num_pools": 16,
            "maxsize": connections,
            "retries": False,
            "blocksize": 256 * 1024,
            "ca_certs": ca_bundle or get_cert_path(True),
        }
        self._pool = urllib3.PoolManager(**options)
        self._through = cache(lambda by: urllib3.ProxyManager(f"http://{by}", proxy_headers=by.headers, **options))

    def open(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        what: str,
        body: bytes | Iterable[bytes] | None = None,
        read: float | None = None,
        send: float | None = None,
    ) -> BaseHTTPResponse:
        """The answer, its body not read yet: the caller reads or closes it. Unreachable where there is none.

        `send`: the longest time that the other side may leave a piece of the body standing. urllib3 has no such
        setting: until the body is sent, a socket keeps the time limit that it was connected with."""
        timeout = urllib3.Timeout(connect=send or self._connect, read=read or self._read)
        with translated(what):
            return self._manager(url).request(
                method,
                url,
                body=body,
                headers={"User-Agent": f"tallyman/{__version__}", **headers},
                preload_content=False,
                redirect=False,
                retries=False,
                timeout=timeout,
            )

    def _manager(self, url: str) -> urllib3.PoolManager:
        if not self._proxy:
            return self._pool
        parts = urllib3.util.parse_url(url)
        scheme = parts.scheme or ""
        proxy = self._proxy(scheme, parts.host or "", parts.port or (443 if scheme == "https" else 80))
        return self._through(proxy) if proxy else self._pool
