"""The page's application: who may see it, the content of each address, and that hostile input has no effect."""

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from werkzeug.test import Client, TestResponse

from support.fakes.cli_stack import FakeStack
from support.images.builders import DEV, image, index, multi_arch
from tallyman.domain.events.letters import Letter
from tallyman.domain.history.facts import Via
from tallyman.domain.images.details import Finding, ScanReport
from tallyman.domain.text import LINES, visible
from tallyman.domain.times import format_time
from tallyman.state import sweeps
from tallyman.state.items import StateChange
from tallyman_cli.shared import output
from tallyman_cli.ui import render
from tallyman_cli.ui.actions import ACTIONS, arguments, program_arguments
from tallyman_cli.ui.app import Application
from tallyman_cli.ui.desk import Desk, Outcome
from tallyman_cli.ui.guard import Guard

NAME = "rocketseat/widget-server"
GUARD = Guard(8123, token="the-token", session="the-session", csrf="the-csrf")
EVIL = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>\u202e\x1b[2J"
HTMX = "d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717"
"""SHA-256 of dist/htmx.min.js of the package htmx.org 2.0.11."""


def test_the_first_page_finds_its_templates_compiled(system: FakeStack, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []
    render.environment.cache_clear()
    environment = render.environment()
    compile_template = environment.compile

    def counted(source: str, name: str | None = None, filename: str | None = None) -> object:
        compiled.append(str(name))
        return compile_template(source, name, filename)

    monkeypatch.setattr(environment, "compile", counted)
    render.compile_first_views()
    compiled.clear()
    assert Client(Application(Desk(system.stack), None)).get("/").status_code == 200
    assert compiled == []


class Browser:
    """A client of one application, with a session unless it is a stranger."""

    def __init__(self, desk: Desk, *, stranger: bool = False) -> None:
        self.client = Client(Application(desk, GUARD))
        if not stranger:
            self.client.set_cookie(GUARD.cookie, GUARD.session, domain="127.0.0.1")

    def get(self, path: str, **headers: str) -> TestResponse:
        return self.client.get(path, base_url="http://127.0.0.1:8123", headers={"Host": "127.0.0.1:8123", **headers})

    def post(self, path: str, data: dict[str, str], **headers: str) -> TestResponse:
        given = {"Host": "127.0.0.1:8123", "Origin": "http://127.0.0.1:8123", **headers}
        return self.client.post(path, base_url="http://127.0.0.1:8123", headers=given, data=data)

    def text(self, path: str) -> str:
        response = self.get(path)
        assert response.status_code == 200, response.text
        return response.text


@pytest.fixture
def desk(everywhere: FakeStack) -> Desk:
    return Desk(everywhere.stack)


@pytest.fixture
def full(everywhere: FakeStack) -> FakeStack:
    """One image that is released, one that is refused."""
    first, second = multi_arch("one"), multi_arch("two")
    everywhere.push(first, "v1.0.0")
    everywhere.push(first, "latest")
    everywhere.scan(first)
    everywhere.work()
    everywhere.clock.advance(hours=1)
    everywhere.push(second, "v1.1.0")
    everywhere.push(second, "latest")
    everywhere.scan(second, {"critical": 2})
    return everywhere


def addresses(system: FakeStack) -> list[str]:
    """One address of each view."""
    digest = system.registries.held(DEV).tags["v1.1.0"]
    first = system.registries.held(DEV).tags["v1.0.0"]
    return [
        "/",
        f"/repository/dev/{NAME}",
        f"/repository/prod[2]/{NAME}",
        f"/image/dev/{NAME}/{digest}",
        f"/why/dev/{NAME}/{digest}/prod",
        "/find?q=v1.1.0",
        f"/compare?a=dev/{NAME}@{first}&b=dev/{NAME}@{digest}",
        "/retention",
        "/health",
        "/health/letters",
        "/health/audit",
        "/health/checks",
        "/health/cost?months=2",
    ]


def test_every_view_opens_and_has_a_json_twin(full: FakeStack, desk: Desk) -> None:
    browser = Browser(desk)
    for address in addresses(full):
        html = browser.text(address)
        assert "<h1>" in html, address
        path, _, query = address.partition("?")
        twin = browser.get(f"{'/board' if path == '/' else path}.json" + (f"?{query}" if query else ""))
        assert twin.content_type.startswith("application/json"), address
        assert json.loads(twin.text), address
        other = browser.get(address + ("&" if query else "?") + "format=json")
        assert set(json.loads(other.text)) == set(json.loads(twin.text))
    assert "v1.1.0" in browser.text("/")
    assert "2 critical" in browser.text(f"/repository/dev/{NAME}")


def test_a_page_as_of_a_moment_shows_what_was_known_then(full: FakeStack, desk: Desk) -> None:
    browser = Browser(desk)
    html = browser.text(f"/repository/dev/{NAME}?at=2026-11-16T02:10:00Z")
    assert "As it was known at" in html
    assert "v1.1.0" not in html
    seconds = 1794795000  # the same moment, as the slider sends it
    assert "v1.1.0" not in browser.text(f"/repository/dev/{NAME}?t={seconds}")
    assert browser.get(f"/repository/dev/{NAME}?at=yesterday").status_code == 400


def test_why_accepts_a_pasted_policy_and_reports_its_errors(full: FakeStack, desk: Desk) -> None:
    browser, digest = Browser(desk), full.registries.held(DEV).tags["v1.1.0"]
    path = f"/why/dev/{NAME}/{digest}/prod"
    lenient = full.policy.raw.decode().replace("critical: 0", "critical: 9")
    shown = browser.post(path, {"csrf": GUARD.csrf, "policy": lenient})
    assert "As the pasted policy would judge" in shown.text
    wrong = browser.post(path, {"csrf": GUARD.csrf, "policy": "environments: 7"})
    assert wrong.status_code == 200
    assert "the pasted policy:1" in wrong.text
    assert browser.post(path, {"policy": lenient}).status_code == 403  # without the form's token


def test_without_the_token_nothing_is_shown(full: FakeStack, desk: Desk) -> None:
    stranger = Browser(desk, stranger=True)
    for address in [*addresses(full), "/static/desk.css", "/pulse", "/do/freeze?place=prod"]:
        response = stranger.get(address)
        assert response.status_code == 403, address
        assert "rocketseat" not in response.text
    assert stranger.get("/?token=wrong").status_code == 403
    opened = stranger.get("/?token=the-token")
    cookie = opened.headers["Set-Cookie"]
    assert opened.status_code == 200
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "the-token" not in cookie
    assert stranger.get("/").status_code == 200


@pytest.mark.parametrize("host", ["evil.example:8123", "127.0.0.1:9", "127.0.0.1", "localhost.evil.example:8123", ""])
def test_another_host_is_refused(full: FakeStack, desk: Desk, host: str) -> None:
    assert Browser(desk).get("/", Host=host).status_code == 421


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:9", "https://127.0.0.1:8123"])
def test_another_origin_is_refused(full: FakeStack, desk: Desk, origin: str) -> None:
    browser = Browser(desk)
    assert browser.get("/", Origin=origin).status_code == 403
    digest = full.registries.held(DEV).tags["v1.1.0"]
    path = f"/why/dev/{NAME}/{digest}/prod"
    assert browser.post(path, {"csrf": GUARD.csrf}, Origin=origin).status_code == 403


def test_every_answer_forbids_inline_code_and_other_hosts(full: FakeStack, desk: Desk) -> None:
    browser = Browser(desk)
    for address in [*addresses(full), "/nothing", "/static/desk.css", "/?token=x"]:
        response = browser.get(address)
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Referrer-Policy"] == "same-origin"
        html = response.text
        assert not re.search(r"\son\w+=|\sstyle=|<style|javascript:", html), address
        for script in re.findall(r"<script[^>]*>", html):
            assert 'src="/static/' in script
        for target in re.findall(r'(?:href|src|action|hx-get)="([^"]*)"', html):
            assert target.startswith(("/", "#")), target
            assert not target.startswith("//")


def test_hostile_text_is_shown_escaped(everywhere: FakeStack, desk: Desk) -> None:
    labels = {"org.opencontainers.image.authors": EVIL, EVIL: EVIL}
    app = index(
        image("app", labels=labels, annotations={"org.opencontainers.image.revision": EVIL}),
        annotations={"org.opencontainers.image.revision": EVIL, "org.opencontainers.image.authors": EVIL},
    )
    everywhere.push(app, "v1.0.0")
    child = app.root.platform_children[0].digest
    report = ScanReport("complete", {"critical": 1}, (Finding(EVIL, "critical", EVIL),), everywhere.clock())
    everywhere.service("record_scan").record(DEV, child, report, Via.EVENT)
    everywhere.services.evaluator.digest(app.digest)
    browser = Browser(desk)
    everywhere.run("deny", f"dev/{NAME}:v1.0.0", "--to", "prod", "--because", EVIL)
    everywhere.run("freeze", "prod", "--because", EVIL)
    for address in (
        "/",
        f"/repository/dev/{NAME}",
        f"/image/dev/{NAME}/{app.digest}",
        f"/why/dev/{NAME}/{app.digest}/prod",
        f"/find?q={EVIL}",
        f"/compare?a={EVIL}&b=x",
        f"/?q={EVIL}",
        f"/{EVIL}",
        f"/do/freeze?place={EVIL}",
        f"/repository/{EVIL}/{EVIL}",
    ):
        html = browser.get(address).text
        assert "<script>alert" not in html, address
        assert "<img src=x" not in html, address
        assert html == visible(html, LINES), address
    assert "&lt;script&gt;alert(1)" in browser.text(f"/image/dev/{NAME}/{app.digest}")


def test_a_read_only_page_has_no_button_and_shows_the_command(full: FakeStack, desk: Desk) -> None:
    browser, digest = Browser(desk), full.registries.held(DEV).tags["v1.1.0"]
    for address in addresses(full):
        assert 'href="/do/' not in browser.text(address)
    asked = browser.text(f"/do/approve?image=dev/{NAME}:v1.1.0&to=prod")
    assert f"tallyman approve dev/{NAME}:v1.1.0 --to prod" in asked
    assert '<form class="act"' not in asked
    done = browser.post("/do/recall", {"csrf": GUARD.csrf, "image": f"dev/{NAME}@{digest}", "because": "x"})
    assert done.status_code == 400
    assert not full.hints.to("commands")


def test_each_button_asks_for_confirmation_and_runs_its_command(full: FakeStack) -> None:
    ran: list[list[str]] = []

    def run(line: Sequence[str]) -> Outcome:
        ran.append(list(line))
        result = full.run(*line)
        return Outcome(result.exit_code, result.stdout, result.stderr)

    browser = Browser(Desk(full.stack, run=run))
    assert 'href="/do/freeze?place=prod"' in browser.text("/")
    asked = browser.get("/do/freeze?place=prod")
    assert 'name="because"' in asked.text
    assert ran == []
    form = {"csrf": GUARD.csrf, "place": "prod"}
    assert browser.post("/do/freeze", form).status_code == 409  # no reason
    assert browser.post("/do/freeze", {**form, "csrf": "no", "because": "Friday"}).status_code == 403
    assert ran == []
    assert browser.post("/do/freeze", {**form, "because": "Friday"}).status_code == 200
    assert ran == [["freeze", "prod", "--because", "Friday"]]
    assert "frozen" in browser.text("/")
    assert 'href="/do/doctor"' in browser.text("/health")
    assert browser.post("/do/reconcile", {"csrf": GUARD.csrf}).status_code in (200, 409)
    assert ran[-1] == ["reconcile"]
    digest = full.registries.held(DEV).tags["v1.1.0"]
    recall = {"csrf": GUARD.csrf, "image": f"dev/{NAME}@{digest}", "because": "bad"}
    assert browser.post("/do/recall", recall).status_code == 409  # the digest was not typed
    assert browser.post("/do/recall", {**recall, "typed": digest[7:15]}).status_code == 200
    assert "recalled" in browser.text(f"/image/dev/{NAME}/{digest}")


def test_numbers_have_their_noun_in_singular_or_plural() -> None:
    assert [output.counted(n, "dead letter") for n in (0, 1, 2)] == [
        "0 dead letters",
        "1 dead letter",
        "2 dead letters",
    ]
    assert output.counted(2, "registry", "registries") == "2 registries"


def test_the_gates_page_offers_an_approval_only_if_required_and_names_the_freeze(full: FakeStack) -> None:
    browser = Browser(Desk(full.stack, run=lambda line: Outcome(0, "", "")))
    page = f"/why/dev/{NAME}/{full.registries.held(DEV).tags['v1.1.0']}/prod"
    assert 'href="/do/promote' in browser.text(page)
    assert 'href="/do/approve' not in browser.text(page)
    assert 'href="/do/deny' not in browser.text(page)
    full.run("freeze", f"prod/{NAME}", "--because", "a fair", "--no-wait")
    full.work()
    frozen = browser.text(page)
    assert f"tallyman thaw prod/{NAME}<" in frozen
    assert "tallyman thaw prod<" not in frozen


@pytest.mark.parametrize("command", ACTIONS)
def test_each_buttons_command_accepts_the_stack_and_policy_of_the_page(
    full: FakeStack, tmp_path: Path, command: str
) -> None:
    """`letters` has no option `--policy`."""
    file = tmp_path / "tallyman.yaml"
    file.write_bytes(full.stack.policy.raw)
    image = f"dev/{NAME}@{full.registries.held(DEV).tags['v1.1.0']}"
    given = {"image": image, "to": "prod", "place": f"prod/{NAME}", "letter": "aaaaaaaa", "because": "a test"}
    result = full.run(*program_arguments(arguments(command, given), "tallyman", str(file)), "--help")
    assert result.exit_code == 0, result.output
    assert arguments(command, given)[0] in result.stdout


def test_letters_are_read_and_replayed_by_the_command(full: FakeStack) -> None:
    sent, body = full.clock(), '{"command": "freeze", "environment": "prod", "because": "x"}'
    bad = Letter("aaaaaaaa-1", "push", EVIL, sent, EVIL, "BadMessage", "record_push", "push")
    lost = Letter("bbbbbbbb-2", "undelivered", "{}", sent, "no permission", "NO_PERMISSIONS")
    asked = Letter("cccccccc-3", "commands", body, sent, "may not", "NotAllowed", "record_command", "commands")
    full.letters.boxes += [bad, lost, asked]
    shown = Browser(Desk(full.stack)).text("/health/letters")
    assert "<script>alert" not in shown
    assert "BadMessage" in shown
    assert "tallyman letters replay aaaaaaaa-1" in shown
    assert "tallyman letters discard bbbbbbbb-2" in shown  # nothing says where to send it
    assert "tallyman freeze prod --because x" in shown
    assert "cccccccc-3&#39;" not in shown
    ran: list[list[str]] = []

    def run(line: Sequence[str]) -> Outcome:
        ran.append(list(line))
        result = full.run(*line)
        return Outcome(result.exit_code, result.stdout, result.stderr)

    browser = Browser(Desk(full.stack, run=run))
    page = browser.text("/health/letters")
    assert re.findall(r'href="(/do/[^"]*)"', page) == [
        "/do/replay?letter=aaaaaaaa-1",
        "/do/discard?letter=aaaaaaaa-1",
        "/do/discard?letter=bbbbbbbb-2",
    ]
    assert browser.post("/do/discard", {"csrf": GUARD.csrf, "letter": lost.id}).status_code == 409  # no reason
    assert browser.post("/do/replay", {"csrf": GUARD.csrf, "letter": bad.id}).status_code == 200
    assert ran == [["letters", "replay", bad.id]]
    assert full.letters.sent == [bad]
    assert "BadMessage" not in browser.text("/health/letters")


def test_health_says_how_long_a_push_takes_and_cost_goes_back_by_months(full: FakeStack, desk: Desk) -> None:
    browser = Browser(desk)
    lag = json.loads(browser.get("/health.json").text)["lag"]
    assert lag["pushes"] > 0
    assert lag["p50_s"] <= lag["p95_s"] <= lag["longest_s"]
    full.state.put(
        StateChange(*sweeps.key(DEV), 0, {"swept": format_time(full.clock()), "images": 2, "bytes": 5_000_000})
    )
    data = json.loads(browser.get("/health/cost.json?months=2").text)
    assert [len(row["months"]) for row in data["repositories"]] == [3]
    assert "5.0 MB" not in browser.text("/health/cost?months=1")  # from the facts, not from the last sweep
    for wrong in ("0", "37", "-1", "x"):
        assert browser.get(f"/health/cost?months={wrong}").status_code == 400


def test_audit_findings_are_shown_as_by_the_command(full: FakeStack, desk: Desk) -> None:
    full.run("recall", f"dev/{NAME}:v1.0.0", "--because", EVIL)
    found = json.loads(full.run("audit", "--json").stdout)["findings"]
    shown = json.loads(Browser(desk).get("/health/audit.json").text)
    assert shown["findings"] == found
    assert sum(shown["kinds"].values()) == len(found)


@pytest.mark.parametrize(
    ("command", "given"),
    [
        ("replay", {"letter": "--queue"}),
        ("discard", {}),
        ("approve", {"image": "--help", "to": "prod"}),
        ("approve", {"image": f"dev/{NAME}:v1", "to": "-x"}),
        ("approve", {"image": f"dev/{NAME}", "to": "prod"}),
        ("recall", {"image": f"dev/{NAME}:v1"}),
        ("freeze", {}),
        ("destroy", {"place": "prod"}),
    ],
)
def test_unknown_commands_are_not_run(full: FakeStack, command: str, given: dict[str, str]) -> None:
    def run(line: Sequence[str]) -> Outcome:
        raise AssertionError(line)

    browser = Browser(Desk(full.stack, run=run))
    assert browser.get(f"/do/{command}?" + "&".join(f"{k}={v}" for k, v in given.items())).status_code == 400
    done = browser.post(f"/do/{command}", {"csrf": GUARD.csrf, "because": "x", "typed": "x", **given})
    assert done.status_code == 400


def test_missing_pages_and_images_are_reported(full: FakeStack, desk: Desk) -> None:
    browser, nothing = Browser(desk), "sha256:" + "0" * 64
    for address, status in (
        ("/nothing", 404),
        (f"/image/dev/{NAME}/{nothing}", 404),
        (f"/image/nowhere/{NAME}/{nothing}", 400),
        (f"/why/dev/{NAME}/{nothing}/nowhere", 400),
        ("/static/app.py", 404),
        ("/static/..%2fapp.py", 404),
        ("/do/destroy", 400),
        ("/?page=x", 400),
        (f"/image/dev/{NAME}?tag=v9", 404),
    ):
        assert browser.get(address).status_code == status, address
    assert json.loads(browser.get(f"/image/dev/{NAME}/{nothing}?format=json").text)["error"]
    by_tag = browser.get(f"/image/dev/{NAME}?tag=latest")
    assert by_tag.status_code == 303
    assert by_tag.headers["Location"].endswith(full.registries.held(DEV).tags["latest"])


def test_open_pages_are_notified_of_new_facts(full: FakeStack) -> None:
    seconds = [0.0]
    desk = Desk(full.stack)
    application = Application(desk, None)
    application.pulse._monotonic = lambda: seconds[0]
    browser = Client(application)
    assert browser.get("/pulse?number=0").status_code == 204
    full.push(multi_arch("three"), "v1.2.0")
    assert browser.get("/pulse?number=0").status_code == 204  # polled less than a second ago
    seconds[0] = 2.0
    found = browser.get("/pulse?number=0")
    assert found.status_code == 200
    assert found.headers["HX-Trigger"] == "tallyman-change"
    assert browser.get("/pulse?number=1").status_code == 204


def test_htmx_is_the_released_file_with_its_licence() -> None:
    assert hashlib.sha256((render.STATIC / "htmx.min.js").read_bytes()).hexdigest() == HTMX
    assert (render.STATIC / "htmx.LICENSE.txt").read_text().startswith("Zero-Clause BSD")


def test_no_file_of_the_page_names_another_host() -> None:
    for file in [*render.STATIC.glob("desk.*"), *(Path(render.HERE) / "templates").glob("*.html")]:
        assert "//" not in re.sub(
            r"http://www\.w3\.org/2000/svg|^\s*//.*$", "", file.read_text(), flags=re.MULTILINE
        ), file


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_a_page_answers_only_the_methods_that_it_has(full: FakeStack, desk: Desk, method: str) -> None:
    client = Client(Application(desk, None))
    for path in ("/", "/health", f"/repository/dev/{NAME}", "/static/desk.css"):
        response = client.open(path, method=method)
        assert (response.status_code, response.headers["Allow"]) == (405, "GET, HEAD"), path
    assert client.head("/").status_code == 200


def test_no_label_is_on_an_element_whose_label_no_screen_reader_reads(full: FakeStack, desk: Desk) -> None:
    browser = Browser(desk)
    for address in addresses(full):
        assert not re.search(r"<(p|pre|span|div|code)\b(?![^>]*\brole=)[^>]*\baria-label=", browser.text(address)), (
            address
        )
