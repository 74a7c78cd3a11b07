"""Workers are forks of a preloaded process: with their own environment and code, and a reported end."""

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.stacks.sample_stack import wait_for
from tallyman_local.runtime.forks import Fork, Forks
from tallyman_local.runtime.lambdas import FunctionRunner
from tallyman_local.runtime.preloaded import SERVICES
from tallyman_local.stack.deploy import Function

HANDLER = """
import os, sys, tallyman.words
SAID = tallyman.words.SAID
def handler(event, context):
    if "exit" in event:
        os._exit(event["exit"])
    return {"said": SAID, "environment": dict(os.environ), "cwd": os.getcwd(), "parent": os.getppid(),
            "session": os.getsid(0) == os.getpid(), "open": sorted(map(int, os.listdir("/proc/self/fd"))),
            "preloaded": "botocore.session" in sys.modules}
"""
INVOCATION = {"event": {}, "request_id": "1", "function_name": "f", "function_arn": "a", "memory": 128, "seconds": 9}


@dataclass
class Running:
    """A worker and its pipes."""

    fork: Fork
    stdin: int
    stdout: int

    def line(self) -> dict[str, Any]:
        """Its next answer."""
        raw = b""
        while not raw.endswith(b"\n"):
            block = os.read(self.stdout, 1 << 16)
            assert block, "the worker ended"
            raw += block
        answer: dict[str, Any] = json.loads(raw)
        return answer

    def invoke(self, **event: Any) -> dict[str, Any]:
        """The handler's result."""
        os.write(self.stdin, json.dumps({**INVOCATION, "event": event}).encode() + b"\n")
        result: dict[str, Any] = self.line()["result"]
        return result


@pytest.fixture
def layer(tmp_path: Path) -> Path:
    """A layer with a package that is preloaded by its name."""
    package = tmp_path / "layer" / "tallyman"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "words.py").write_text("SAID = 'first'\n")
    return tmp_path / "layer"


@pytest.fixture
def start(tmp_path: Path, layer: Path) -> Iterator[Callable[..., Any]]:
    own = tmp_path / "function"
    own.mkdir()
    (own / "app.py").write_text(HANDLER)

    @contextmanager
    def started(**environment: str) -> Iterator[Running]:
        stdin, write = os.pipe()
        read, stdout = os.pipe()
        with ExitStack() as ends:
            ends.callback(os.close, write)
            ends.callback(os.close, read)
            try:
                with (tmp_path / "log").open("ab") as log:
                    fork = forks.fork("app.handler", own, [layer], environment, (stdin, stdout, log.fileno()))
            finally:
                os.close(stdin)
                os.close(stdout)
            ends.callback(fork.reap)
            running = Running(fork, write, read)
            assert running.line() == {"ready": True}
            yield running

    forks = Forks()
    yield started
    forks.close()


def test_a_worker_has_its_own_environment_folder_and_session_and_no_other_file(
    start: Callable[..., Any], tmp_path: Path
) -> None:
    with start(ONLY="this") as first, start(ONLY="that") as second:
        said = [running.invoke() for running in (first, second)]
        assert [each["environment"] for each in said] == [{"ONLY": "this"}, {"ONLY": "that"}]
        assert [each["cwd"] for each in said] == [str(tmp_path / "function")] * 2
        assert all(each["session"] and each["preloaded"] for each in said)
        # standard streams, the two pipes' copies, and the folder that is being listed
        assert [len(each["open"]) for each in said] == [6, 6]


def test_a_worker_that_exited_keeps_its_exit_status(start: Callable[..., Any]) -> None:
    with start() as running:
        os.write(running.stdin, json.dumps({**INVOCATION, "event": {"exit": 7}}).encode() + b"\n")
        assert os.read(running.stdout, 1) == b""
        assert running.fork.reap() == 7
        running.fork.kill()  # a no-op: another process may have the pid by now


def test_a_killed_worker_reports_the_signal(start: Callable[..., Any]) -> None:
    with start() as running:
        running.fork.kill()
        assert running.fork.reap() == -9


def test_an_edit_of_a_layer_reaches_the_next_worker(start: Callable[..., Any], layer: Path) -> None:
    with start() as before:
        (layer / "tallyman" / "words.py").write_text("SAID = 'edited'\n")
        with start() as after:
            assert (before.invoke()["said"], after.invoke()["said"]) == ("first", "edited")


def test_a_preloaded_process_whose_layer_was_edited_ends_with_its_last_worker(
    start: Callable[..., Any], layer: Path
) -> None:
    with start() as before, start() as other:
        parent = before.invoke()["parent"]
        (layer / "tallyman" / "words.py").write_text("SAID = 'edited'\n")
        with start() as after:
            before.fork.reap()
            os.kill(parent, 0)
            assert other.invoke()["said"] == "first"
            other.fork.reap()
            with pytest.raises(ProcessLookupError):
                os.kill(parent, 0)
            assert after.invoke()["said"] == "edited"


def test_a_preloaded_process_that_was_killed_is_started_again(start: Callable[..., Any]) -> None:
    with start() as running:
        os.kill(running.invoke()["parent"], 9)
        with start() as after:
            assert after.invoke()["said"] == "first"
        assert running.fork.reap() == -9


def test_ctrl_c_amid_a_request_leaves_no_answer_for_the_next(
    start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with start() as running:
        send = socket.send_fds

        def interrupted(*arguments: Any) -> int:
            send(*arguments)
            raise KeyboardInterrupt

        monkeypatch.setattr(socket, "send_fds", interrupted)
        with pytest.raises(KeyboardInterrupt), start():
            pass
        monkeypatch.undo()
        with start() as after:
            assert after.invoke()["said"] == "first"
        assert running.fork.reap() == -9


def test_a_preloaded_process_that_ends_before_it_answers_leaves_no_worker_on_the_streams(
    start: Callable[..., Any], layer: Path, tmp_path: Path
) -> None:
    once = tmp_path / "once"
    once.touch()
    (layer / "tallyman" / "ends.py").write_text(f"""
import os, pathlib
def end():
    once = pathlib.Path({str(once)!r})
    if once.exists():
        once.unlink()
        os.kill(os.getpid(), 9)
os.register_at_fork(after_in_parent=end)
""")
    with start() as running:
        assert not once.exists()
        running.fork.reap()
        os.set_blocking(running.stdout, False)
        assert os.read(running.stdout, 1) == b""  # no other process holds it


def test_a_module_of_a_layer_that_exits_ends_no_worker_that_does_not_import_it(
    start: Callable[..., Any], layer: Path
) -> None:
    (layer / "tallyman" / "exits.py").write_text("raise SystemExit(3)\n")
    with start() as running:
        assert running.invoke()["said"] == "first"


def test_a_module_of_botocore_sessions_that_exits_ends_no_worker(start: Callable[..., Any], layer: Path) -> None:
    sessions = layer / "tallyman" / "adapters" / "aws" / "sessions.py"
    sessions.parent.mkdir(parents=True)
    sessions.write_text("raise SystemExit(3)\n")
    with start() as running:
        assert running.invoke()["said"] == "first"


@pytest.mark.parametrize("layers", [(), ("layer",)])
def test_a_function_without_our_layer_imports_its_own_package(tmp_path: Path, layers: tuple[str, ...]) -> None:
    own = tmp_path / "function"
    (own / "tallyman").mkdir(parents=True)
    (own / "tallyman" / "__init__.py").write_text("SAID = 'mine'\n")
    (own / "app.py").write_text("import tallyman\ndef handler(event, context): return tallyman.SAID\n")
    folders = (own, *(tmp_path / layer for layer in layers))
    function = Function("f", "f", "arn", "app.handler", {}, 9, 128, "role", folders)
    runner = FunctionRunner(function, limit=1, environment=dict, logs=tmp_path / "log")
    try:
        assert runner.invoke({}).result == "mine"
    finally:
        runner.stop()


def test_a_worker_of_our_layer_has_read_the_data_of_services_before_its_first_client(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        "from tallyman.adapters.aws.sessions import new_session\n"
        "def handler(event, context):\n"
        "    read = new_session().get_component('data_loader')._cache\n"
        "    return [key[1] for key in read if key[:1] == ('load_service_model',) and 'service-2' in key]\n"
    )
    core = Path(__file__).parents[3] / "layers" / "core" / "src"
    function = Function("f", "f", "arn", "app.handler", {}, 9, 128, "role", (tmp_path, core))
    runner = FunctionRunner(function, limit=1, environment=dict, logs=tmp_path / "log")
    try:
        assert set(SERVICES) <= set(runner.invoke({}).result)
    finally:
        runner.stop()


def test_a_log_that_cannot_be_written_leaves_no_pipe_open(tmp_path: Path) -> None:
    function = Function("f", "f", "arn", "app.handler", {}, 9, 128, "role", (tmp_path,))
    runner = FunctionRunner(function, limit=1, environment=dict, logs=tmp_path / "missing" / "log")
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(FileNotFoundError):
        runner.start_one()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_worker_that_does_not_start_lets_the_next_invocation_start_one(tmp_path: Path) -> None:
    starting, go_on = threading.Event(), threading.Event()

    def environment() -> dict[str, str]:
        starting.set()
        assert go_on.wait(30)
        raise OSError("no process")

    function = Function("f", "f", "arn", "app.handler", {}, 9, 128, "role", (tmp_path,))
    runner = FunctionRunner(function, limit=1, environment=environment, logs=tmp_path / "log")
    with ThreadPoolExecutor(2) as pool:
        try:
            first = pool.submit(runner.invoke, {})
            assert starting.wait(30)
            second = pool.submit(runner.invoke, {})
            time.sleep(0.2)  # it waits for the first one's worker
            go_on.set()
            for invocation in (first, second):
                with pytest.raises(OSError, match="no process"):
                    invocation.result(timeout=30)
        finally:
            runner.stop()


def test_a_cloud_that_stops_reports_no_worker_that_was_starting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "app.py").write_text("import pathlib, time\npathlib.Path('starting').touch()\ntime.sleep(60)\n")
    function = Function("f", "f", "arn", "app.handler", {}, 9, 128, "role", (tmp_path,))
    runner = FunctionRunner(function, limit=1, environment=dict, logs=tmp_path / "log")
    with ThreadPoolExecutor(1) as pool:
        started = pool.submit(runner.start_one)
        wait_for((tmp_path / "starting").exists)
        runner.stop()
        started.result(timeout=30)
    assert not caplog.records
