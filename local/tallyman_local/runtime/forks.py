"""Start workers as forks of a preloaded process: one for each set of layers, shared by all clouds of this process."""

import atexit
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_PRELOADED = Path(__file__).with_name("preloaded.py")
# Only what Python itself reads, and no AWS configuration of this machine: a worker gets its environment with its fork.
_ENVIRONMENT = {
    "PATH": os.environ.get("PATH", os.defpath),
    "LANG": "C.UTF-8",
    "TZ": "UTC",
    "AWS_CONFIG_FILE": os.devnull,
}


class _Gone(RuntimeError):
    """The preloaded process ended, or its sources were edited."""


class _Preloaded:
    """The process itself, which imports in the background. One request at a time: the caller holds a lock."""

    def __init__(self, layers: Sequence[Path]) -> None:
        self._workers, self._retired = 0, False
        self._channel, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", str(_PRELOADED), *map(str, layers)],
                env=_ENVIRONMENT,
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )

    def fork(self, request: Mapping[str, Any], streams: Sequence[int]) -> int:
        """The process id of a new worker. Raises _Gone."""
        pid: int = self._ask(request, streams)["pid"]
        self._workers += 1
        return pid

    def reap(self, pid: int) -> int:
        """The exit status of a worker that was killed or has ended."""
        try:
            status: int = self._ask({"reap": pid})["status"]
        except _Gone:
            status = -signal.SIGKILL  # the process that adopted the worker has its status
        self._workers -= 1
        self._close_unused()
        return status

    def retire(self) -> None:
        """End the process when its last worker is reaped; it forks no more."""
        self._retired = True
        self._close_unused()

    def _close_unused(self) -> None:
        if self._retired and not self._workers:
            self.close()

    def _ask(self, request: Mapping[str, Any], descriptors: Sequence[int] = ()) -> dict[str, Any]:
        """Raise _Gone."""
        raw = json.dumps(request).encode() + b"\n"
        try:
            sent = socket.send_fds(self._channel, [raw], descriptors)
            self._channel.sendall(raw[sent:])
            answer = b""
            while not answer.endswith(b"\n"):
                block = self._channel.recv(1 << 12)
                if not block:
                    raise _Gone("the process that workers are forked from ended")
                answer += block
        except BaseException as error:
            self._hang_up()  # after Ctrl-C too: the next request would take this one's answer for its own
            if isinstance(error, OSError):
                raise _Gone("the process that workers are forked from ended") from error
            raise
        said: dict[str, Any] = json.loads(answer)
        if said.get("stale"):
            raise _Gone("a layer was edited")
        return said

    def close(self) -> None:
        self._hang_up()
        self._process.wait()
        self._channel.close()

    def _hang_up(self) -> None:
        """The process reads the end of its requests, and can still answer the last one."""
        with contextlib.suppress(OSError):  # macOS, where it has ended
            self._channel.shutdown(socket.SHUT_WR)


class Fork:
    """One forked process. No other process gets its id before `reap`."""

    def __init__(self, parent: _Preloaded, pid: int, lock: threading.Lock) -> None:
        self.pid, self._parent, self._lock = pid, parent, lock
        self._status: int | None = None

    def kill(self) -> None:
        """Kill it, unless it was reaped."""
        with self._lock:
            self._kill()

    def reap(self) -> int:
        """Kill it and collect its exit status: negative for a signal; a process that had ended keeps its own."""
        with self._lock:
            if self._status is None:
                self._kill()
                self._status = self._parent.reap(self.pid)
            return self._status

    def _kill(self) -> None:
        if self._status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


class Forks:
    """The preloaded processes by their layers. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._current: dict[tuple[Path, ...], _Preloaded] = {}
        self._started: list[_Preloaded] = []  # retired ones too

    def fork(
        self,
        handler: str,
        own: Path,
        layers: Sequence[Path],
        environment: Mapping[str, str],
        streams: tuple[int, int, int],
    ) -> Fork:
        """Start a worker of `handler` in the folder `own`, with copies of these standard streams."""
        request = {"handler": handler, "folder": str(own), "environment": dict(environment)}
        key = tuple(layers)
        with self._lock:
            process = self._preloaded(key)
            try:
                pid = process.fork(request, streams)
            except _Gone:
                self._current.pop(key).retire()
                process = self._preloaded(key)
                pid = process.fork(request, streams)
            return Fork(process, pid, self._lock)

    def close(self) -> None:
        """End the processes. Their workers run until their own standard input ends."""
        with self._lock:
            self._current.clear()
            while self._started:
                self._started.pop().close()

    def _preloaded(self, layers: tuple[Path, ...]) -> _Preloaded:
        if layers not in self._current:
            self._current[layers] = _Preloaded(layers)
            self._started.append(self._current[layers])
        return self._current[layers]


FORKS = Forks()
"""The preloaded processes of this process. They outlive a cloud, so that the next one need not import anything."""
atexit.register(FORKS.close)
