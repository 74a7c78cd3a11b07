"""Workers that run only on command: one thread each, stopped before every call of a port.

Only one thread of the simulation runs at a time. Calls of a worker's helper threads (blobs that are copied beside each
other) are not stopped: they happen within the step of their worker.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar, cast

from support.fakes.ports import Crash
from tallyman.errors import Unreachable

T = TypeVar("T")


class Act(StrEnum):
    """The outcome of the call where a worker stands."""

    GO = "go"
    CRASH_BEFORE = "crash before"
    CRASH_AFTER = "crash after"
    FAIL_BEFORE = "fail before"  # no answer, and nothing was done
    FAIL_AFTER = "fail after"  # the answer is lost; the work was done


class Worker:
    """One invocation of one function. `at`: the call before which it stands; `wakes`: until when it sleeps; `last`: it
    sleeps until the others are done; `slept`: it did so; `hurt`: a call was made to fail."""

    def __init__(self, name: str, work: Callable[["Worker"], Any], now: datetime, number: int) -> None:
        self.name, self.number, self.began, self.at, self.wakes = name, number, now, "start", now
        self.error: BaseException | None = None
        self.result: Any = None
        self.done = self.hurt = self.last = self.slept = False
        self.calls = 0
        self._act = Act.GO
        self._go, self._stopped = threading.Lock(), threading.Lock()  # taken: no worker may continue
        self._go.acquire()
        self._stopped.acquire()
        self._thread = threading.Thread(target=self._run, args=(work,), name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._wait()

    def step(self, act: Act) -> None:
        """Let it make the call where it stands, and run up to the next."""
        self._act = act
        self._go.release()
        self._wait()

    def call(self, name: str, function: Callable[[], T]) -> T:
        """Called by the ports: stop, then do the call as the scheduler says."""
        if threading.current_thread() is not self._thread:
            return function()
        self.at = name
        self._stopped.release()
        self._go.acquire()
        self.calls += 1
        act = self._act
        if act is Act.CRASH_BEFORE:
            raise Crash(f"{self.name} dies before {name}")
        if act is Act.FAIL_BEFORE:
            raise Unreachable(f"no answer to {name}")
        result = function()
        if act is Act.CRASH_AFTER:
            raise Crash(f"{self.name} dies after {name}")
        if act is Act.FAIL_AFTER:
            raise Unreachable(f"the answer to {name} was lost")
        return result

    def _wait(self) -> None:
        if not self._stopped.acquire(timeout=60):
            raise AssertionError(f"{self.name} hangs after {self.at}")

    def _run(self, work: Callable[["Worker"], Any]) -> None:
        try:
            self.call("start", lambda: None)
            self.result = work(self)
        except BaseException as error:
            self.error = error
        self.done = True
        self._stopped.release()


class _Stopping:
    def __init__(self, port: Any, worker: Worker, name: str) -> None:
        self._port, self._worker, self._name = port, worker, name

    def __getattr__(self, method: str) -> Any:
        value = getattr(self._port, method)
        if not callable(value):
            return value

        def call(*args: Any, **named: Any) -> Any:
            # Never stopped here: docs/retention.md documents the interval between the second look and the removal.
            if method == "remove":
                return value(*args, **named)

            def work() -> Any:
                result = value(*args, **named)
                return iter(list(result)) if isinstance(result, Iterator) else result

            if method == "open_blob":
                return cast("AbstractContextManager[Any]", value(*args, **named))
            return self._worker.call(f"{self._name}.{method}", work)

        return call


def stopping(port: T, worker: Worker, name: str) -> T:
    """The port; the worker stops before each of its calls."""
    return cast("T", _Stopping(port, worker, name))
