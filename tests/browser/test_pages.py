"""The page in a real browser: each view opens, updates itself, shows hostile text safely and is accessible."""

import os
import re
from pathlib import Path
from typing import Any

import pytest

from support.fakes.showcase import Showcase, digest_of
from support.images.builders import image, index
from tallyman_cli.ui.actions import runner
from tallyman_cli.ui.desk import Desk
from tallyman_cli.ui.server import PageServer

pytestmark = pytest.mark.browser

NAME = "rocketseat/widget-server"
LARGEST_PICTURE = 200_000
"""Bytes of a picture of docs/images."""


def views(shown: Showcase) -> dict[str, str]:
    """The address of each view, by the name of its picture."""
    bad, good = digest_of(shown, "widget-server", "v1.2.0-e4d07f3"), digest_of(shown, "widget-server", "v1.2.1-b7f20d9")
    return {
        "board": "/",
        "repository": f"/repository/dev/{NAME}",
        "image": f"/image/dev/{NAME}/{bad}",
        "why": f"/why/dev/{NAME}/{bad}/staging",
        "find": "/find?q=zlib",
        "compare": f"/compare?a=dev/{NAME}@{bad}&b=dev/{NAME}@{good}",
        "retention": "/retention",
        "plan": "/retention/dev/rocketseat/reports?since=2026-11-06",
        "health": "/health",
        "letters": "/health/letters",
        "audit": "/health/audit",
        "cost": "/health/cost",
    }


UPKEEP = ("letters", "audit", "cost")
VIEWS = ("board", "repository", "image", "why", "find", "compare", "retention", "plan", "health")


@pytest.mark.parametrize("view", VIEWS + UPKEEP)
def test_each_view_opens_and_passes_axe(page: Any, shown: Showcase, view: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe: requirements/browser.txt")
    page.goto(views(shown)[view])
    page.wait_for_load_state("networkidle", timeout=20_000) if view == "image" else page.wait_for_selector("h1")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        found = axe.Axe().run(page).response["violations"]
        serious = {
            each["id"]: [node["html"][:160] for node in each["nodes"][:3]]
            for each in found
            if each["impact"] in ("serious", "critical")
        }
        assert serious == {}, scheme


@pytest.mark.parametrize("view", VIEWS + UPKEEP)
def test_each_view_fits_a_phone(page: Any, shown: Showcase, view: str) -> None:
    page.set_viewport_size({"width": 360, "height": 780})
    page.goto(views(shown)[view])
    page.wait_for_selector("h1")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize("view", VIEWS)
def test_pictures(page: Any, shown: Showcase, view: str, tmp_path: Path) -> None:
    """Capture every view; `PICTURES=docs/images` keeps the files, which are the pictures of the docs."""
    page.set_viewport_size({"width": 1280, "height": 880})
    page.goto(views(shown)[view] + ("&" if "?" in views(shown)[view] else "?") + "live=off")
    page.wait_for_selector("h1")
    page.wait_for_timeout(400)
    folder = Path(os.environ.get("PICTURES") or tmp_path)
    picture = folder / f"{view}.png"
    page.screenshot(path=str(picture))
    assert 5_000 < picture.stat().st_size < LARGEST_PICTURE


def test_a_phone_shows_a_frozen_environment_and_its_button(chromium: Any, shown: Showcase) -> None:
    """The narrow board stays a table: each cell is in its environment's column, whose header and button can be seen."""
    shown.say("freeze", "prod", "--because", "Friday")
    server = PageServer(Desk(shown.system.stack, run=lambda line: _note([], line)))
    server.start()
    try:
        context = chromium.new_context(viewport={"width": 360, "height": 780}, has_touch=True)
        page = context.new_page()
        page.goto(server.address)
        header = page.get_by_role("columnheader", name=re.compile("^prod "))
        assert "frozen" in header.inner_text(timeout=5_000)
        header.get_by_text("Thaw").tap(timeout=5_000)
        page.wait_for_selector("h1:has-text('Thaw')")
        page.go_back()
        columns = page.get_by_role("columnheader").count()
        cells = {row.get_by_role("cell").count() for row in page.get_by_role("row").all()[1:]}
        assert cells == {columns - 1}
        assert page.locator(".board :is(thead, tbody, tr, th, td):not([role])").count() == 0
        context.close()
    finally:
        server.stop()
        shown.say("thaw", "prod")


def test_a_live_push_appears_without_a_reload_and_keeps_open_sections(page: Any, shown: Showcase) -> None:
    page.goto(f"/repository/dev/{NAME}")
    page.click("summary:has-text('Every move')")
    page.evaluate("window.stayed = true")
    shown.release("widget-server", "v1.3.0-0a1b2c3", 49_000)
    page.wait_for_selector("text=v1.3.0-0a1b2c3 >> visible=true", timeout=15_000)
    assert page.evaluate("window.stayed") is True
    assert page.locator("#moves").get_attribute("open") is not None
    assert page.locator("#said").inner_text().startswith("Updated at")
    page.goto("/")
    page.wait_for_selector("text=v1.3.0-0a1b2c3")


def test_the_slider_shows_the_page_as_it_was(page: Any, shown: Showcase) -> None:
    page.goto(f"/repository/dev/{NAME}")
    move = "e.value = 1794000000; for (const n of ['input', 'change']) e.dispatchEvent(new Event(n, {bubbles: true}))"
    page.locator("#t").evaluate(f"e => {{ {move} }}")
    page.wait_for_selector("text=As it was known at", timeout=10_000)
    assert "v1.2.1" not in page.locator("main").inner_text()
    assert "t=" in page.url


def test_hostile_text_executes_no_script(page: Any, shown: Showcase) -> None:
    evil = "\"'><script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'>"
    labels = {"org.opencontainers.image.authors": evil, evil: evil}
    notes = {"org.opencontainers.image.revision": evil, "org.opencontainers.image.authors": evil}
    app = index(image("evil", labels=labels, annotations=notes), annotations=notes)
    place = shown.place("catalog")
    shown.system.push(app, "v6.6.6-abcdef0", place)
    shown.settle()
    for address in (
        f"/image/dev/rocketseat/catalog/{app.digest}",
        "/repository/dev/rocketseat/catalog",
        f"/?q={evil}",
        f"/find?q={evil}",
    ):
        page.goto(address)
        page.wait_for_selector("h1")
        assert page.evaluate("window.hacked") is None, address
    page.goto(f"/image/dev/rocketseat/catalog/{app.digest}")
    assert "<script>window.hacked" in page.locator("main").inner_text()


def test_everything_can_be_reached_with_the_keyboard(page: Any) -> None:
    page.goto("/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("(document.activeElement.textContent || '').trim()"))
    assert {"Show", "rocketseat/widget-server"} <= reached


def test_a_page_of_another_origin_is_refused(chromium: Any, server: PageServer) -> None:
    """Requests from another site's page, and from a client without the token."""
    context = chromium.new_context()
    stranger = context.new_page()
    stranger.goto(server.address)
    stranger.wait_for_selector("h1")
    other = context.new_page()
    other.route("http://evil.example/**", lambda route: route.fulfill(content_type="text/html", body="<h1>evil</h1>"))
    other.goto("http://evil.example/")
    answer = other.evaluate(
        "url => fetch(url, {credentials: 'include'}).then(r => r.text(), e => 'refused: ' + e)",
        f"http://127.0.0.1:{server.guard.port}/board.json",
    )
    assert answer.startswith("refused")
    context.close()
    fresh = chromium.new_context()
    without = fresh.new_page()
    without.goto(f"http://127.0.0.1:{server.guard.port}/")
    assert "needs its token" in without.inner_text("body")
    fresh.close()


def test_a_button_asks_once_more(chromium: Any, shown: Showcase) -> None:
    ran: list[list[str]] = []
    desk = Desk(shown.system.stack, run=lambda line: _note(ran, line))
    server = PageServer(desk)
    server.start()
    try:
        context = chromium.new_context()
        page = context.new_page()
        page.goto(server.address)
        page.click("a:has-text('Freeze') >> nth=0")
        page.fill("#because", "Friday")
        assert ran == []
        page.click("button:has-text('Freeze now')")
        page.wait_for_selector("text=Done")
        assert ran == [["freeze", "dev", "--because", "Friday"]]
        context.close()
    finally:
        server.stop()


def _note(ran: list[list[str]], line: Any) -> Any:
    from tallyman_cli.ui.desk import Outcome

    ran.append(list(line))
    return Outcome(0, "frozen\n", "")


def test_the_runner_runs_the_command_itself() -> None:
    outcome = runner("no-such-stack", None)(["freeze", "--help"])
    assert outcome.status == 0
    assert "Freeze an environment" in outcome.output
