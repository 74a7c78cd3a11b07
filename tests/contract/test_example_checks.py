"""The examples of checks: what they post or return, with stub programs and a ticket system over HTTP."""

import importlib.util
import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import parse_qs, urlsplit

import pytest
from typer.main import get_command

from support.stacks.templates import ROOT
from tallyman_cli.main import app

CHECKS = ROOT / "examples/checks"
DIGEST = f"sha256:{'a' * 64}"
IMAGE = f"dev/rocketseat/widget-server@{DIGEST}"
RUN = "https://ci.example.com/runs/42"


def run(folder: Path, script: str, *arguments: str, **programs: str) -> tuple[int, list[str], str]:
    """Exit status, the arguments of what was posted, and stderr. `programs`: name → shell code that replaces it."""
    posted = folder / "posted"
    programs["tallyman"] = f"printf '%s\\n' \"$@\" > '{posted}'"
    for name, body in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    environment = os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"}
    done = subprocess.run(
        [CHECKS / script, *arguments], env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    return done.returncode, posted.read_text().splitlines() if posted.exists() else [], done.stderr


def posts(arguments: list[str]) -> dict[str, Any]:
    """Options of `tallyman check post`, as its own parser reads them."""
    assert arguments[:2] == ["check", "post"]
    group = get_command(app)
    context = group.make_context("tallyman", [*arguments[:2], "--help"], resilient_parsing=True)
    command = group.get_command(context, "check").get_command(context, "post")  # type: ignore[attr-defined]
    found: dict[str, Any] = command.make_context("post", arguments[2:], resilient_parsing=False).params
    return found


@pytest.mark.parametrize(("status", "passed"), [(0, True), (99, False)])
def test_a_load_test_posts_the_result_of_its_thresholds(tmp_path: Path, status: int, passed: bool) -> None:
    ended, arguments, _ = run(tmp_path, "load-test.sh", "script.js", IMAGE, RUN, k6=f"exit {status}")
    assert ended == 0
    post = posts(arguments)
    assert (post["image"], post["name"], post["passed"]) == (IMAGE, "load", passed)
    assert post["because"].endswith(RUN)


def test_a_load_test_that_could_not_run_posts_nothing(tmp_path: Path) -> None:
    ended, arguments, said = run(tmp_path, "load-test.sh", "script.js", IMAGE, RUN, k6="exit 107")
    assert (ended, arguments) == (2, [])
    assert "k6 ended with status 107" in said


def kubectl(runs: str, status: int) -> str:
    return f"case $1 in get) echo '{runs}';; rollout) exit {status};; config) echo dev-cluster;; esac"


@pytest.mark.parametrize(("status", "passed"), [(0, True), (1, False)])
def test_a_roll_out_posts_its_result(tmp_path: Path, status: int, passed: bool) -> None:
    programs = {"kubectl": kubectl(f"proxy:1 registry.example/rocketseat/widget-server@{DIGEST}", status)}
    ended, arguments, _ = run(tmp_path, "kubernetes-rollout.sh", "deployment/widget-server", IMAGE, **programs)
    assert ended == 0
    post = posts(arguments)
    assert (post["image"], post["name"], post["passed"]) == (IMAGE, "rollout", passed)
    assert post["because"] == "the rollout of deployment/widget-server in dev-cluster"


def test_a_workload_that_runs_another_digest_posts_nothing(tmp_path: Path) -> None:
    programs = {"kubectl": kubectl(f"widget-server@sha256:{'b' * 64}", 0)}
    ended, arguments, said = run(tmp_path, "kubernetes-rollout.sh", "deployment/widget-server", IMAGE, **programs)
    assert (ended, arguments) == (2, [])
    assert "nothing is posted" in said


class Tickets(BaseHTTPRequestHandler):
    """Tickets by label; a server error for `release-v9.9.9`."""

    def do_GET(self) -> None:
        (label,) = parse_qs(urlsplit(self.path).query)["label"]
        status = {"release-v1.0.0": "approved", "release-v1.1.0": "rejected", "release-v1.2.0": "open"}.get(label)
        self.send_response(500 if label == "release-v9.9.9" else 200)
        self.end_headers()
        found = [{"key": "OPS-42", "url": "https://tickets.example.com/42", "status": status}] if status else []
        self.wfile.write(json.dumps(found).encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def ticket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., dict[str, str]]]:
    server = HTTPServer(("127.0.0.1", 0), Tickets)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("TICKETS_URL", f"http://127.0.0.1:{server.server_port}/search")
    found = importlib.util.spec_from_file_location("ticket", CHECKS / "ticket.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    yield lambda *tags: module.handler({"tags": list(tags)}, None)
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("tags", "result"),
    [
        (["latest", "v1.0.0"], "passed"),
        (["v1.1.0"], "failed"),
        (["v1.2.0"], "waiting"),
        (["v1.3.0"], "waiting"),
        (["latest"], "waiting"),
    ],
)
def test_a_ticket_decides_about_the_version(
    ticket: Callable[..., dict[str, str]], tags: list[str], result: str
) -> None:
    answer = ticket(*tags)
    assert answer["result"] == result
    assert answer["because"]


def test_a_failing_ticket_system_gives_no_answer(ticket: Callable[..., dict[str, str]]) -> None:
    with pytest.raises(HTTPError):
        ticket("v9.9.9")
