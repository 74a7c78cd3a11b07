"""`make session`: the terminal sessions of README.md and README.pt-BR.md, made by typing them; a test compares.

A page's session is the lines with a prompt of its `console` blocks. They are typed into one shell of a local cloud;
its output is a terminal without colours; under each stands what it printed. Progress goes to stderr and is not shown.
"""

import fcntl
import os
import pty
import re
import shlex
import struct
import subprocess
import sys
import tempfile
import termios
from pathlib import Path
from threading import Thread

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", "README.pt-BR.md")
BLOCK = re.compile(r"(?ms)^```console\n(.*?)^```$")
ROWS, COLUMNS = 200, 100
"""Of the terminal: no pager, and lines that fit a page."""

MARK = "\x1e"
"""Printed before each command, to tell the outputs apart."""


def commands(page: str) -> list[str]:
    """What is typed, without prompts; the first starts the shell of a local cloud."""
    lines = "".join(BLOCK.findall((ROOT / page).read_text("utf-8"))).splitlines()
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


def outputs(typed: list[str]) -> list[str]:
    """What each command printed, the first, which starts the shell, excepted. Cost: a local cloud."""
    first, *inside = typed
    start = shlex.split(first)
    if start[0] != ".venv/bin/tallyman" or start[-2:] != ["--", "bash"]:
        raise ValueError(f"the session does not begin with a shell in a local cloud: {first}")
    script = "\n".join(["set -e", *(f"printf '{MARK}'; {command}" for command in inside)])
    with tempfile.TemporaryDirectory(prefix="tallyman-session-") as home:
        shell = _Terminal()
        done = subprocess.run(
            [sys.executable, "-m", "tallyman_cli.start", *start[1:]],
            input=script.encode(),
            stdout=shell.end,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            env=_environment(Path(home)),
            check=False,
        )
        printed = shell.close()
        if done.returncode:
            raise RuntimeError(f"exit status {done.returncode}: {done.stderr.decode()}\n{printed}")
        if (Path(home) / ".docker").exists():
            raise RuntimeError("the session left a login in the person's own Docker configuration")
    return ["\n".join(line.rstrip() for line in each.splitlines()).rstrip() for each in printed.split(MARK)[1:]]


def with_outputs(text: str, printed: list[str]) -> str:
    """The page's text with these outputs under its commands."""
    left = iter(["", *printed])

    def block(match: re.Match[str]) -> str:
        lines = [line for line in match[1].splitlines() if line.startswith("$ ")]
        told = [part for line in lines for part in (line, next(left)) if part]
        return "```console\n" + "\n".join(told) + "\n```"

    return BLOCK.sub(block, text)


def same_every_time(text: str) -> str:
    """The text without what differs from one run to the next: ports, times, the order within a second, which scan ended
    last, and the width of columns."""
    text = re.sub(r"localhost:\d+", "localhost:PORT", text)
    text = re.sub(r"linux/\w+: scanned", "linux/ANY: scanned", text)
    text = re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z| ?[+-]\d\d:?\d\d)?", "TIME", text)
    return "\n".join(sorted(re.sub(r" {2,}", "  ", text).splitlines()))


def _environment(home: Path) -> dict[str, str]:
    """The caller's, without its AWS and settings, with `tallyman` on the path."""
    programs = home / "bin"
    programs.mkdir()
    (programs / "tallyman").write_text(f'#!/bin/sh\nexec {sys.executable} -m tallyman_cli.start "$@"\n')
    (programs / "tallyman").chmod(0o755)
    paths = os.pathsep.join(str(ROOT / folder) for folder in ("layers/core/src", "cli", "local"))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TALLYMAN_"))}
    return kept | {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": paths,
        "HOME": str(home),
        "TERM": "dumb",
        "NO_COLOR": "1",
        "TZ": "UTC",
    }


class _Terminal:
    """A terminal's two ends: what is written into `end` is read by a thread."""

    def __init__(self) -> None:
        self._reader, self.end = pty.openpty()
        fcntl.ioctl(self.end, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self._read: list[bytes] = []
        self._thread = Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        while True:
            try:
                data = os.read(self._reader, 65536)
            except OSError:  # Linux's answer when the other end is closed
                return
            if not data:
                return
            self._read.append(data)

    def close(self) -> str:
        """Everything that was written."""
        os.close(self.end)
        self._thread.join(10)
        os.close(self._reader)
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", b"".join(self._read).decode().replace("\r\n", "\n"))


if __name__ == "__main__":
    for name in PAGES:
        page = (ROOT / name).read_text("utf-8")
        made = with_outputs(page, outputs(commands(name)))
        if same_every_time(made) != same_every_time(page):
            (ROOT / name).write_text(made, "utf-8")
