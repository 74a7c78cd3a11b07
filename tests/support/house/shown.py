"""The commands that the pages show: in code blocks, and in the text.

A block without a language, or of the language `console` or `sh`, holds commands: the lines with a prompt if there is
one, otherwise every line. Pictures, listings and output alone are blocks of the language `text`.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from support.house.sources import ROOT, text

PAGES = [
    *(ROOT / name for name in ("README.md", "README.pt-BR.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
]
GENERATED = {"commands-reference.md", "policy-reference.md"}
"""Made from the code; their blocks are the parser's own words."""

LANGUAGES = {"": True, "console": True, "sh": True}
"""Of blocks with commands."""

NOT_HERE = {
    "tallyman demo": "a cloud of its own: tests/unit/cli, `make demo`",
    "tallyman ui": "serves until Ctrl-C: tests/stack/test_ui.py",
    "tallyman watch": "follows until Ctrl-C: tests/unit/cli/test_desk_commands.py",
    "tallyman local start": "serves until Ctrl-C: tests/stack/test_cloud_exec.py",
    "tallyman local exec": "a cloud of its own: test_readme.py, test_cloud_exec.py",
    "tallyman build": "needs a Docker engine: tests/stack/test_build_docker.py",
    "tallyman policy trust-roots": "needs a TUF repository: tests/unit/cli/test_trust_roots.py",
    "tallyman copy docker.io": "needs the internet: tests/contract and tests/unit/copying copy from registries here",
    "tallyman copy --all-tags registry.example.com": "an example's name: test_copy_docs.py",
}
"""The beginnings of commands that can't run in the local cloud of the pages, each with what holds it."""

OTHER = {
    ("pending prod", "1 rollout is not done"): "a policy with `rollout`: tests/stack/test_rollout.py",
    ("release show", "prod/rocketseat/widget-server runs v1.2.3"): "a policy with `rollout`: the same",
    ("repository create", "rocketseat/widget-server in 111111111111/us-east-2: created"): "it is there in this cloud",
    ("repository create", "rocketseat/widget-server in 111111111111/us-east-2: exists, but"): "it is equal here",
    ("tag suggest", "v1.4.0"): "of the clone's branch and tags: tests/unit/cli/test_tagging.py",
}
"""Outputs of another state than that cloud's: the beginnings of the command and of the output, and why."""

FENCE = re.compile(r"(?ms)^( *)```(\w*)\n(.*?)^ *```$")
TYPED = re.compile(r"(?m)^(\$ (?:.*\\\n)*.*\n)((?:(?!\$ ).*\n)*)")
"""A command with a prompt, on lines that all but the last end with a backslash, and what stands under it."""

PROGRAMS = ("tallyman", ".venv/bin/tallyman", "make", "aws", "sam", "docker", "git", "pip", ".venv/bin/python")
"""What an inline code begins with when it is a command."""


@dataclass(frozen=True)
class Shown:
    """A command as a page shows it: on one line, without prompt and comment."""

    page: str
    line: str

    def __str__(self) -> str:
        return f"{self.page}: {self.line}"


def in_blocks() -> Iterator[Shown]:
    """Every command in a block."""
    for page in PAGES:
        if page.name not in GENERATED:
            for _, language, body in FENCE.findall(text(page)):
                if LANGUAGES.get(language):
                    for line in _commands(body):
                        yield Shown(str(page.relative_to(ROOT)), line)


def with_outputs(page: str, made: Callable[[str, str], str]) -> str:
    """A page's text with other outputs: the result of `made` for each command of `tallyman` and its old output."""

    def session(found: re.Match[str]) -> str:
        typed, printed = found[1], found[2]
        (line,) = _commands(typed)
        return typed + made(line, printed) if line.startswith("tallyman ") and printed.strip() else found[0]

    def block(found: re.Match[str]) -> str:
        if not LANGUAGES.get(found[2]):
            return found[0]
        return found[0].replace(found[3], TYPED.sub(session, found[3]))

    return FENCE.sub(block, page)


def outputs(page: str) -> list[tuple[str, str]]:
    """The commands of `tallyman` in a page's text that have an output, with it."""
    found: list[tuple[str, str]] = []

    def made(line: str, printed: str) -> str:
        found.append((line, printed))
        return printed

    with_outputs(page, made)
    return found


def of_another_state(line: str, printed: str) -> bool:
    """Whether OTHER names the output."""
    rest = line.removeprefix("tallyman ")
    return any(rest.startswith(words) and printed.startswith(begin) for words, begin in OTHER)


def in_text() -> Iterator[Shown]:
    """Every command that the text mentions, complete or not."""
    for page in PAGES:
        if page.name not in GENERATED:
            for code in re.findall(r"`([^`]+)`", FENCE.sub("", text(page))):
                if code.split()[:1] and code.split()[0] in PROGRAMS and " " in code:
                    yield Shown(str(page.relative_to(ROOT)), " ".join(code.split()))


def _commands(body: str) -> Iterator[str]:
    """A block's commands; one continues after a backslash, inside quotes, and on an indented line."""
    lines = [line.rstrip() for line in body.replace("\\\n", " ").splitlines() if line.strip()]
    prompted = [line.strip().removeprefix("$ ") for line in lines if line.lstrip().startswith("$ ")]
    joined: list[str] = []
    for line in prompted or lines:
        if joined and joined[-1].count('"') % 2:
            joined[-1] += f" {line.strip()}"
        elif not line.startswith("#"):
            joined.append(line.strip())
    return (re.sub(r"\s+# .*", "", " ".join(line.split())) for line in joined)
