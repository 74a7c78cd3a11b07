"""The page as a Lambda function for a team: read-only, behind a function URL with IAM or a load balancer with OIDC.

IAM or the load balancer decides who may see it, before the function runs. The function refuses a request that neither
of them has authenticated: a function URL that somebody opened to everybody shows nothing.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

from apig_wsgi import make_lambda_handler
from werkzeug.wrappers import Request, Response

from tallyman_cli.shared import context
from tallyman_cli.shared.chosen import chosen
from tallyman_cli.ui.app import Application
from tallyman_cli.ui.desk import Desk

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
    found: Handler = make_lambda_handler(Application(desk, TeamGuard()), binary_support=True)
    return found


@cache
def _of_the_stack() -> Handler:
    return lambda_handler(Desk(context.connect(), chosen.stack_name(None), shared=True))


def handler(event: Event, lambda_context: Any) -> dict[str, Any]:
    """The function of page.yaml. The stack is opened by the first request, and kept."""
    return _of_the_stack()(event, lambda_context)
