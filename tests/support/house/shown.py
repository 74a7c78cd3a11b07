"""The commands that the pages show: in code blocks, and in the running text.

A block without a language, or of the language `console` or `sh`, holds commands: the lines with a prompt where there is
one, else every line. Pictures, listings and output alone are blocks of the language `text`.
"""

import re
from collections.abc import Iterator
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

FENCE = re.compile(r"(?ms)^( *)```(\w*)\n(.*?)^ *```$")
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
    """Every command of a block."""
    for page in PAGES:
        if page.name not in GENERATED:
            for _, language, body in FENCE.findall(text(page)):
                if LANGUAGES.get(language):
                    for line in _commands(body):
                        yield Shown(str(page.relative_to(ROOT)), line)


def in_text() -> Iterator[Shown]:
    """Every command that the running text names, complete or not."""
    for page in PAGES:
        if page.name not in GENERATED:
            for code in re.findall(r"`([^`]+)`", FENCE.sub("", text(page))):
                if code.split()[:1] and code.split()[0] in PROGRAMS and " " in code:
                    yield Shown(str(page.relative_to(ROOT)), " ".join(code.split()))


def _commands(body: str) -> Iterator[str]:
    """A block's commands; one goes on after a backslash, within quotes, and on an indented line."""
    lines = [line.rstrip() for line in body.replace("\\\n", " ").splitlines() if line.strip()]
    prompted = [line.strip().removeprefix("$ ") for line in lines if line.lstrip().startswith("$ ")]
    joined: list[str] = []
    for line in prompted or lines:
        if joined and joined[-1].count('"') % 2:
            joined[-1] += f" {line.strip()}"
        elif not line.startswith("#"):
            joined.append(line.strip())
    return (re.sub(r"\s+# .*", "", " ".join(line.split())) for line in joined)
