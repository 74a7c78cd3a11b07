"""Access control of the page: only the browser that was given the token, and no other site through that browser.

Loopback alone is not enough: any web page may send requests to 127.0.0.1, and with a host name that resolves to it
(DNS rebinding) it may read the answers. So Host and Origin must be ours, a random token in the address opens a session,
and a form that changes something carries a second token.
"""

import hmac
import secrets
from dataclasses import dataclass, field
from typing import Protocol

from werkzeug.wrappers import Request, Response

COOKIE = "tallyman"
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # with no-referrer a form's Origin would be null
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}

_OPENED = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Tallyman</title>
<meta http-equiv="refresh" content="0; url=/"></head><body><p><a href="/">Continue to Tallyman</a></p></body></html>"""
_CLOSED = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Tallyman</title></head>
<body><h1>This page needs its token</h1>
<p>Open the whole address that <code>tallyman ui</code> printed, with what follows the question mark.</p>
</body></html>"""


class Guarding(Protocol):
    """Refuses requests; `csrf` is the token of forms."""

    @property
    def csrf(self) -> str: ...

    def refusal(self, request: Request) -> Response | None:
        """The answer to a request that is refused; None: the page may be shown."""


@dataclass(frozen=True)
class Guard:
    """One server's secrets: `token` in the address, `session` in the cookie, `csrf` in forms."""

    port: int
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    session: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(32))

    @property
    def hosts(self) -> tuple[str, ...]:
        """What a request's Host may say."""
        return f"127.0.0.1:{self.port}", f"localhost:{self.port}"

    def refusal(self, request: Request) -> Response | None:
        """The answer to a request that is refused; None: the page may be shown."""
        if request.headers.get("Host", "") not in self.hosts:
            return Response("this page is served to 127.0.0.1 only\n", 421, content_type="text/plain")
        origin = request.headers.get("Origin")
        ours = {f"http://{host}" for host in self.hosts}
        elsewhere = request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin")
        writes = request.method not in ("GET", "HEAD")
        if (origin is not None and origin not in ours) or (writes and (origin is None or elsewhere)):
            return Response("the request comes from another page\n", 403, content_type="text/plain")
        if not self._is_open(request):
            token = request.args.get("token", "")
            if request.path == "/" and not writes and hmac.compare_digest(token.encode(), self.token.encode()):
                return self._open()
            return Response(_CLOSED, 403, content_type="text/html; charset=utf-8")
        if writes and not hmac.compare_digest(request.form.get("csrf", "").encode(), self.csrf.encode()):
            return Response("the form is of another run of this page: go back, reload it\n", 403)
        return None

    def _is_open(self, request: Request) -> bool:
        return hmac.compare_digest(request.cookies.get(self.cookie, "").encode(), self.session.encode())

    @property
    def cookie(self) -> str:
        """Cookies know no ports: each server has a name of its own."""
        return f"{COOKIE}-{self.port}"

    def _open(self) -> Response:
        """Not a redirect: a browser that comes from another site would not send a strict cookie along with it."""
        response = Response(_OPENED, content_type="text/html; charset=utf-8")
        response.set_cookie(self.cookie, self.session, httponly=True, samesite="Strict", path="/")
        return response
