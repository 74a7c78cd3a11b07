"""Reads the proxy of a host from the environment: `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`, in upper or lower case.

As Python's standard library does, and so botocore. Hosts of this machine never go through a proxy, as in docker's and
Go's clients.
"""

from base64 import b64encode
from collections.abc import Callable, Mapping
from functools import cache
from urllib.parse import unquote, urlsplit

from tallyman.adapters.http.proxies import Proxy
from tallyman.adapters.oci.auth import LOOPBACK
from tallyman.errors import BadInput


def of_environment() -> Callable[[str, str, int], Proxy | None]:
    """The function from scheme, host and port to the proxy (None: there is none). Raises BadInput if a variable names
    no proxy that can be used."""
    from urllib.request import getproxies_environment, proxy_bypass

    found: Mapping[str, str] = {**getproxies_environment()}
    proxies = {
        scheme: _proxy(f"{scheme.upper()}_PROXY", found[scheme]) for scheme in ("https", "http") if scheme in found
    }

    @cache
    def way(scheme: str, host: str, port: int) -> Proxy | None:
        own = host in LOOPBACK or host.startswith("127.") or host.endswith(".localhost")
        return None if own or proxy_bypass(f"{host}:{port}") else proxies.get(scheme)

    return way


def _proxy(name: str, url: str) -> Proxy:
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = parts.hostname, parts.port or 80
    except ValueError:
        parts, host, port = None, None, 0
    if parts is None or parts.scheme != "http" or not host:
        shown = url.rpartition("@")[2]
        raise BadInput(f"{name}: '{shown}': expected http://HOST:PORT; proxies over TLS or SOCKS are not supported")
    login = ""
    if parts.username:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        login = f"Basic {b64encode(pair.encode()).decode()}"
    return Proxy(host, port, login)
