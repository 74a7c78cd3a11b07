"""Where an answer sends us on to."""

from urllib.parse import quote, urljoin

from tallyman.adapters.http.client import Response

HOPS = 5
"""Redirects that are followed, one after another."""

_REDIRECTS = (301, 302, 303, 307, 308)
_URL = "!#$%&'()*+,/:;=?@[]~"


def resolved(base: str, reference: str) -> str:
    """An address of a header, against that of its answer. `http.client` reads headers as Latin-1."""
    return urljoin(base, quote(reference, safe=_URL, encoding="latin-1", errors="replace"))


def redirected(response: Response, url: str) -> str:
    """The next address of an answer from `url`; empty: it is the last."""
    found = response.headers.get("Location") if response.status in _REDIRECTS else None
    return resolved(url, found) if found else ""
