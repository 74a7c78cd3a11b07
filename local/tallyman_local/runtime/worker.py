"""A function's worker process: imports the handler once, then answers one invocation after another.

Forked by `preloaded.py`, with only the function's own environment and module path. Each line of JSON on standard input
is an invocation, each line of JSON on standard output its outcome; the handler's output goes to standard error, the
function's log. When standard input ends, because the cloud has ended in any way, the process kills itself.
"""

import importlib
import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from typing import Any, BinaryIO, NoReturn


class Context:
    """The context object that Lambda passes to a handler."""

    def __init__(self, invocation: dict[str, Any]) -> None:
        self.aws_request_id: str = invocation["request_id"]
        self.function_name: str = invocation["function_name"]
        self.invoked_function_arn: str = invocation["function_arn"]
        self.memory_limit_in_mb: str = str(invocation["memory"])
        self.function_version = "$LATEST"
        self.log_group_name = f"/aws/lambda/{self.function_name}"
        self.log_stream_name = f"local/{os.getpid()}"
        self.identity = None
        self.client_context = None
        self._ends = time.monotonic() + invocation["seconds"]

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the function's timeout."""
        return max(0, int((self._ends - time.monotonic()) * 1000))


def serve(handler_name: str, folder: str) -> NoReturn:
    """Import `module.function` with its folder first on the module path, and answer until standard input ends."""
    inbox = os.fdopen(os.dup(0), "rb")
    outbox = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # the output of the handler and its child processes goes to the log
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)

    invocations: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(inbox, invocations), daemon=True).start()

    sys.path.insert(0, folder)
    handler, failure = _import(handler_name)
    _write(outbox, {"ready": failure is None})
    while True:
        invocation = invocations.get()
        _write(outbox, failure or _invoke(handler, invocation))


def _read(inbox: BinaryIO, invocations: "queue.SimpleQueue[dict[str, Any]]") -> None:
    for line in inbox:
        invocations.put(json.loads(line))
    signal.raise_signal(signal.SIGKILL)  # also in the middle of an invocation: nothing waits for its outcome


def _write(outbox: BinaryIO, outcome: dict[str, Any]) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    outbox.write(json.dumps(outcome).encode() + b"\n")
    outbox.flush()


def _import(name: str) -> tuple[Any, dict[str, Any] | None]:
    module, _, function = name.rpartition(".")
    try:
        return getattr(importlib.import_module(module.replace("/", ".")), function), None
    except BaseException as error:
        traceback.print_exc()
        failure = _failure(error)
        if isinstance(error, ImportError):
            failure["error"]["errorType"] = "Runtime.ImportModuleError"
        return None, failure


def _invoke(handler: Any, invocation: dict[str, Any]) -> dict[str, Any]:
    try:
        result = handler(invocation["event"], Context(invocation))
        return {"result": json.loads(json.dumps(result))}
    except BaseException as error:
        traceback.print_exc()
        return _failure(error)


def _failure(error: BaseException) -> dict[str, Any]:
    return {
        "error": {
            "errorMessage": str(error),
            "errorType": type(error).__name__,
            "stackTrace": traceback.format_exception(error),
        }
    }
