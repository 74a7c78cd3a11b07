"""Runs Git's plumbing commands so that the answer depends on the repository alone.

Neither a person's settings (columns, colours, signatures), nor the locale, nor the variables that Git sets for its
hooks (GIT_DIR, GIT_INDEX_FILE, GIT_WORK_TREE …) change what a commit is. An archive is made apart from all settings
(context.py); `git status` follows the person's settings of line endings and filters, as the checkout does. Git's stderr
is shown: in the error, or as a note if the command succeeds.
"""

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tallyman.errors import BadInput
from tallyman_cli.shared import output

_KEPT = ("GIT_CONFIG_", "GIT_CEILING_DIRECTORIES", "GIT_DISCOVERY_ACROSS_FILESYSTEM", "GIT_EXEC_PATH")
"""Variables that Git keeps: where settings are (safe.directory among them), and how far it searches."""

_SETTINGS = {
    "color.ui": "false",
    "column.ui": "never",
    "core.fsmonitor": "false",
    "core.quotePath": "false",
    "log.showSignature": "false",
}
"""Settings that would change an answer, fixed for every call."""


@dataclass(frozen=True, slots=True)
class Git:
    """Git in a folder. `apart`: variables of the environment besides those of every call."""

    folder: Path
    apart: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, *words: str, given: bytes | None = None) -> bytes:
        """The output of a command. Raises BadInput, with Git's own words, if it fails."""
        return self._answer(words, self._run(words, given))

    def text(self, *words: str) -> str:
        """The answer without the line break at its end."""
        return _text(self(*words))

    def lines(self, *words: str) -> list[str]:
        """The lines of the answer."""
        return [line for line in self.text(*words).splitlines() if line]

    def found(self, *words: str) -> str | None:
        """The output of a command that exits with 1, without output, if it finds nothing; None then."""
        done = self._run(words, None)
        if done.returncode == 1 and not done.stdout:
            _note(words, done)
            return None
        return _text(self._answer(words, done))

    def file(self, commit: str, path: str) -> bytes | None:
        """A file of the commit, below this folder, links followed; None where it has none of that name."""
        answer = self("cat-file", "--batch", "--follow-symlinks", given=f"{commit}:./{path}\n".encode())
        head, _, rest = answer.partition(b"\n")
        kind = head.split(b" ")
        return rest[: int(kind[2])] if len(kind) == 3 and kind[1] == b"blob" and kind[2].isdigit() else None

    def _answer(self, words: Sequence[str], done: subprocess.CompletedProcess[bytes]) -> bytes:
        if done.returncode:
            raise BadInput(f"git {words[0]} fails in {self.folder}: {_words(done) or f'exit {done.returncode}'}")
        _note(words, done)
        return done.stdout

    def _run(self, words: tuple[str, ...], given: bytes | None) -> subprocess.CompletedProcess[bytes]:
        settings = [word for name, value in _SETTINGS.items() for word in ("-c", f"{name}={value}")]
        command = ["git", "--no-pager", *settings, "-C", str(self.folder), *words]
        env = {**environment(), **self.apart}
        try:
            return subprocess.run(command, capture_output=True, input=given or b"", check=False, env=env)
        except FileNotFoundError:
            raise BadInput("git is not installed: an image is built from a commit") from None


def environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of every call of Git."""
    env = os.environ if environ is None else environ
    kept = {name: value for name, value in env.items() if not name.startswith("GIT_") or name.startswith(_KEPT)}
    return {
        **kept,
        "LC_ALL": "C.UTF-8",
        "LANGUAGE": "C",
        "GIT_NO_REPLACE_OBJECTS": "1",  # a replaced object gives another content for the same commit
        "GIT_OPTIONAL_LOCKS": "0",  # a checkout may be read-only
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_TRACE2": "0",  # a setting can turn these on, and they go to stderr
        "GIT_TRACE2_EVENT": "0",
        "GIT_TRACE2_PERF": "0",
    }


def _words(done: subprocess.CompletedProcess[bytes]) -> str:
    return done.stderr.decode(errors="replace").strip()


def _note(words: Sequence[str], done: subprocess.CompletedProcess[bytes]) -> None:
    if said := _words(done):
        output.trouble(f"git {words[0]}: {said}")


def _text(answer: bytes) -> str:
    return answer.decode(errors="replace").rstrip("\n")
