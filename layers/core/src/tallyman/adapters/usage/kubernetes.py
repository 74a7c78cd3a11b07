"""Read lists of a Kubernetes API page by page, over TLS that trusts only the cluster's own certificate authority."""

import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

from tallyman.adapters.errors.statuses import error_of, kind_of_status
from tallyman.adapters.http.client import BodyTooLong, HttpClient, Response, origin
from tallyman.domain.images.documents import loads_writable
from tallyman.errors import NotAllowed, Throttled, Unreachable

Item = Mapping[str, Any]

PAGE = 250
"""Objects of one request; fewer after an answer that was larger than LARGEST."""
LARGEST = 8 * 1024 * 1024
"""Bytes of an answer. etcd stores objects of at most 1.5 MB, so one always fits."""
PAGES = 4000
"""Pages of a list at most: a million objects."""
ATTEMPTS = 3


class Expired(Exception):
    """The snapshot of a `continue` token is gone (410): the list must be read again from its start."""


class KubernetesApi:
    """Reads lists of one cluster. `what` names the list in errors; no error contains the token."""

    def __init__(
        self,
        server: str,
        authority: str,
        token: Callable[[], str],
        *,
        entry: Callable[[], str],
        network: str = "",
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`server`: its URL. `authority`: certificates in PEM. `token`: makes the bearer token for a request.

        `entry`, `network`: hints that are added to errors, where the cluster refuses and where it does not answer.
        Raises Unreachable where the URL or the certificates are invalid."""
        if origin(server)[0] != "https" or not origin(server)[1]:
            raise Unreachable(f"the cluster's address is not an HTTPS URL: {server[:100]!r}")
        self._server, self._token, self._entry, self._network = server.rstrip("/"), token, entry, network
        self._http = HttpClient(connect=3.0, read=15.0, trust=trusting(authority))
        self._sleep = sleep

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def items(self, path: str, kind: str, what: str) -> Iterator[Item]:
        """The objects of the list at a path. A list that expires is read again from its start, so an object may come
        twice. Cost: one request for 250 objects.

        Raises NotAllowed where the cluster refuses, Unreachable where the answer is not a list of this kind or is
        endless.
        """
        size, after, seen, expired = PAGE, "", set[str](), 0
        for _ in range(PAGES):
            query = urlencode({"limit": size, **({"continue": after} if after else {})})
            try:
                answer = self._answer(f"{path}?{query}", what)
            except BodyTooLong as error:
                if size == 1:
                    raise Unreachable(f"{what}: {error}") from None
                size = max(1, size // 4)
                continue
            except Expired:
                expired += 1
                if expired == ATTEMPTS:
                    raise Unreachable(f"{what}: the list expired {expired} times before its end") from None
                after, seen = "", set()
                continue
            yield from _items(answer, kind, what)
            after = _text(_mapping(answer.get("metadata"), what), "continue", what)
            if not after:
                return
            if after in seen:
                raise Unreachable(f"{what}: the answer names the same next page twice")
            seen.add(after)
        raise Unreachable(f"{what}: the list has more than {PAGES} pages")

    def _answer(self, path: str, what: str) -> Item:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._once(path, what)
            except (Unreachable, Throttled) as error:
                if attempt == ATTEMPTS:
                    raise
                self._sleep(min(error.after if error.after is not None else attempt / 2, 5.0))
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _once(self, path: str, what: str) -> Item:
        headers = {"Authorization": f"Bearer {self._token()}", "Accept": "application/json"}
        try:
            response = self._http.open("GET", self._server + path, headers=headers, what=what)
        except Unreachable as error:
            raise Unreachable(f"{error}{self._network}") from error
        try:
            body = response.all(LARGEST)
        except BodyTooLong:
            raise
        except OSError as error:
            raise Unreachable(f"{what}: the answer is incomplete ({error})") from error
        if response.status == 410:
            raise Expired
        if response.status != 200:
            raise self._refused(response, body, what)
        try:
            return _mapping(loads_writable(body), what)
        except ValueError:
            raise Unreachable(f"{what}: the answer is not JSON") from None

    def _refused(self, response: Response, body: bytes, what: str) -> Exception:
        """The error for a status, with the message of the `Status` object that Kubernetes returns."""
        try:
            message = loads_writable(body)["message"]
        except (ValueError, LookupError, TypeError):
            message = body[:200].decode(errors="replace").strip()
        text = f"{what}: {str(message)[:500]} ({response.status})"
        kind = kind_of_status(response.status)
        return error_of(kind, f"{text}; {self._entry()}" if kind is NotAllowed else text, response.headers)


def trusting(authority: str) -> ssl.SSLContext:
    """A TLS context that trusts only these certificates. Raises Unreachable where there are none or they are invalid.

    Without VERIFY_X509_STRICT, which Python sets from 3.13 on: the certificates that EKS makes have no key identifiers
    and would be refused ("Missing Authority Key Identifier"). Chain, dates and host name are still checked.
    """
    if not authority.strip():  # for an empty text `ssl` would trust this machine's certificates
        raise Unreachable("the cluster has no certificate authority")
    try:
        context = ssl.create_default_context(cadata=authority)
    except (ssl.SSLError, ValueError) as error:
        raise Unreachable(f"the cluster's certificate authority can't be read ({error})") from error
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def _items(answer: Item, kind: str, what: str) -> list[Item]:
    """The objects of a list. Go writes an empty list as null; a missing `items` is an error."""
    found = answer.get("items", "")
    if answer.get("kind") != kind or not isinstance(found, list | None):
        raise Unreachable(f"{what}: the answer is not a {kind}")
    return [_mapping(item, what) for item in found or []]


def _mapping(value: object, what: str) -> Item:
    if not isinstance(value, Mapping):
        raise Unreachable(f"{what}: the answer is not in the form of Kubernetes's API")
    return value


def _text(item: Item, key: str, what: str) -> str:
    found = item.get(key) or ""
    if not isinstance(found, str):
        raise Unreachable(f"{what}: '{key}' is not text")
    return found
