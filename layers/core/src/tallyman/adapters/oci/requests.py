"""Requests to `/v2/` of a registry that is no ECR: where it is, who we are, what is tried again."""

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from urllib.parse import urljoin, urlsplit

from tallyman.adapters.http.client import Response, Wire
from tallyman.adapters.oci.answers import Answer
from tallyman.adapters.oci.auth import LOOPBACK, Logins, OciAuth
from tallyman.domain.names import Repository
from tallyman.errors import Throttled, Unreachable

_MOST = 8 * 1024 * 1024
"""Bytes of an answer that is read whole: a manifest has 4 MiB at most."""

_LONGEST = 20.0
"""Seconds that a registry may ask us to wait, and we do."""

_REDIRECTS = 5

_ALIASES = {"docker.io": "registry-1.docker.io", "index.docker.io": "registry-1.docker.io"}


class OciHttp:
    """Requests with whatever credentials each registry asks for. What may be sent again is, after a broken
    connection, a 5xx or a 429, with growing, random pauses; a token that is refused is renewed once."""

    def __init__(
        self,
        wire: Wire,
        logins: Logins,
        *,
        power: str,
        plain: Iterable[str] = (),
        attempts: int = 4,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`power`: the access that is asked for, `pull` or `pull,push`. `plain`: hosts that speak no TLS, besides
        those of this machine."""
        self._wire, self._power, self._attempts, self._sleep = wire, power, attempts, sleep
        self._auth = OciAuth(wire, logins)
        self._plain = set(plain)

    def base(self, repository: Repository) -> str:
        """Scheme and host."""
        host = repository.registry.host
        return f"{'http' if unsecured(host, self._plain) else 'https'}://{_ALIASES.get(host, host)}"

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
        url = f"{self.base(repository)}/v2/{repository.name}/{path}"
        attempt = 0
        while True:
            attempt += 1
            try:
                response = self._opened(method, repository, url, headers or {}, body, what)
                answer = self._whole(response, url, what)
            except Unreachable:
                if attempt >= self._attempts:
                    raise
                self._pause(attempt, None)
                continue
            if answer.status != 429 and answer.status < 500:
                return answer
            error = answer.error(what)
            asked = error.after if isinstance(error, Throttled) else None
            if attempt >= self._attempts or (asked or 0) > _LONGEST:
                raise error
            self._pause(attempt, asked)

    def open(self, repository: Repository, path: str, *, what: str, headers: Mapping[str, str]) -> Response:
        """A GET whose body the caller reads. Redirects are followed, to another host without our credentials."""
        url = f"{self.base(repository)}/v2/{repository.name}/{path}"
        response = self._opened("GET", repository, url, headers, None, what)
        for _ in range(_REDIRECTS):
            if response.status not in (301, 302, 303, 307, 308):
                return response
            found = urljoin(url, response.headers.get("Location", ""))
            response.close()
            if url.startswith("https:") and not found.startswith("https:"):
                raise Unreachable(f"{what}: the registry sends us on without encryption: refused")
            if _origin(found) == _origin(url):
                response = self._opened("GET", repository, found, headers, None, what)
            else:
                response = self._wire.open("GET", found, headers=headers, what=what)
            url = found
        response.close()
        raise Unreachable(f"{what}: more than {_REDIRECTS} redirects")

    def stream(
        self,
        method: str,
        repository: Repository,
        url: str,
        *,
        what: str,
        headers: Mapping[str, str],
        body: Iterable[bytes],
    ) -> Answer:
        """A request whose body can be sent only once."""
        sent = dict(headers)
        scope = self._scope(repository)
        if header := self._auth.header(repository.registry.host, scope):
            sent["Authorization"] = header
        failure: list[BaseException] = []
        try:
            response = self._wire.open(method, url, headers=sent, what=what, body=_watched(body, failure))
        except Unreachable:
            if failure:
                raise failure[0] from None
            raise
        answer = self._whole(response, url, what)
        if answer.status == 401:
            self._auth.answer(repository.registry.host, scope, answer.headers.get("Www-Authenticate", ""), header, what)
            raise Unreachable(f"{what}: the token had expired: start again")
        return answer

    def location(self, repository: Repository, answer: Answer, what: str) -> str:
        """Where an upload goes on. Unreachable if that is not this registry: nothing goes there."""
        found = answer.headers.get("Location")
        if not found:
            raise Unreachable(f"{what}: the registry gives no location for the upload")
        url = urljoin(answer.url, found)
        base = self.base(repository)
        if _origin(url) != _origin(base):
            parts = urlsplit(url)
            if base.startswith("https:") and parts.scheme == "http" and parts.hostname == urlsplit(base).hostname:
                return f"{base}{url[url.index('/', 8) :]}"  # behind a proxy that speaks TLS for it
            raise Unreachable(f"{what}: the upload is to go to {parts.hostname}, which is not the registry: refused")
        return url

    def _opened(
        self,
        method: str,
        repository: Repository,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        what: str,
    ) -> Response:
        host, scope = repository.registry.host, self._scope(repository)
        used = self._auth.header(host, scope)
        for renewed in (False, True):
            sent = {**headers, "Authorization": used} if used else headers
            response = self._wire.open(method, url, headers=sent, what=what, body=body)
            if response.status != 401 or renewed:
                return response
            challenge = response.headers.get("Www-Authenticate", "")
            self._whole(response, url, what)
            used = self._auth.answer(host, scope, challenge, used, what)
        raise AssertionError("not reached")

    def _scope(self, repository: Repository) -> str:
        return f"repository:{repository.name}:{self._power}"

    def _whole(self, response: Response, url: str, what: str) -> Answer:
        try:
            body = response.all(_MOST)
        except OSError as error:
            with suppress(OSError):
                response.close()
            raise Unreachable(f"{what}: the answer broke off ({error})") from error
        return Answer(response.status, response.headers, body, url)

    def _pause(self, attempt: int, asked: float | None) -> None:
        """Growing, and different for each of us, so that those who were refused together don't come back together."""
        import random  # seldom needed, and its import takes as long as a request

        spread = random.uniform(0.5, 1.5)
        self._sleep(asked + spread * 0.2 if asked is not None else 0.1 * 2**attempt * spread)


def unsecured(host: str, plain: Collection[str]) -> bool:
    """Whether no TLS is spoken to `host[:port]`: it is one of `plain`, or of this machine."""
    return host in plain or urlsplit(f"//{host}").hostname in LOOPBACK


def _watched(body: Iterable[bytes], failure: list[BaseException]) -> Iterable[bytes]:
    """The body, whose own errors are not taken for those of the connection."""
    try:
        yield from body
    except GeneratorExit:
        raise
    except BaseException as error:
        failure.append(error)
        raise


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme)
