"""The steps for GitHub and GitLab, run unchanged, on a local cloud; the hosts' APIs answer over real HTTP."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
import yaml

from support.images import builders as b
from support.stacks.deployed import ROOT, Deployed, deployed

pytestmark = pytest.mark.heavy

NAME = "rocketseat/widget-server"
POLICY = "environments: {dev: {registries: [111111111111/us-east-2]}}\n"
TWO = "environments: {dev: {registries: [111111111111/us-east-2]}, prod: {registries: [222222222222/us-east-2]}}\n"


BOT = {"login": "github-actions[bot]", "type": "Bot"}


class Host:
    """Comments of one pull request, as GitHub's and GitLab's APIs store them."""

    def __init__(self) -> None:
        self.comments: list[dict[str, Any]] = [{"id": 7, "body": "of another workflow", "user": BOT}]
        self.tokens: set[str] = set()
        self.refuses = False

    def answer(self, method: str, path: str, body: str) -> tuple[int, Any]:
        """Status and document."""
        if self.refuses:
            return 403, {"message": "Resource not accessible by integration"}
        if path.startswith("/api/v4/projects/12/merge_requests/34/notes") and method == "POST":
            self.comments.append({"id": 8, "body": parse_qs(body)["body"][0]})
            return 201, {}
        if path.startswith("/repos/o/r/issues/34/comments"):
            if method == "GET":
                return 200, self.comments if "page=1" in path.split("&") else []
            self.comments.append({"id": 9, "body": json.loads(body)["body"], "user": BOT})
            return 201, self.comments[-1]
        if path == "/repos/o/r/issues/comments/9" and method == "PATCH":
            self.comments[-1]["body"] = json.loads(body)["body"]
            return 200, self.comments[-1]
        return 404, {"message": f"{method} {path}"}


@contextmanager
def listening(host: Host) -> Iterator[str]:
    """Serve; yield the address."""

    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            host.tokens.add(self.headers.get("Authorization") or self.headers.get("PRIVATE-TOKEN") or "")
            status, document = host.answer(self.command, self.path, body)
            raw = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        do_GET = do_POST = do_PATCH = _any

        def log_message(self, format: str, *args: Any) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    with deployed(tmp_path_factory.mktemp("pull-request"), scanner="manual") as running:
        running.push(b.image("waits"), NAME, "v1.0.0")
        yield running


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A clone whose policy differs from that of its last commit, and a `tallyman` on the PATH."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    git = [
        "git",
        "-C",
        str(folder),
        "-c",
        "user.name=t",
        "-c",
        "user.email=t@example.com",
        "-c",
        "commit.gpgsign=false",
    ]
    (folder / "tallyman.yaml").write_text(POLICY)
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "one"]):
        subprocess.run([*git, *words], check=True, capture_output=True)
    (folder / "tallyman.yaml").write_text(TWO)
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "tallyman").write_text(f'#!/bin/sh\nexec {sys.executable} -m tallyman_cli.start "$@"\n')
    (programs / "tallyman").chmod(0o755)
    return folder


def run(script: str, checkout: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a step's script as the host does, with the local cloud's credentials."""
    paths = os.pathsep.join(str(ROOT / folder) for folder in ("layers/core/src", "cli", "local"))
    path = f"{checkout.parent / 'bin'}{os.pathsep}{os.environ['PATH']}"
    given = {**os.environ, "PYTHONPATH": paths, "PATH": path, "POLICY": "tallyman.yaml", "BASE": "HEAD", **variables}
    command = ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", script]
    return subprocess.run(command, cwd=checkout, env=given, capture_output=True, text=True, check=False)


def test_the_action_comments_once_and_changes_its_own_comment(system: Deployed, checkout: Path) -> None:
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    script = action["runs"]["steps"][-1]["run"]
    host = Host()
    summary = checkout.parent / "summary.md"
    with listening(host) as address:
        variables = {
            "GITHUB_ACTION_PATH": str(ROOT),
            "GITHUB_API_URL": address,
            "GITHUB_REPOSITORY": "o/r",
            "GITHUB_STEP_SUMMARY": str(summary),
            "RUNNER_TEMP": str(checkout.parent),
            "IMAGE": f"dev/{NAME}:v1.0.0",
            "TO": "prod",
            "COMMENT": "true",
            "NUMBER": "34",
            "GH_TOKEN": "secret",
        }
        first = run(script, checkout, **variables)
        assert first.returncode == 1, first.stderr  # the image is not promoted: it waits for its scan
        _, ours = host.comments
        assert "```diff" in ours["body"]
        assert f"### Why `dev/{NAME}:v1.0.0` → `prod`" in ours["body"]
        assert "… waiting" in ours["body"]
        assert ours["body"] == summary.read_text()

        again = run(script, checkout, **{**variables, "IMAGE": ""})
        assert again.returncode == 0, again.stderr
        assert [each["id"] for each in host.comments] == [7, 9]
        assert "waiting" not in host.comments[-1]["body"]
        assert host.comments[0]["body"] == "of another workflow"
        assert host.tokens == {"Bearer secret"}

        host.refuses = True
        refused = run(script, checkout, **{**variables, "IMAGE": ""})
        assert refused.returncode == 1
        assert "the comment was not written: HTTP Error 403" in refused.stderr


def test_the_step_for_gitlab_comments(system: Deployed, checkout: Path) -> None:
    lines = yaml.safe_load((ROOT / "ci/gitlab.yml").read_text())["tallyman"]["script"]
    script = "\n".join(line for line in lines if not line.startswith(("pip ", "git clone")))
    script = script.replace("/tmp/tallyman.md", str(checkout.parent / "tallyman.md")).replace(
        "/tmp/tallyman", str(ROOT)
    )
    host = Host()
    with listening(host) as address:
        done = run(
            script,
            checkout,
            IMAGE=f"dev/{NAME}:v1.0.0",
            TO="prod",
            CI_MERGE_REQUEST_DIFF_BASE_SHA="HEAD",
            CI_API_V4_URL=f"{address}/api/v4",
            CI_PROJECT_ID="12",
            CI_MERGE_REQUEST_IID="34",
            TALLYMAN_TOKEN="secret",
        )
    assert done.returncode == 1, done.stderr
    assert host.tokens == {"secret"}
    assert "… waiting" in host.comments[-1]["body"]
    assert host.comments[-1]["body"].strip() == done.stdout.strip()
