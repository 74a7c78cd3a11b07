"""Resolve the addresses that an answer redirects to."""

from urllib.parse import quote, urljoin

from tallyman.adapters.http.client import Response

HOPS = 5
"""Redirects that are followed for one request."""

_REDIRECTS = (301, 302, 303, 307, 308)
_URL = "!#$%&'()*+,/:;=?@[]~"


def resolved(base: str, reference: str) -> str:
    """The absolute URL of a header's address in an answer from `base`. `http.client` decodes headers as Latin-1."""
    quoted = quote(reference, safe=_URL, encoding="latin-1", errors="replace")
    try:
        return urljoin(base, quoted)
    except ValueError:  # such as `http://[`: callers refuse it, since it has no origin
        return quoted


def redirected(response: Response, url: str) -> str:
    """The URL that an answer from `url` redirects to; empty: it is no redirect."""
    found = response.headers.get("Location") if response.status in _REDIRECTS else None
    return resolved(url, found) if found else ""
