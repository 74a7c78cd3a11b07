"""The page as a Lambda function for a team: read-only, behind a function URL with IAM or a load balancer with OIDC.

IAM or the load balancer decides who may see it, before the function runs. The function refuses a request that neither
of them has authenticated: a function URL that somebody opened to everybody shows nothing.
"""

import gzip
import json
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from apig_wsgi import make_lambda_handler
from werkzeug.wrappers import Request, Response

from tallyman_cli.shared import context
from tallyman_cli.shared.chosen import chosen
from tallyman_cli.ui.app import Application, StartResponse
from tallyman_cli.ui.desk import Desk

COMPRESSED_FROM = 64 * 1024
"""Bytes of a body from which on it is compressed for a client that takes gzip."""
LONGEST_OF_BALANCER, LONGEST_OF_URL = 1_000_000, 6_000_000
"""Bytes of JSON that Lambda may answer a load balancer, and a function URL; longer ones become a bare 502."""
_TOO_LONG = "This page is longer than a Lambda function may answer. `tallyman ui` on your machine shows it.\n"

Event = dict[str, Any]
Handler = Callable[[Event, Any], dict[str, Any]]


class TeamGuard:
    """Accepts requests that IAM or the load balancer authenticated. Forms need no token: they change nothing, and no
    other site may read the answer."""

    csrf = ""

    def refusal(self, request: Request) -> Response | None:
        """The answer to a request that is refused; None: the page may be shown."""
        if not _let_in(request):
            return Response("this page is for people whom IAM or the load balancer let in\n", 403)
        return None


def _let_in(request: Request) -> bool:
    context = request.environ.get("apig_wsgi.request_context") or {}
    if "elb" in context:  # only our target group may invoke the function, and its one listener authenticates people
        return bool(request.headers.get("X-Amzn-Oidc-Identity"))
    return bool((context.get("authorizer") or {}).get("iam"))


def lambda_handler(desk: Desk) -> Handler:
    """The handler for the pages of a desk."""
    made: Handler = make_lambda_handler(_compressed(Application(desk, TeamGuard())), binary_support=True)
    too_long: Handler = make_lambda_handler(Response(_TOO_LONG, 500))

    def answer(event: Event, lambda_context: Any) -> dict[str, Any]:
        found = made(event, lambda_context)
        balanced = "elb" in (event.get("requestContext") or {})
        fits = len(json.dumps(found)) <= (LONGEST_OF_BALANCER if balanced else LONGEST_OF_URL)
        return found if fits else too_long(event, lambda_context)

    return answer


def _compressed(app: Application) -> Callable[[dict[str, Any], StartResponse], Iterable[bytes]]:
    def answer(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        response = Response.from_app(app, environ)
        if len(response.data) >= COMPRESSED_FROM and Request(environ).accept_encodings.quality("gzip"):
            response.data = gzip.compress(response.data)
            response.headers.update({"Content-Encoding": "gzip", "Vary": "Accept-Encoding"})
        return response(environ, start_response)

    return answer


@cache
def _of_the_stack() -> Handler:
    return lambda_handler(Desk(context.connect(), chosen.stack_name(None), shared=True))


def handler(event: Event, lambda_context: Any) -> dict[str, Any]:
    """The function of page.yaml. The stack is opened by the first request, and kept."""
    return _of_the_stack()(event, lambda_context)
