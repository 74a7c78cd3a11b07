"""A registry's own API, `/v2/`: tokens and requests."""

import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field
from datetime import UTC, datetime
from urllib.parse import urljoin, urlsplit

from tallyman.adapters.aws.clients import Clients, RoleKind
from tallyman.adapters.errors.translate import translated
from tallyman.adapters.http.pooled import Http
from tallyman.adapters.oci.answers import Answer, is_expired
from tallyman.domain.names import Registry, Repository
from tallyman.domain.permissions import permissions
from tallyman.errors import Throttled, Unreachable
from tallyman.values import value

_KEPT = 600.0
"""Seconds that a token is used. ECR says twelve hours, but it ends with the credentials behind it, which botocore
renews ten minutes before their end."""

_PATIENCE = 120.0
"""Seconds that a registry may take for a piece of an upload, and for its answer to a whole one."""


@value(slots=False)
class _Token:
    base: str
    value: str = field(repr=False)
    until: float


class RegistryHttp:
    """Requests to `/v2/` of any registry, with one token a registry and role; safe to share between threads.

    Requests that may be sent again are, after a broken connection, a 5xx or a 429, `attempts` times in all; a token
    that a registry refuses is renewed once. Nothing is sent to another host than the registry's own.
    """

    PERMISSIONS: tuple[str, ...] = permissions("ecr:GetAuthorizationToken")

    def __init__(
        self,
        clients: Clients,
        http: Http,
        power: RoleKind,
        *,
        attempts: int = 3,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._clients, self._http, self._power = clients, http, power
        self._attempts, self._clock, self._sleep = attempts, clock, sleep
        self._tokens: dict[Registry, _Token] = {}
        self._locks: dict[Registry, threading.Lock] = {}
        self._lock = threading.Lock()

    def send(
        self,
        method: str,
        repository: Repository,
        path: str,
        *,
        what: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Answer:
        """A request that may be repeated; `path` follows `/v2/<name>/`. Any answer but 401, 429 and 5xx is given
        back as it is; those are errors once the attempts are used up."""
        renewed = False
        attempt = 0
        while True:
            token = self._token(repository.registry)
            attempt += 1
            last = attempt >= self._attempts
            url = f"{token.base}/v2/{repository.name}/{path}"
            try:
                answer = self._once(token, method, url, headers or {}, body, what)
            except Unreachable:
                if last:
                    raise
                self._pause(attempt)
                continue
            if is_expired(answer):
                self.forget(repository.registry, token)
                if renewed:
                    raise answer.error(what)
                renewed = True
                attempt -= 1
                continue
            if answer.status != 429 and answer.status < 500:
                return answer
            error = answer.error(what)
            if last:
                raise error
            asked = error.after if isinstance(error, Throttled) else None
            if asked is not None and asked > 5:
                raise error  # too long to sit it out here
            self._pause(attempt, asked)

    def _pause(self, attempt: int, asked: float | None = None) -> None:
        """Growing, and different for each of us: those who were refused together must not come back together."""
        spread = random.random()
        self._sleep(asked + spread * 0.25 if asked is not None else 0.1 * 2**attempt * (0.5 + spread))

    def stream(
        self,
        method: str,
        repository: Repository,
        location: str,
        *,
        what: str,
        headers: Mapping[str, str],
        chunks: Iterable[bytes],
    ) -> Answer:
        """A request whose body can be sent only once, to a location that this registry gave."""
        token = self._token(repository.registry)
        body = _Body(chunks)
        try:
            answer = self._once(token, method, location, headers, body, what, read=_PATIENCE, send=_PATIENCE)
        except Exception:
            if body.failure is not None:
                raise body.failure from None  # ours, not the connection's
            raise
        if is_expired(answer):
            self.forget(repository.registry, token)
            raise Unreachable(f"{what}: the token had expired: start again")
        return answer

    def location(self, repository: Repository, answer: Answer, what: str) -> str:
        """Where an upload goes on, made absolute. Unreachable if that is not this registry: nothing goes there."""
        base = self._token(repository.registry).base
        found = answer.headers.get("Location")
        if not found:
            raise Unreachable(f"{what}: the registry gives no location for the upload")
        url = urljoin(answer.url, found)
        if _origin(url) != _origin(base):
            raise Unreachable(
                f"{what}: the upload is to go to {urlsplit(url).hostname}, which is not the registry: refused"
            )
        return url

    def forget(self, registry: Registry, token: _Token) -> None:
        """The token is of no more use; another thread may have renewed it already."""
        with self._lock:
            if self._tokens.get(registry) is token:
                del self._tokens[registry]

    def _token(self, registry: Registry) -> _Token:
        with self._lock:
            mine = self._locks.setdefault(registry, threading.Lock())
        with mine:  # one asks, the others wait for its answer
            token = self._tokens.get(registry)
            if token and self._clock() < token.until:
                return token
            client = self._clients.get("ecr", registry, self._power)
            with translated(f"get a token for {registry}"):
                data = client.get_authorization_token()["authorizationData"][0]
            ends = data.get("expiresAt") or datetime.max.replace(tzinfo=UTC)
            until = min(self._clock() + _KEPT, ends.timestamp() - 60)
            token = _Token(data["proxyEndpoint"].rstrip("/"), data["authorizationToken"], until)
            self._tokens[registry] = token
            return token

    def _once(
        self,
        token: _Token,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: "bytes | _Body | None",
        what: str,
        read: float = 20.0,
        send: float | None = None,
    ) -> Answer:
        sent = {"Authorization": f"Basic {token.value}", **headers}
        response = self._http.open(method, url, headers=sent, body=body, what=what, read=read, send=send)
        try:
            with translated(what):
                data = response.read(decode_content=True)
        finally:
            response.release_conn()
        return Answer(response.status, response.headers, data, url)


class _Body:
    """Chunks to send, that remembers what broke: urllib3 may take an OSError of theirs for one of the socket."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = chunks
        self.failure: BaseException | None = None

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._chunks
        except GeneratorExit:
            raise
        except BaseException as error:
            self.failure = error
            raise


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme)
