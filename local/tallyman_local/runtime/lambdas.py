"""Run each function in worker processes of its own, which are killed at the function's timeout."""

import json
import logging
import os
import select
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tallyman_local.moto import calls as moto_calls
from tallyman_local.runtime.forks import FORKS
from tallyman_local.stack.deploy import Function

log = logging.getLogger("tallyman.local")

START_SECONDS = 60  # for a worker to import its handler on a busy machine
_LAST_LINES = 20


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an invocation ended: its `result`, or Lambda's `error` object, or neither when the worker died."""

    result: Any = None
    error: dict[str, Any] | None = None

    @property
    def ok(self) -> bool:
        """Whether the handler returned."""
        return self.error is None


def environment_of(function: Function, url: str, region: str) -> dict[str, str]:
    """The environment that the function has on AWS: its declared variables and Lambda's. `url`: the AWS endpoint."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        **function.environment,
        "AWS_ENDPOINT_URL": url,
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory),
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "_HANDLER": function.handler,
        # No handler may read the AWS configuration of this machine.
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        **moto_calls.assume_role(function.role, function.name, region),
    }


class _Died(Exception):
    """The worker has ended."""


class _Worker:
    """One worker process. Only `kill` may be called by several threads."""

    def __init__(self, function: Function, environment: dict[str, str], logs: Path) -> None:
        own, *layers = function.folders
        with ExitStack() as theirs:
            log_file = theirs.enter_context(logs.open("ab"))  # before the pipes, which it would leave open if it failed
            stdin, self._in = os.pipe()
            theirs.callback(os.close, stdin)
            self._out, stdout = os.pipe()
            theirs.callback(os.close, stdout)
            streams = (stdin, stdout, log_file.fileno())
            try:
                self._process = FORKS.fork(function.handler, own, layers, environment, streams)
            except BaseException:
                self._close_pipes()
                raise
        self._rest = b""
        self._ready = False
        self.broken = False  # the handler could not be imported

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_ready(self) -> None:
        """Wait until the handler is imported, or its import has failed, which the first invocation reports."""
        if not self._ready:
            self.broken = not json.loads(self._line(START_SECONDS))["ready"]
            self._ready = True

    def invoke(self, invocation: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Raise _Died where the process ended, and TimeoutError where it was killed after `seconds`."""
        self.wait_ready()
        try:
            with open(self._in, "wb", closefd=False) as sink:  # which writes the whole line, however long
                sink.write(json.dumps(invocation).encode() + b"\n")
        except OSError as error:
            raise _Died("exited before the invocation") from error
        answer: dict[str, Any] = json.loads(self._line(seconds))
        return answer

    def _line(self, seconds: float) -> bytes:
        ends = time.monotonic() + seconds
        poll = select.poll()
        poll.register(self._out, select.POLLIN)
        while b"\n" not in self._rest:
            left = ends - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                self.kill()
                raise TimeoutError
            block = os.read(self._out, 1 << 16)
            if not block:
                status = self._process.reap()
                raise _Died(f"signal {-status}" if status < 0 else f"exit status {status}")
            self._rest += block
        line, self._rest = self._rest.split(b"\n", 1)
        return line

    def kill(self) -> None:
        self._process.kill()

    def close(self) -> None:
        """Kill and reap the process. Only once: the numbers of its pipes may belong to other files afterwards."""
        self._process.reap()
        self._close_pipes()

    def _close_pipes(self) -> None:
        os.close(self._in)
        os.close(self._out)


class FunctionRunner:
    """The workers of one function, at most `limit` at a time.

    `environment()`: the whole environment of a new worker. `logs`: the file for the output of handlers.
    """

    def __init__(
        self, function: Function, *, limit: int, environment: Callable[[], dict[str, str]], logs: Path
    ) -> None:
        self.function, self.limit, self.logs = function, limit, logs
        self._environment = environment
        self._idle: deque[_Worker] = deque()
        self._busy: set[_Worker] = set()
        self._starting = 0
        self._free = threading.Condition()
        self._stopped = threading.Event()

    def start_one(self) -> None:
        """Start a worker before its first invocation, and wait until it is ready."""
        worker = self._spawn_if_allowed()
        if worker is None:
            return
        try:
            worker.wait_ready()
        except (_Died, TimeoutError) as error:
            if not self._stopped.is_set():  # stop() kills workers that are starting
                log.warning("%s: a worker did not start: %s", self.function.name, error)
            self._discard(worker)
            return
        self._release(worker)

    def invoke(self, event: Any) -> Outcome:
        """Run the handler on `event` (JSON) in a worker, after waiting for a free one. The handler's errors are in the
        outcome."""
        worker = self._acquire()
        if worker is None:
            return Outcome(error={"errorType": "Local.Stopped", "errorMessage": "the local cloud is stopping"})
        request_id = str(uuid.uuid4())
        invocation = {
            "event": event,
            "request_id": request_id,
            "function_name": self.function.name,
            "function_arn": self.function.arn,
            "memory": self.function.memory,
            "seconds": self.function.timeout,
        }
        try:
            answer = worker.invoke(invocation, self.function.timeout)
        except TimeoutError:
            self._discard(worker)
            text = f"RequestId: {request_id} Error: Task timed out after {self.function.timeout}.00 seconds"
            return self._failed({"errorType": "Sandbox.Timedout", "errorMessage": text})
        except (_Died, ValueError) as error:
            self._discard(worker)
            text = f"RequestId: {request_id} Error: Runtime exited with error: {error}"
            return self._failed({"errorType": "Runtime.ExitError", "errorMessage": text})
        if worker.broken:
            self._discard(worker)  # the next invocation tries the import again, as Lambda does
        else:
            self._release(worker)
        return self._failed(answer["error"]) if "error" in answer else Outcome(result=answer["result"])

    def kill(self) -> int:
        """Kill every worker, also busy ones. Return how many."""
        with self._free:
            workers = [*self._busy, *self._idle]
            for worker in workers:
                worker.kill()
            for worker in self._idle:
                worker.close()
            self._idle.clear()
            self._free.notify_all()
        return len(workers)

    def stop(self) -> None:
        """Kill all workers; invocations under way end as failed."""
        self._stopped.set()
        self.kill()

    def pids(self) -> list[int]:
        """The process ids of the workers."""
        with self._free:
            return [worker.pid for worker in [*self._busy, *self._idle]]

    def last_lines(self, count: int = _LAST_LINES) -> list[str]:
        """The end of the function's log."""
        if not self.logs.exists():
            return []
        with self.logs.open("rb") as source:
            source.seek(max(0, self.logs.stat().st_size - 64 * 1024))
            return source.read().decode("utf-8", "replace").splitlines()[-count:]

    def _failed(self, error: dict[str, Any]) -> Outcome:
        log.info("%s: %s: %s", self.function.name, error.get("errorType"), error.get("errorMessage"))
        if not self._stopped.is_set():
            for line in self.last_lines():
                log.info("  %s", line)
        return Outcome(error=error)

    def _acquire(self) -> _Worker | None:
        while True:
            with self._free:
                if self._stopped.is_set():
                    return None
                if self._idle:
                    worker = self._idle.popleft()
                    self._busy.add(worker)
                    return worker
                if len(self._busy) + self._starting >= self.limit:
                    self._free.wait()
                    continue
            started = self._spawn_if_allowed()
            if started is not None:
                return started

    def _spawn_if_allowed(self) -> _Worker | None:
        with self._free:
            if self._stopped.is_set() or len(self._busy) + len(self._idle) + self._starting >= self.limit:
                return None
            self._starting += 1
        try:
            worker = _Worker(self.function, self._environment(), self.logs)
        except BaseException:
            with self._free:
                self._starting -= 1
                self._free.notify()  # an invocation that waits may start one
            raise
        with self._free:
            self._starting -= 1
            if not self._stopped.is_set():
                self._busy.add(worker)
                return worker
        worker.close()
        return None

    def _release(self, worker: _Worker) -> None:
        with self._free:
            self._busy.discard(worker)
            if not self._stopped.is_set():
                self._idle.append(worker)
                self._free.notify()
                return
        worker.close()

    def _discard(self, worker: _Worker) -> None:
        worker.close()
        with self._free:
            self._busy.discard(worker)
            self._free.notify()
