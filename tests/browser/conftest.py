"""A real Chromium, and the page of a stack with some weeks of history."""

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from support.fakes.showcase import Showcase, showcase
from tallyman_cli.ui.desk import Desk
from tallyman_cli.ui.server import PageServer

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def program() -> str:
    """Path of Chromium; skips the test if it is not installed."""
    found = next((path for name in PROGRAMS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium: apt-get install chromium")
    return found


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A running browser."""
    playwright = pytest.importorskip("playwright.sync_api", reason="no Playwright: requirements/browser.txt")
    path = program()
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        os.environ.pop(name, None)
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def shown() -> Showcase:
    """The stack's contents."""
    return showcase()


@pytest.fixture
def server(shown: Showcase) -> Iterator[PageServer]:
    """The stack's page, read-only."""
    page = PageServer(Desk(shown.system.stack))
    page.start()
    yield page
    page.stop()


@pytest.fixture
def page(chromium: Any, server: PageServer) -> Iterator[Any]:
    """A page opened with the token. Fails on any error that the browser reports and on any request to another host."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, base_url=server.address.partition("/?")[0])
    opened = context.new_page()
    complaints: list[str] = []
    opened.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("request", lambda request: _is_ours(request.url, server, complaints))
    opened.goto(server.address)
    opened.wait_for_selector("h1")
    yield opened
    context.close()
    assert complaints == []


def _is_ours(url: str, server: PageServer, complaints: list[str]) -> None:
    if not url.startswith(f"http://127.0.0.1:{server.guard.port}/"):
        complaints.append(f"a request to {url}")
