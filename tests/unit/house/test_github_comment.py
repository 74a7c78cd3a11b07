"""The comment on a pull request: written once, then updated, and no comment of another author is touched."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from support.stacks.templates import ROOT

MARK = "<!-- tallyman -->"
APP = {"login": "github-actions[bot]", "type": "Bot"}
ANA = {"login": "ana", "type": "User"}


class GitHub:
    """The part of GitHub's API that comments need. `me`: whom GET /user names; None: 403, as for a job's token."""

    def __init__(self) -> None:
        self.comments: list[dict[str, Any]] = []
        self.me: dict[str, str] | None = None
        self.url = ""

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        path, _, query = path.partition("?")
        match method, path:
            case "GET", "/user":
                return (200, self.me) if self.me else (403, {"message": "Resource not accessible by integration"})
            case "GET", "/repos/team/app/issues/7/comments":
                page = int(query.rpartition("=")[2])
                return 200, self.comments[(page - 1) * 100 : page * 100]
            case "POST", "/repos/team/app/issues/7/comments":
                self.comments.append({"id": len(self.comments), "user": self.me or APP, **body})
                return 201, self.comments[-1]
            case "PATCH", _:
                self.comments[int(path.rpartition("/")[2])].update(body)
                return 200, {}
        return 404, {}


@pytest.fixture
def github() -> Iterator[GitHub]:
    ours = GitHub()

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, body = ours.answer(self.command, self.path, json.loads(sent or b"{}"))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        do_GET = do_POST = do_PATCH = _handle

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    ours.url = f"http://127.0.0.1:{server.server_port}"
    yield ours
    server.shutdown()
    server.server_close()


def write(github: GitHub, folder: Path, text: str) -> None:
    file = folder / "text.md"
    file.write_text(f"{MARK}\n{text}")
    environment = {k: v for k, v in os.environ.items() if "proxy" not in k.lower()}
    environment |= {"GITHUB_API_URL": github.url, "GITHUB_REPOSITORY": "team/app", "GH_TOKEN": "t"}
    subprocess.run([sys.executable, str(ROOT / "ci/github_comment.py"), "7", str(file)], env=environment, check=True)


def texts(github: GitHub) -> list[str]:
    return [each["body"].removeprefix(f"{MARK}\n") for each in github.comments]


@pytest.mark.parametrize("me", [None, ANA])
def test_a_later_run_updates_the_comment_of_the_first(
    github: GitHub, tmp_path: Path, me: dict[str, str] | None
) -> None:
    """With the token of a job, and with a person's."""
    github.me = me
    github.comments = [{"id": number, "user": ANA, "body": None} for number in range(100)]
    write(github, tmp_path, "one")
    github.comments[0]["body"] = "thanks"
    write(github, tmp_path, "two")
    assert [each["body"] for each in github.comments if each["body"]] == ["thanks", f"{MARK}\ntwo"]


@pytest.mark.parametrize("me", [None, {"login": "ben", "type": "User"}])
def test_a_comment_of_another_author_with_the_mark_is_left(
    github: GitHub, tmp_path: Path, me: dict[str, str] | None
) -> None:
    github.me = me
    github.comments = [{"id": 0, "user": ANA, "body": f"{MARK}\nmine"}]
    write(github, tmp_path, "one")
    assert texts(github) == ["mine", "one"]
