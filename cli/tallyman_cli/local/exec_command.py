"""Runs the command of `local exec`: its environment, its signals, its exit status."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tallyman_cli.shared import output

ELSEWHERE = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE")
"""Variables of our own environment that would lead a client away from the local cloud."""


class Interrupted(Exception):
    """A signal that ends this process; `number`: which."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


class Command:
    """One command. It gets our signals, and ends when this process ends, whatever ends it."""

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)

    def run(self, environment: dict[str, str], stdout: int) -> int:
        """Run it. Return the exit status as a shell does: 128+n for signal n, 126 or 127 if it can't be run."""
        try:
            self._process = subprocess.Popen(
                self._command, env=environment, stdout=stdout, preexec_fn=_die_with_parent()
            )
        except FileNotFoundError:
            output.trouble(f"tallyman: {self._command[0]}: command not found")
            return 127
        except OSError as error:
            output.trouble(f"tallyman: {self._command[0]}: {error.strerror}")
            return 126
        finally:
            os.close(stdout)
        status = self._process.wait()
        return 128 - status if status < 0 else status

    def _on_signal(self, number: int, _: Any) -> None:
        if self._process is None:
            raise Interrupted(number)
        # Ctrl-C at a terminal reaches the whole foreground group, and so the command.
        if number == signal.SIGINT and _in_foreground():
            return
        self._process.send_signal(number)


def _in_foreground() -> bool:
    try:
        with open("/dev/tty") as terminal:  # noqa: PTH123 (no file of the project)
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:
        return False


def _die_with_parent() -> Any:
    """A function for the child process that makes Linux kill it when this process ends; None on other systems."""
    if not sys.platform.startswith("linux"):
        return None
    import ctypes

    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def ask() -> None:
        prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os._exit(1)

    return ask


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Our own environment with these variables of the local cloud, and without those that lead elsewhere. `tallyman` is
    on its PATH, even if it was called by its path."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ELSEWHERE
        and not name.startswith(("AWS_ENDPOINT_URL", "AWS_IGNORE_CONFIGURED_ENDPOINT", "TALLYMAN_REGISTRY_"))
    }
    if any(name.lower() in ("http_proxy", "all_proxy") for name in kept):
        for name in ("NO_PROXY", "no_proxy"):
            kept[name] = ",".join(filter(None, [kept.get(name), "127.0.0.1", "localhost"]))
    own = str(Path(sys.executable).parent)
    path = kept.get("PATH", os.defpath).split(os.pathsep)
    if own not in path:  # last: other programs in that folder must not hide the person's
        kept["PATH"] = os.pathsep.join([*path, own])
    return {**kept, **variables}
