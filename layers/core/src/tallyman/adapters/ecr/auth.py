"""Authentication for an ECR's `/v2/`: one token for each registry and role."""

import threading
import time
from collections.abc import Callable
from dataclasses import field
from datetime import UTC, datetime

from tallyman.adapters.aws.clients import Clients
from tallyman.adapters.errors.translate import translated
from tallyman.adapters.oci.answers import Answer
from tallyman.domain.names import Location, Place, in_ecr
from tallyman.domain.permissions import permissions
from tallyman.values import value

_KEPT = 600.0
"""Seconds for which a token is used. ECR says twelve hours, but a token expires with the credentials it was made with,
which botocore renews ten minutes before their end."""


@value(slots=False)
class _Token:
    base: str
    header: str = field(repr=False)
    until: float


class EcrAuth:
    """`Auth` for ECR; safe to share between threads."""

    PERMISSIONS = permissions("ecr:GetAuthorizationToken")

    def __init__(self, clients: Clients, clock: Callable[[], float] = time.time) -> None:
        self._clients, self._clock = clients, clock
        self._tokens: dict[Place, _Token] = {}
        self._locks: dict[Place, threading.Lock] = {}
        self._lock = threading.Lock()

    def base(self, repository: Location) -> str:
        return self._token(repository.registry).base

    def header(self, repository: Location) -> str:
        return self._token(repository.registry).header

    def renew(self, repository: Location, answer: Answer, used: str | None, what: str, again: bool) -> str | None:
        """A new header, once for each request: after a 401, or after an answer whose message says "expired"."""
        expired = answer.status == 401 or "expired" in answer.message
        if expired:
            with self._lock:
                token = self._tokens.get(repository.registry)
                if token and token.header == used:  # else another thread has renewed it already
                    del self._tokens[repository.registry]
        return self.header(repository) if expired and not again else None

    def widen(self, repository: Location, source: str) -> None:
        """Nothing: a token is good for every repository."""

    def _token(self, registry: Place) -> _Token:
        with self._lock:
            mine = self._locks.setdefault(registry, threading.Lock())
        with mine:  # one thread calls ECR, the others wait for its token
            token = self._tokens.get(registry)
            if token and self._clock() < token.until:
                return token
            client = self._clients.get("ecr", in_ecr(registry), "push")
            with translated(f"get a token for {registry}"):
                data = client.get_authorization_token()["authorizationData"][0]
            ends = data.get("expiresAt") or datetime.max.replace(tzinfo=UTC)
            until = min(self._clock() + _KEPT, ends.timestamp() - 60)
            token = _Token(data["proxyEndpoint"].rstrip("/"), f"Basic {data['authorizationToken']}", until)
            self._tokens[registry] = token
            return token
