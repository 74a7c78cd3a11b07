"""Plain HTTP for blobs and the registry's own API: pooled connections, no redirects, no retries behind our back."""

import logging
from collections.abc import Iterable, Mapping

import urllib3
from urllib3.response import BaseHTTPResponse

from tallyman import __version__
from tallyman.adapters.translate import translated

# Whoever logs at DEBUG would else write down presigned addresses, which are as good as credentials.
logging.getLogger("urllib3").setLevel(logging.WARNING)

CHUNK = 1024 * 1024
"""Bytes that are read and handed on at a time."""


class Http:
    """A pool of connections that all threads share. Redirects are answers, not orders: a client that follows them
    with its headers gives its token to whoever is named there."""

    def __init__(self, *, connect: float = 3.0, read: float = 60.0, connections: int = 32) -> None:
        """`connect` and `read` in seconds: `read` is the longest silence, not the whole answer's time."""
        self._connect, self._read = connect, read
        self._pool = urllib3.PoolManager(
            num_pools=16,
            maxsize=connections,
            retries=False,
            blocksize=256 * 1024,
        )

    def open(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        what: str,
        body: bytes | Iterable[bytes] | None = None,
        read: float | None = None,
    ) -> BaseHTTPResponse:
        """The answer, its body not read yet: the caller reads or closes it. Unreachable where there is none."""
        timeout = urllib3.Timeout(connect=self._connect, read=self._read if read is None else read)
        with translated(what):
            return self._pool.request(
                method,
                url,
                body=body,
                headers={"User-Agent": f"tallyman/{__version__}", **headers},
                preload_content=False,
                redirect=False,
                retries=False,
                timeout=timeout,
            )
