"""Git's plumbing, asked so that the answer depends on the repository alone.

Neither a person's settings (columns, colours, signatures), nor the locale, nor the variables that Git sets for its
hooks (GIT_DIR, GIT_INDEX_FILE, GIT_WORK_TREE …) change what a commit is. An archive is made apart from all settings
(context.py); how a checkout is converted (line endings, filters) is the person's affair, and `git status` follows it.
What Git says on stderr reaches the person: in the error, or as a note where the command succeeds all the same.
"""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tallyman.errors import BadInput
from tallyman_cli.shared import output

_KEPT = ("GIT_CONFIG_", "GIT_CEILING_DIRECTORIES", "GIT_DISCOVERY_ACROSS_FILESYSTEM", "GIT_EXEC_PATH")
"""Variables of a person that stay: where settings lie (safe.directory is one of them), and how far Git searches."""

_SETTINGS = {
    "color.ui": "false",
    "column.ui": "never",
    "core.fsmonitor": "false",
    "core.quotePath": "false",
    "log.showSignature": "false",
}
"""Settings that would change an answer: set here for every call, whatever a person prefers."""


@dataclass(frozen=True, slots=True)
class Git:
    """Git in a folder. `apart`: variables of the environment besides those of every call."""

    folder: Path
    apart: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, *words: str, given: bytes | None = None) -> bytes:
        """What the command answers. BadInput with Git's own words where it fails."""
        done = self._run(words, given)
        if done.returncode:
            raise BadInput(f"git {words[0]} fails in {self.folder}: {_words(done) or f'exit {done.returncode}'}")
        if said := _words(done):
            output.trouble(f"git {words[0]}: {said}")
        return done.stdout

    def text(self, *words: str) -> str:
        """The answer without the line break at its end."""
        return self(*words).decode(errors="replace").rstrip("\n")

    def lines(self, *words: str) -> list[str]:
        """The lines of the answer."""
        return [line for line in self.text(*words).splitlines() if line]

    def found(self, *words: str) -> str | None:
        """The answer of a command that exits with 1, and answers nothing, where there is nothing to be found: None
        then."""
        done = self._run(words, None)
        if done.returncode == 1 and not done.stdout:
            if said := _words(done):
                output.trouble(f"git {words[0]}: {said}")
            return None
        return self.text(*words)

    def file(self, commit: str, path: str) -> bytes | None:
        """A file of the commit, below this folder, links followed; None where it has none of that name."""
        answer = self("cat-file", "--batch", "--follow-symlinks", given=f"{commit}:./{path}\n".encode())
        head, _, rest = answer.partition(b"\n")
        kind = head.split(b" ")
        return rest[: int(kind[2])] if len(kind) == 3 and kind[1] == b"blob" and kind[2].isdigit() else None

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
