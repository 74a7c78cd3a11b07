"""Send requests to the `/v2/` of any registry: retries, redirects, locations of uploads. An `Auth` authenticates."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

from tallyman.adapters.http.client import HttpClient, Response, origin
from tallyman.adapters.http.headers import links
from tallyman.adapters.oci.answers import Answer
from tallyman.adapters.oci.redirects import HOPS, redirected, resolved
from tallyman.domain.names import Location
from tallyman.errors import BadName, NotAllowed, Refused, TransientError, Unreachable

_MOST = 8 * 1024 * 1024
"""Bytes that an answer that is read whole may have: a manifest has at most 4 MiB."""

_SMALL = 65536
"""Bodies of redirects of at most so many bytes are read, so that the connection can be kept."""

_LATER = (408, 425, 429)

_PATIENCE = 120.0
"""Seconds that a registry may take to answer a whole upload."""

MOST_PAGES = 1000
"""Pages of a list that are read: 100,000 tags even where a page holds only a hundred."""


class Astray(Unreachable):
    """There is no answer from the host that a registry redirects to."""


NOT_THIS_WAY = (Refused, Astray)
"""The errors of a request after which another way to get the same information is tried."""


class Auth(Protocol):
    """The address of a registry, and the credentials for it."""

    def base(self, repository: Location) -> str:
        """Scheme and host of the repository's registry."""

    def header(self, repository: Location) -> str | None:
        """The `Authorization` header to send; None: the registry has not required one yet."""

    def renew(self, repository: Location, answer: Answer, used: str | None, what: str, again: bool) -> str | None:
        """Another header after a refusal (401 or 403) of `used`; None: there is no other. `again`: the second refusal
        of one request. Raises NotAllowed where it knows what is missing."""

    def widen(self, repository: Location, source: str) -> None:
        """Before a mount: make the credentials good for reading the registry's repository `source` too."""


class RegistryClient:
    """Repeats requests that may be repeated after a broken connection, a 5xx or a 429, with growing, random pauses.
    Follows redirects of GET and HEAD. Only the registry's own host gets our credentials. Safe to share between
    threads."""

    def __init__(
        self,
        http: HttpClient,
        auth: Auth,
        *,
        attempts: int = 4,
        longest: float = 20.0,
        patience: float = 60.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`longest`: the longest pause, in seconds, that we make at a registry's request. `patience`: seconds to wait
        for an answer."""
        self._http, self._auth, self._attempts, self._sleep = http, auth, attempts, sleep
        self._longest, self._patience = longest, patience

    def base(self, repository: Location) -> str:
        """Scheme and host of the repository's registry."""
        return self._auth.base(repository)

    def widen(self, repository: Location, source: str) -> None:
        """Before a mount from `source`: see `Auth`."""
        self._auth.widen(repository, source)

    def send(
        self,
        method: str,
        repository: Location,
        path: str,
        *,
        what: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Answer:
        """The answer to a request that may be repeated. `path`: what follows `/v2/<name>/`, or a whole URL of the
        registry. Raises TallymanError after 408, 425, 429, 5xx except 501, and where our credentials are refused; other
        answers are returned, whatever their status."""
        attempt = 0
        while True:
            attempt += 1
            try:
                response, url = self._followed(method, repository, path, headers or {}, body, what)
                answer = _whole(response, url, what)
                if (answer.status not in _LATER and answer.status < 500) or answer.status == 501:
                    return answer
                raise answer.error(what)
            except TransientError as error:
                if attempt >= self._attempts or (error.after or 0) > self._longest:
                    raise
                self._pause(attempt, error.after)

    def pages(
        self, repository: Location, path: str, *, what: str, headers: Mapping[str, str] | None = None
    ) -> Iterator[Answer]:
        """The answer to a GET, and those of the next pages, which `Link: <…>; rel="next"` names. Raises Refused where a
        page comes twice, or after MOST_PAGES; the caller stops at an answer that is an error."""
        seen: set[str] = set()
        while path:
            if path in seen or len(seen) == MOST_PAGES:
                raise Refused(f"{what}: endless pages ({len(seen)} were read): the answer is discarded")
            seen.add(path)
            answer = self.send("GET", repository, path, what=what, headers=headers)
            yield answer
            path = self._next(repository, answer, what)

    def _next(self, repository: Location, answer: Answer, what: str) -> str:
        found = next(links(answer.headers.get_all("Link") or [], "next"), None)
        if found is None:
            return ""
        base, url = self.base(repository), resolved(answer.url, found)
        if origin(url) == origin(base):
            return url
        _, own, path = url.partition(f"/v2/{repository.name}/")
        if not own:
            raise Refused(f"{what}: the next page is at {url}, and not at {base}: refused")
        return path  # the registry uses another name for itself than we do

    def open(self, repository: Location, path: str, *, what: str, headers: Mapping[str, str]) -> Response:
        """A GET whose body the caller reads."""
        return self._followed("GET", repository, path, headers, None, what)[0]

    def stream(
        self,
        method: str,
        repository: Location,
        url: str,
        *,
        what: str,
        headers: Mapping[str, str],
        body: Iterable[bytes],
    ) -> Answer:
        """The answer to a request whose body can be sent only once, to a location that this registry named. An
        exception of `body` is raised, and the connection is closed at once: the registry never gets the end of the
        body."""
        used, failure = self._auth.header(repository), list[BaseException]()
        try:
            sent, watched = _authorized(headers, used), _watched(body, failure)
            response = self._http.open(method, url, headers=sent, what=what, body=watched, read=_PATIENCE)
        except Unreachable:
            if failure:
                raise failure[0] from None
            raise
        if failure:
            response.close()
            raise failure[0]
        answer = _whole(response, url, what)
        if answer.status in (401, 403) and self._auth.renew(repository, answer, used, what, again=False):
            raise Unreachable(f"{what}: the token had expired: try again")
        return answer

    def location(self, repository: Location, answer: Answer, what: str) -> str:
        """The URL at which an upload continues. Raises Unreachable where it is not this registry's."""
        found = answer.headers.get("Location")
        if not found:
            raise Unreachable(f"{what}: the registry names no location for the upload")
        url, base = resolved(answer.url, found), self.base(repository)
        there, ours = origin(url), origin(base)
        if there == ours:
            return url
        plain = (there[0], ours[0]) == ("http", "https") and there[1] == ours[1]
        if plain and (ours[2] == there[2] or (ours[2], there[2]) == (443, 80)):
            return f"{base}/{url.partition('://')[2].partition('/')[2]}"  # the registry is behind a proxy that ends TLS
        raise Unreachable(
            f"{what}: the upload would continue at {_named(there) or url}, not at the registry {_named(ours)}: refused"
        )

    def _followed(
        self,
        method: str,
        repository: Location,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None,
        what: str,
    ) -> tuple[Response, str]:
        """The answer after all redirects, and its URL."""
        base = self.base(repository)
        url = path if origin(path) == origin(base) else f"{base}/v2/{repository.name}/{_checked(path)}"
        for _ in range(HOPS + 1):
            if origin(url) == origin(base):
                response = self._authorized(method, repository, url, headers, body, what)
            else:
                try:
                    response = self._http.open(method, url, headers=headers, what=what, stranger=origin(base)[1])
                except Unreachable as error:
                    raise Astray(str(error)) from error
            onward = redirected(response, url) if method in ("GET", "HEAD") else ""
            if not onward:
                return response, url
            _drain(response)
            before, url = url, onward
            if before.startswith("https:") and not url.startswith("https:"):
                raise NotAllowed(f"{what}: {_named(origin(before))} redirects to {url}, without encryption: refused")
        raise Refused(f"{what}: more than {HOPS} redirects, the last to {url}")

    def _authorized(
        self,
        method: str,
        repository: Location,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        what: str,
    ) -> Response:
        used = self._auth.header(repository)
        for renewals in range(3):
            sent = _authorized(headers, used)
            response = self._http.open(method, url, headers=sent, what=what, body=body, read=self._patience)
            if response.status not in (401, 403):
                return response
            answer = _whole(response, url, what)
            again = renewals > 0
            renewed = self._auth.renew(repository, answer, used, what, again) if renewals < 2 else None
            if renewed is None:
                raise answer.error(what)
            used = renewed
        raise AssertionError("not reached")

    def _pause(self, attempt: int, asked: float | None) -> None:
        """Sleep longer after each attempt, with jitter, so that clients refused together don't return together."""
        import random  # seldom needed

        spread = random.uniform(0.5, 1.5)
        self._sleep(asked + spread * 0.16 if asked is not None else 0.1 * 2**attempt * spread)


def _authorized(headers: Mapping[str, str], authorization: str | None) -> Mapping[str, str]:
    return {**headers, "Authorization": authorization} if authorization else headers


def _checked(path: str) -> str:
    """The path. Raises BadName where `..` or a fragment would lead out of the repository."""
    if "#" in path or ".." in path.partition("?")[0].split("/"):
        raise BadName(f"{path!r} is not a path within a repository")
    return path


def _whole(response: Response, url: str, what: str) -> Answer:
    try:
        body = response.all(_MOST)
    except OSError as error:
        response.close()
        raise Unreachable(f"{what}: the answer is incomplete ({error})") from error
    return Answer(response.status, response.headers, body, url)


def _drain(response: Response) -> None:
    """Read a short body, so that the connection can be kept."""
    try:
        if response.length is not None and response.length <= _SMALL:
            response.all(_SMALL)
    except OSError:
        pass
    response.close()


def _watched(body: Iterable[bytes], failure: list[BaseException]) -> Iterator[bytes]:
    """The body; its own errors are recorded in `failure`, to distinguish them from those of the connection."""
    try:
        yield from body
    except GeneratorExit:
        raise
    except BaseException as error:
        failure.append(error)
        raise


def _named(place: tuple[str, str, int]) -> str:
    scheme, host, port = place
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}" if host else ""
