"""The WSGI application of the page: maps addresses to pages, and answers with HTML or JSON."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.routing import BaseConverter, Map, Rule
from werkzeug.utils import redirect
from werkzeug.wrappers import Request, Response

from tallyman.errors import BadInput, NotFound, TallymanError, TransientError
from tallyman_cli.ui import actions, pages, render, upkeep
from tallyman_cli.ui.desk import Desk
from tallyman_cli.ui.guard import HEADERS, Guarding
from tallyman_cli.ui.links import Links, ServerLinks, query
from tallyman_cli.ui.pages import Page
from tallyman_cli.ui.pulse import Pulse

LARGEST_FORM = 1024 * 1024
"""Bytes that a form may have; a pasted policy is the largest."""

StartResponse = Callable[..., Any]


class DigestConverter(BaseConverter):
    """A whole digest."""

    regex = "sha256:[0-9a-f]{64}"
    part_isolating = True


def _get(address: str, endpoint: Any) -> Rule:
    """A page that only answers GET and HEAD; a rule without methods would answer every one."""
    return Rule(address, endpoint=endpoint, methods=["GET"])


ROUTES = Map(
    [
        _get("/", pages.board),
        _get("/repository/<environment>/<path:name>", pages.repository),
        _get("/image/<environment>/<path:name>/<digest:digest>", pages.image),
        _get("/image/<environment>/<path:name>/<digest:digest>/uses", pages.image_uses),
        _get("/image/<environment>/<path:name>", "tag"),
        Rule("/why/<environment>/<path:name>/<digest:digest>/<target>", endpoint=pages.why, methods=["GET", "POST"]),
        _get("/find", pages.find),
        _get("/compare", pages.compare),
        _get("/retention", pages.retention),
        Rule("/retention/<environment>/<path:name>", endpoint=pages.retention_plan, methods=["GET", "POST"]),
        _get("/health", upkeep.health),
        _get("/health/letters", upkeep.letters),
        _get("/health/audit", upkeep.audit),
        _get("/health/checks", upkeep.checks),
        _get("/health/cost", upkeep.cost),
        _get("/pulse", "pulse"),
        Rule("/do/<command>", endpoint="do", methods=["GET", "POST"]),
        _get("/static/<name>", "static"),
        _get("/favicon.ico", "icon"),
    ],
    converters={"digest": DigestConverter},
    strict_slashes=False,
    merge_slashes=False,
)
"""The endpoint of a page is the function that makes it, from the desk, the links, the arguments, and the parts of its
address by name."""
TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml", "txt": "text/plain"}


class Application:
    """`guard`: refuses requests; None: serves everybody (an export, and tests of the pages)."""

    def __init__(self, desk: Desk, guard: Guarding | None, links: Links | None = None) -> None:
        self.desk, self.guard = desk, guard
        self.links: Links = links or ServerLinks()
        self.pulse = Pulse(desk.stack)

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        request = Request(environ)
        request.max_content_length = request.max_form_memory_size = LARGEST_FORM
        response = self.answer(request)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response(environ, start_response)

    def answer(self, request: Request) -> Response:
        """Answer a request. Never raises: an error is answered with a page that says what is wrong."""
        try:
            if self.guard is not None and (refusal := self.guard.refusal(request)):
                return refusal
            path, wants_json = twin(request)
            endpoint, values = ROUTES.bind("", path_info=path).match(method=request.method)
            return self._endpoint(request, endpoint, values, wants_json)
        except HTTPException as error:
            response = self._error(request, error.code or 500, error.description or error.name)
            if isinstance(error, MethodNotAllowed) and error.valid_methods:
                response.headers["Allow"] = ", ".join(sorted(error.valid_methods))
            return response
        except TallymanError as error:
            return self._error(request, status_of(error), str(error))
        except Exception as error:
            return self._error(request, 500, f"a fault in tallyman: {type(error).__name__}: {error}")

    def page(
        self, make: Callable[..., Page], values: Mapping[str, Any], given: Mapping[str, str], policy: str = ""
    ) -> Page:
        """The page behind an address. `policy`: the one that a form gave as text."""
        more = {"policy": policy} if make in (pages.why, pages.retention_plan) else {}
        return make(self.desk, self.links, given, **values, **more)

    def html(self, page: Page, here: str, given: Mapping[str, str]) -> str:
        """The page as HTML. `here`: its own address, from which a live page reloads itself."""
        live = page.live and self.links.live and given.get("live") != "off"
        path = here.partition("?")[0]
        rest = {key: value for key, value in given.items() if key != "live"}
        addresses = {
            "follow": path + query(rest),
            "stop": path + query({**rest, "live": "off"}),
            "json_twin": self.links.twin(path, rest),
        }
        return self._render(
            page.template, page.title, here, live=live, data=page.data, given=given, **addresses, **page.context
        )

    def _endpoint(self, request: Request, endpoint: Any, values: Mapping[str, Any], wants_json: bool) -> Response:
        given = request.args.to_dict()
        if endpoint in ("static", "icon"):
            return static(values.get("name", "tally.svg"))
        if endpoint == "pulse":
            return self._pulse(pages.number(given, "number", 0))
        if endpoint == "do":
            return self._do(request, values["command"])
        if endpoint == "tag":
            digest = pages.by_tag(self.desk, values["environment"], values["name"], given.get("tag", ""))
            return redirect(self.links.image(values["environment"], values["name"], digest) or "/", 303)
        self.pulse.look()  # before the page is read, so that what is recorded from now on updates it
        page = self.page(endpoint, values, given, request.form.get("policy", ""))
        if wants_json:
            return Response(render.as_json(page.data), content_type="application/json; charset=utf-8")
        here = request.path + query(given)
        return Response(self.html(page, here, given), content_type="text/html; charset=utf-8")

    def _pulse(self, number: int) -> Response:
        now = self.pulse.look()
        if number == now:
            return Response(status=204)
        html = render.environment().get_template("pulse.html").render(number=now)
        return Response(html, content_type="text/html; charset=utf-8", headers={"HX-Trigger": "tallyman-change"})

    def _do(self, request: Request, command: str) -> Response:
        """GET asks for confirmation, POST runs the command; on a read-only page both say what to run."""
        given = {**request.args.to_dict(), **request.form.to_dict()}
        line = actions.arguments(command, given)
        action = actions.ACTIONS[command]
        outcome, status = None, 200
        if request.method == "POST":
            if self.desk.run is None:
                raise BadInput(f"this page is read-only: run {actions.shown(line)}")
            outcome = actions.perform(self.desk.run, command, given)
            status = 200 if outcome.status == 0 else 409
        html = self._render(
            "do.html",
            action.title,
            request.path,
            live=False,
            data=None,
            given=given,
            command=command,
            action=action,
            line=actions.shown(line),
            outcome=outcome,
        )
        return Response(html, status, content_type="text/html; charset=utf-8")

    def _error(self, request: Request, status: int, text: str) -> Response:
        if wants_json(request):
            return Response(render.as_json({"error": text}), status, content_type="application/json; charset=utf-8")
        html = self._render("error.html", "Not shown", request.path, live=False, data=None, given={}, text=text)
        return Response(html, status, content_type="text/html; charset=utf-8")

    def _render(self, template: str, title: str, here: str, **context: Any) -> str:
        return render.page(
            template,
            self.links,
            self.desk.now(),
            title=title,
            here=here,
            about=self.desk.about(),
            environments=list(self.desk.stack.policy.environments),
            changes=self.desk.allows_changes and self.links.live,
            csrf=self.guard.csrf if self.guard else "",
            pulse=self.pulse.number,
            **{"follow": "", "stop": "", "json_twin": None, **context},
        )


def twin(request: Request) -> tuple[str, bool]:
    """The path of the page, and whether the request is for its JSON twin: `…/page.json` or `…/page?format=json`."""
    path, form = request.path, request.args.get("format")
    if form is None and path.endswith(".json"):
        path = path.removesuffix(".json")
        return ("/" if path in ("/board", "/index") else path), True
    return path, form == "json"


def wants_json(request: Request) -> bool:
    """Whether an error is answered as JSON."""
    return twin(request)[1]


def status_of(error: TallymanError) -> int:
    """The HTTP status of an error of ours."""
    if isinstance(error, NotFound):
        return 404
    if isinstance(error, BadInput):
        return 400
    return 503 if isinstance(error, TransientError) else 502


def static(name: str) -> Response:
    """A file of the page: its style, scripts and picture. Raises NotFound."""
    file = render.STATIC / name
    kind = TYPES.get(file.suffix[1:])
    if kind is None or file.parent != render.STATIC or not file.is_file():
        raise NotFound(f"there is no file {name}")
    headers = {"Cache-Control": "max-age=3600"}
    return Response(file.read_bytes(), content_type=f"{kind}; charset=utf-8", headers=headers)
