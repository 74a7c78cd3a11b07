"""Who we are at a registry that is no ECR: Basic, or Bearer tokens as Docker's token protocol hands them out."""

import binascii
import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import field
from urllib.parse import urlencode, urlsplit

from tallyman.adapters.errors.statuses import kind_of_status
from tallyman.adapters.http.client import Wire
from tallyman.errors import NotAllowed, Throttled, Unreachable
from tallyman.values import value

_PARAMETER = re.compile(r'(\w+)\s*=\s*(?:"([^"]*)"|([^\s,]*))')
_MOST = 1024 * 1024
_CLIENT = "tallyman"


@value
class Login:
    """User and password, or (from `docker login` with an identity token) `refresh`: what a token is asked for with."""

    user: str
    password: str = field(repr=False, default="")
    refresh: str = field(repr=False, default="")

    @property
    def basic(self) -> str:
        """The Authorization header's value."""
        return "Basic " + binascii.b2a_base64(f"{self.user}:{self.password}".encode(), newline=False).decode()


Logins = Callable[[str], Login | None]
"""By the registry's host as written; None: nobody in particular."""


@value
class _Token:
    header: str = field(repr=False)
    until: float


class OciAuth:
    """The Authorization header for each registry, repository and kind of access; safe to share between threads."""

    def __init__(self, wire: Wire, logins: Logins, clock: Callable[[], float] = time.monotonic) -> None:
        self._wire, self._logins, self._clock = wire, logins, clock
        self._tokens: dict[tuple[str, str], _Token] = {}
        self._lock = threading.Lock()
        self._asking = threading.Lock()

    def header(self, host: str, scope: str) -> str | None:
        """What to send now; None: nothing was asked for yet."""
        with self._lock:
            token = self._tokens.get((host, scope)) or self._tokens.get((host, ""))
        return token.header if token and self._clock() < token.until else None

    def answer(self, host: str, scope: str, challenge: str, used: str | None, what: str) -> str:
        """A new header after a 401 with this challenge. NotAllowed where the one used was as new as can be."""
        with self._asking:  # one asks, the others take its answer
            now = self.header(host, scope)
            if now is not None and now != used:
                return now
            kind, _, rest = challenge.partition(" ")
            parameters = {m[1].lower(): m[2] or m[3] or "" for m in _PARAMETER.finditer(rest)}
            login = self._logins(host)
            if kind.lower() == "bearer" and parameters.get("realm"):
                token, covers = self._bearer(host, parameters, scope, login, what), scope
            elif kind.lower() == "basic" and login and login.basic != used:
                token, covers = _Token(login.basic, float("inf")), ""
            else:
                raise NotAllowed(
                    f"{what}: {host} wants "
                    + ("other credentials than Docker's configuration has" if login else "credentials: docker login")
                )
            with self._lock:
                self._tokens[host, covers] = token
            return token.header

    def _bearer(self, host: str, given: dict[str, str], scope: str, login: Login | None, what: str) -> _Token:
        realm = given["realm"]
        parts = urlsplit(realm)
        if parts.scheme not in ("https", "http") or (parts.scheme == "http" and parts.hostname not in LOOPBACK):
            raise NotAllowed(f"{what}: {host} sends us for a token to {realm}, which is not encrypted: refused")
        asked = {"service": given.get("service", ""), "scope": given.get("scope") or scope}
        headers = {"Accept": "application/json"}
        if login and login.refresh:
            form = {**asked, "grant_type": "refresh_token", "refresh_token": login.refresh, "client_id": _CLIENT}
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            method, url, body = "POST", realm, urlencode(form).encode()
        else:
            if login:
                headers["Authorization"] = login.basic
            method, url, body = "GET", f"{realm}{'&' if '?' in realm else '?'}{urlencode(asked)}", None
        try:
            response = self._wire.open(method, url, headers=headers, what=what, body=body)
            raw = response.all(_MOST)
        except OSError as error:
            raise Unreachable(f"{what}: no token from {parts.hostname}") from error
        if response.status != 200:
            kind = kind_of_status(response.status)
            text = f"{what}: {parts.hostname} gives no token for {asked['scope']} ({response.status})"
            raise Throttled(text) if kind is Throttled else kind(text)
        try:
            document = json.loads(raw)
            value = document.get("token") or document["access_token"]
            seconds = float(document.get("expires_in") or 60)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise Unreachable(f"{what}: {parts.hostname} gives no token that can be read") from None
        return _Token(f"Bearer {value}", self._clock() + max(seconds - 10, 5))


LOOPBACK = ("localhost", "127.0.0.1", "::1")
"""Hosts that are spoken to without TLS."""
