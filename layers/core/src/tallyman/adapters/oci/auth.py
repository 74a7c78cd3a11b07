"""Authentication for registries that are not ECR: Basic, or Bearer tokens of Docker's token protocol."""

import binascii
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import field
from urllib.parse import urlencode, urlsplit

from tallyman.adapters.errors.statuses import error_of, kind_of_status
from tallyman.adapters.http.client import HttpClient, origin
from tallyman.adapters.http.headers import challenges
from tallyman.adapters.oci.answers import Answer
from tallyman.adapters.oci.redirects import HOPS, redirected
from tallyman.domain.images.documents import loads_writable
from tallyman.domain.locations import DOCKER_HUB
from tallyman.domain.names import Location
from tallyman.errors import NotAllowed, Refused, TallymanError, Unreachable
from tallyman.values import value

_MOST = 1024 * 1024
_CLIENT = "tallyman"

LOOPBACK = ("localhost", "127.0.0.1", "::1")
"""Hosts that are reached without TLS."""


@value
class Login:
    """Credentials: user and password, or `refresh`, an identity token that `docker login` stored."""

    user: str
    password: str = field(repr=False, default="")
    refresh: str = field(repr=False, default="")

    @property
    def basic(self) -> str:
        """The value of the `Authorization` header."""
        return "Basic " + binascii.b2a_base64(f"{self.user}:{self.password}".encode(), newline=False).decode()


Logins = Callable[[Location], Login | None]
"""Returns the credentials for a repository; None: anonymous."""


@value
class _Token:
    """`offer` and `scope`: the challenge and the scope that it was issued for; empty for Basic."""

    header: str = field(repr=False)
    until: float
    offer: Mapping[str, str] = field(default_factory=dict)
    scope: str = ""


@value
class _Request:
    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(repr=False)


class OciAuth:
    """`Auth` for registries at any host; safe to share between threads."""

    def __init__(
        self,
        http: HttpClient,
        logins: Logins,
        *,
        power: str,
        plain: Collection[str] = (),
    ) -> None:
        """`power`: the access to request, `pull` or `pull,push`. `plain`: hosts without TLS, besides this machine's."""
        self._http, self._logins, self._power, self._plain = http, logins, power, plain
        self._tokens: dict[Location, _Token] = {}
        self._narrow: set[tuple[Location, str]] = set()
        self._lock = threading.Lock()
        self._asking = threading.Lock()

    def base(self, repository: Location) -> str:
        host = repository.registry.host
        called = DOCKER_HUB[-1] if host.lower() in DOCKER_HUB else host
        return f"{'http' if unsecured(host, self._plain) else 'https'}://{called}"

    def header(self, repository: Location) -> str | None:
        with self._lock:
            token = self._tokens.get(repository)
        return token.header if token and time.monotonic() < token.until else None

    def renew(self, repository: Location, answer: Answer, used: str | None, what: str, again: bool) -> str | None:
        """See `Auth`. Bearer where the registry offers it; Basic where it does not, gives no token, or refuses it."""
        if answer.status != 401:
            return None
        with self._asking:  # one thread fetches a token, the others use it
            now = self.header(repository)
            if now is not None and now != used:
                return now
            offered: dict[str, dict[str, str]] = {}
            for scheme, parameters in challenges(answer.headers.get_all("WWW-Authenticate") or []):
                if scheme not in offered or ("realm" in parameters and "realm" not in offered[scheme]):
                    offered[scheme] = parameters
            login = self._logins(repository)
            token = self._token(repository, offered, login, used, what, again)
            if token is None and (again or not offered):
                return None
            if token is None:
                host = repository.registry.host
                wanted = "other credentials than Docker's configuration has" if login else "credentials: docker login"
                raise NotAllowed(f"{what}: {host} requires {wanted}")
            with self._lock:
                self._tokens[repository] = token
            return token.header

    def widen(self, repository: Location, source: str) -> None:
        """Docker Hub refuses a mount without a token for both repositories, and Quay uploads instead, without saying
        so. Where no such token is issued, the one that we have is kept."""
        with self._asking:
            with self._lock:
                token = self._tokens.get(repository)
            wanted = f"repository:{source}:pull"
            if (
                token is None
                or not token.scope
                or wanted in token.scope.split()
                or (repository, source) in self._narrow
            ):
                return
            try:
                what = f"read {source} for a mount into {repository}"
                scope, login = f"{token.scope} {wanted}", self._logins(repository)
                wider = self._bearer(repository, token.offer, scope, login, what)
            except (Refused, Unreachable):
                self._narrow.add((repository, source))
                return
            with self._lock:
                self._tokens[repository] = wider

    def _token(
        self,
        repository: Location,
        offered: dict[str, dict[str, str]],
        login: Login | None,
        used: str | None,
        what: str,
        again: bool,
    ) -> _Token | None:
        problem: TallymanError | None = None
        if offered.get("bearer", {}).get("realm") and not again:
            for scope in self._scopes(repository, offered["bearer"].get("scope", "")):
                try:
                    return self._bearer(repository, offered["bearer"], scope, login, what)
                except (Refused, Unreachable) as error:
                    problem = error
                    if error.retryable:
                        break
        if "basic" in offered and login and not login.refresh and login.basic != used:
            return _Token(login.basic, float("inf"))
        if problem:
            raise problem
        return None

    def _scopes(self, repository: Location, challenged: str) -> list[str]:
        """The scopes to request, one after another until a token is issued.

        A registry asks for what the refused request needs: to look at a target, `pull`. Quay creates a repository for a
        token that may push, and refuses to look at one that does not exist; others answer 403 instead of 401 to a later
        push. So the first request includes our own power, as docker's does. GHCR refuses it to a login that may only
        pull: the challenge's own scope is next."""
        kind, _, rest = challenged.partition(":")
        name, _, actions = rest.rpartition(":")
        if not challenged:
            return [f"repository:{repository.name}:{self._power}"]
        if kind != "repository" or " " in challenged or "*" in actions:
            return [challenged]
        wanted = dict.fromkeys(a for a in f"{actions},{self._power}".split(",") if a)
        return list(dict.fromkeys([f"repository:{name}:{','.join(wanted)}", challenged]))

    def _bearer(
        self, repository: Location, given: Mapping[str, str], scope: str, login: Login | None, what: str
    ) -> _Token:
        realm = given["realm"]
        asked = {"service": given.get("service", ""), "scope": scope}
        headers = {"Accept": "application/json"}
        if login and login.refresh:
            form = {**asked, "grant_type": "refresh_token", "refresh_token": login.refresh, "client_id": _CLIENT}
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            method, url, body = "POST", realm, urlencode(form).encode()
        else:
            if login:
                headers["Authorization"] = login.basic
            each = urlencode({**asked, "scope": scope.split()}, doseq=True)
            method, url, body = "GET", f"{realm}{'&' if '?' in realm else '?'}{each}", None
        raw = self._fetch(_Request(method, url, headers, body), repository, what, scope)
        place = urlsplit(realm).hostname
        try:
            document = loads_writable(raw)
            value = document.get("token") or document["access_token"]
            seconds = float(document.get("expires_in") or 60)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise Unreachable(f"{what}: {place} returns no valid token") from None
        return _Token(f"Bearer {value}", time.monotonic() + max(seconds - 10, 5), given, scope)

    def _fetch(self, first: _Request, repository: Location, what: str, scope: str) -> bytes:
        """The body of the answer, after redirects; only the realm's own host gets our credentials."""
        host, ours = repository.registry.host, origin(self.base(repository))[1]
        method, url, headers, body = first.method, first.url, first.headers, first.body
        for _ in range(HOPS + 1):
            scheme, place, _ = origin(url)
            if not place or (scheme == "http" and not unsecured(urlsplit(url).netloc, self._plain)):
                raise NotAllowed(
                    f"{what}: {host} names {url} for its tokens, which is not encrypted: refused (--plain-http "
                    "HOST[:PORT] allows it)"
                )
            if origin(url) != origin(first.url):
                headers = {name: value for name, value in headers.items() if name != "Authorization"}
            stranger = "" if place == ours else ours
            try:
                response = self._http.open(method, url, headers=headers, what=what, body=body, stranger=stranger)
                raw = response.all(_MOST)
            except OSError as error:
                raise Unreachable(f"{what}: no token from {place}") from error
            if response.status == 200:
                return raw
            onward = redirected(response, url)
            kept = method == "GET" or (response.status in (307, 308) and origin(onward) == origin(url))
            if not onward or not kept:
                text = f"{what}: {place} returns no token for {scope} ({response.status})"
                raise error_of(kind_of_status(response.status), text, response.headers)
            url = onward
        raise Refused(f"{what}: more than {HOPS} redirects for a token, the last to {url}")


def unsecured(host: str, plain: Collection[str]) -> bool:
    """Whether `host[:port]` is reached without TLS: it is one of `plain`, or this machine."""
    return host.lower() in {each.lower() for each in plain} or urlsplit(f"//{host}").hostname in LOOPBACK
