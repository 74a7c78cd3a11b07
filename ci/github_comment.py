"""Writes a file as Tallyman's comment on a pull request, or updates Tallyman's earlier comment.

    python3 ci/github_comment.py NUMBER FILE

GitHub sets GITHUB_API_URL and GITHUB_REPOSITORY. GH_TOKEN needs `pull-requests: write`.
Exit status: 0 written; 1 not written.
"""

import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MARK = "<!-- tallyman -->"
"""The first line of every comment (ci/pull-request.sh), by which it is found again."""

LARGEST = 65_000
"""Characters that a comment may have; GitHub accepts 65,536."""

PAGE = 100


def ask(method: str, path: str, body: object = None) -> Any:
    """The response of GitHub's API. Raises urllib.error.URLError."""
    request = urllib.request.Request(
        f"{os.environ['GITHUB_API_URL']}/{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={
            "Authorization": f"Bearer {os.environ['GH_TOKEN']}",
            "Accept": "application/vnd.github+json",
            "Content-Type": "application/json",
            "X-GitHub-Api-Version": "2022-11-28",
        },
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def comments(issues: str, number: str) -> Iterator[dict[str, Any]]:
    """Every comment of the pull request."""
    page = 1
    while found := ask("GET", f"{issues}/{number}/comments?per_page={PAGE}&page={page}"):
        yield from found
        if len(found) < PAGE:
            return
        page += 1


def is_ours(comment: dict[str, Any]) -> bool:
    """Whether an app wrote this comment, or the token's person. Anybody can begin a comment with the mark, and would
    stay the author who may edit it."""
    if not (comment["body"] or "").startswith(MARK):
        return False
    author = comment["user"] or {}
    if author.get("type") == "Bot":
        return True
    try:
        return bool(ask("GET", "user")["login"] == author.get("login"))
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):  # the token of a job is an app's: it belongs to nobody
            return False
        raise


def main(number: str, file: str) -> int:
    """Change the comment that is there, or make one."""
    text = Path(file).read_text("utf-8")
    if len(text) > LARGEST:
        text = f"{text[:LARGEST]}\n\n(cut: the summary of the job has all of it)\n"
    issues = f"repos/{os.environ['GITHUB_REPOSITORY']}/issues"
    try:
        ours = next((each["id"] for each in comments(issues, number) if is_ours(each)), None)
        if ours is None:
            ask("POST", f"{issues}/{number}/comments", {"body": text})
        else:
            ask("PATCH", f"{issues}/comments/{ours}", {"body": text})
    except urllib.error.URLError as error:
        print(f"the comment was not written: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
