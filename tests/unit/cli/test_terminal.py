"""On a terminal, and on failing streams: the real command, in its own process."""

import fcntl
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.images.builders import image
from support.images.layouts import layout

COMMAND = (sys.executable, "-c", "from tallyman_cli.start import main; main()")
PRINTS = """
import sys, time
from datetime import UTC, datetime
from tallyman_cli.shared import output
from tallyman_cli.shared.chosen import chosen
"""
"""The beginning of a program that prints as commands do."""


def environment(**more: str) -> dict[str, str]:
    kept = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith(("AWS_", "TALLYMAN_", "LC_", "LANG", "PAGER", "LINES", "COLUMNS"))
    }
    kept |= {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "TERM": "xterm", "LANG": "C.UTF-8"}
    return kept | {"AWS_EC2_METADATA_DISABLED": "true", "TZ": "America/Sao_Paulo", "HOME": "/nonexistent"} | more


def on_terminal(code: str, columns: int = 80, lines: int = 24, **more: str) -> str:
    """A program's output on a terminal of this size."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-c", PRINTS + code], stdin=follower, stdout=follower, stderr=follower, env=environment(**more)
    )
    os.close(follower)
    shown = b""
    while True:
        try:
            piece = os.read(leader, 65536)
        except OSError:  # Linux's answer when the other side is closed
            break
        if not piece:
            break
        shown += piece
    os.close(leader)
    assert process.wait() == 0, shown.decode()
    return shown.decode().replace("\r\n", "\n")


def run(*arguments: str, stdout: int = subprocess.PIPE, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], stdout=stdout, stderr=subprocess.PIPE, text=True, env=environment(**more), check=False
    )


AT = "output.table([{'at': '2026-11-16T01:54:34Z', 'what': 'a push'}])\n"


def test_times_are_local_on_a_terminal_and_utc_on_request() -> None:
    assert "2026-11-15T22:54:34-03:00" in on_terminal(AT)
    assert "2026-11-16T01:54:34Z" in on_terminal("chosen.utc = True\n" + AT)
    piped = subprocess.run(
        [sys.executable, "-c", PRINTS + AT], capture_output=True, text=True, env=environment(), check=True
    )
    assert "2026-11-16T01:54:34Z" in piped.stdout


@pytest.mark.parametrize(
    ("zone", "at"), [("Asia/Tokyo", "9999-12-31T23:59:59Z"), ("America/Lima", "0001-01-01T00:00:00Z")]
)
def test_a_time_at_an_end_of_the_calendar_is_shown_in_utc(zone: str, at: str) -> None:
    assert at in on_terminal(f"output.line(output.when('{at}'))\n", TZ=zone)


def test_a_dumb_terminal_crops_nothing() -> None:
    long = "x" * 200
    code = f"output.line('{long}')\noutput.table([{{'what': '{long} ' * 3, 'tag': '{long}'}}])\n"
    code += "output.line(output.mark('passed'))\n"
    shown = on_terminal(code, TERM="dumb")
    assert shown.count("x") == 5 * 200
    assert "\x1b" not in shown
    assert "✓ passed" in shown


ROWS = "output.table({'number': f'row {n}'} for n in range(50))\n"


def test_a_table_longer_than_the_screen_is_paged(tmp_path: Path) -> None:
    pager = tmp_path / "pager"
    pager.write_text("#!/bin/sh\necho PAGED\ncat\n")
    pager.chmod(0o755)
    assert "PAGED" in on_terminal(ROWS, PAGER=str(pager))
    assert "PAGED" not in on_terminal("chosen.paged = False\n" + ROWS, PAGER=str(pager))
    assert "PAGED" not in on_terminal(ROWS, lines=60, PAGER=str(pager))
    for useless in (str(tmp_path / "none"), "false", "cat", ""):
        assert on_terminal(ROWS, PAGER=useless).count("row ") == 50


def test_progress_is_shown_after_a_second_and_erased() -> None:
    code = "with output.patience(True):\n    time.sleep(1.8)\n    output.line('done')\n"
    shown = on_terminal(code)
    assert re.search(r"\r\S 1 s", shown)
    assert shown.endswith("\r\x1b[Kdone\n")
    assert " s" not in on_terminal("chosen.quiet = True\n" + code)
    assert " s" not in on_terminal(code, TERM="dumb")


def test_quiet_omits_notes_and_keeps_warnings() -> None:
    code = "chosen.quiet = True\noutput.say('a note')\noutput.trouble('a trouble')\n"
    shown = on_terminal(code)
    assert "a note" not in shown
    assert "a trouble" in shown


@pytest.mark.parametrize(
    "arguments", [("--help",), ("--version",), ("policy", "schema"), ("completion", "bash"), ("copy", "--help")]
)
def test_a_full_disk_is_one_message(arguments: tuple[str, ...]) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = run(*arguments, stdout=full.fileno())
    assert done.returncode == 1
    assert done.stderr == "tallyman: the output can't be written: No space left on device\n"


@pytest.mark.parametrize("arguments", [("--help",), ("policy", "schema")])
def test_a_closed_pipe_is_silent(arguments: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = run(*arguments, stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


def test_closed_streams_cause_no_traceback() -> None:
    for closing in (">&-", "2>&-", "<&- >&- 2>&-"):
        done = subprocess.run(
            ["sh", "-c", f'"$@" {closing}', "sh", *COMMAND, "--version"], capture_output=True, text=True,
            env=environment(), check=False,
        )  # fmt: skip
        assert "Traceback" not in done.stderr


def test_symbols_missing_in_the_locale_are_replaced() -> None:
    done = run("policy", "check", "nowhere.yaml", LC_ALL="C", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_profile_that_does_not_exist_is_bad_input() -> None:
    done = run("history", "dev/app", AWS_PROFILE="nope")
    assert done.returncode == 2
    assert done.stderr.startswith(
        "tallyman: read the configuration of AWS: The config profile (nope) could not be found"
    )
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("missing", ["cryptography", "moto"])
def test_a_missing_package_is_reported_by_its_extra(missing: str) -> None:
    code = f"import sys; sys.modules['{missing}'] = None; from tallyman_cli.start import main; main()"
    done = subprocess.run([sys.executable, "-c", code, "demo"], capture_output=True, text=True, env=environment())
    assert done.returncode == 2
    assert "pip install 'tallyman-ecr[local]'" in done.stderr
    assert missing in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("pause", [0.0, 0.05, 0.1, 0.2, 0.4])
def test_ctrl_c_during_startup_shows_no_traceback(pause: float) -> None:
    code = "import sys; from tallyman_cli import start; sys.stdout.write('begun'); sys.stdout.flush(); start.main()"
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts connections and never answers
        process = subprocess.Popen(
            [sys.executable, "-c", code, "history", "dev/app"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=environment(AWS_REGION="us-east-2", AWS_ACCESS_KEY_ID="x", AWS_SECRET_ACCESS_KEY="x",
                            AWS_ENDPOINT_URL=f"http://127.0.0.1:{silent.getsockname()[1]}"),
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
        )  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.read(5) == "begun"
        time.sleep(pause)
        process.send_signal(signal.SIGINT)
        stderr = process.communicate(timeout=60)[1]
    assert "Traceback" not in stderr
    assert process.returncode in (-signal.SIGINT, 130, 1)


NO_ADDRESS = """
import ctypes, socket, sys
lock, held = ctypes.CDLL(None).pthread_mutex_lock, ctypes.create_string_buffer(64)
lock(held)
socket.getaddrinfo = lambda *a, **k: sys.stdout.write('begun') and sys.stdout.flush() or lock(held)
"""
"""A name server that never answers: the call of the system is woken by no signal."""


@pytest.mark.parametrize("hangs", ["source", "target", "name server"])
def test_ctrl_c_ends_a_copy_that_waits_for_an_answer(tmp_path: Path, hangs: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, ExitStack() as asked:
        silent = f"127.0.0.1:{listener.getsockname()[1]}/a:v1"
        place = layout(tmp_path / "layout", (image("app"), "v1"))
        words = [f"{place}:v1", silent] if hangs == "target" else [silent, place]
        code = "" if hangs != "name server" else NO_ADDRESS
        process = subprocess.Popen(
            [sys.executable, "-c", f"{code}\nfrom tallyman_cli.start import main; main()", "copy", *words],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
        )  # fmt: skip
        if hangs == "name server":
            assert process.stdout is not None
            assert process.stdout.read(5) == "begun"
        else:
            asked.enter_context(listener.accept()[0]).recv(1)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        stderr = process.communicate(timeout=60)[1]
    assert time.monotonic() - began < 5, "GRACE, and what a busy machine adds"
    assert stderr == "tallyman: interrupted; what was copied is kept; run it again to continue\n"
    assert process.returncode == 130
