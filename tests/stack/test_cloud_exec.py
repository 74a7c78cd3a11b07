"""`tallyman local exec`: runs a command inside its own cloud, and cleans up however the command ends."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from support.stacks import sample_stack as sample
from tallyman_cli.main import app
from tallyman_local.cloud import folders

SOURCES = [str(Path(__file__).parents[2] / folder) for folder in ("layers/core/src", "cli", "local")]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(SOURCES)}
TALLYMAN = [sys.executable, "-m", "tallyman_cli.main"]


def run(*command: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*TALLYMAN, "local", *command],
        env={**ENVIRONMENT, "AWS_PROFILE": "mine"},
        capture_output=True,
        text=True,
        timeout=120,
        **options,
    )


INSIDE = r"""
import json, os, sys, urllib.request
from typer.testing import CliRunner
from tallyman_cli.main import app
def tallyman(*words):
    done = CliRunner().invoke(app, ["local", *words])
    return [done.exit_code, done.stderr]
status = json.load(urllib.request.urlopen(os.environ["AWS_ENDPOINT_URL"] + "/_tallyman/status"))
print(json.dumps({
    "stdin": sys.stdin.read(),
    "environment": {k: v for k, v in os.environ.items() if k.startswith(("AWS_", "TALLYMAN_"))},
    "directory": os.getcwd(),
    "status": status,
    "settle": tallyman("settle"),
    "unknown": tallyman("scan", "dev/no/such:v1"),
    "environmentless": tallyman("scan", "nowhere/no/such:v1"),
    "nonsense": tallyman("scan", "!!"),
    "bad_finding": tallyman("scan", "dev/no/such:v1", "--finding", "CVE-1"),
    "chaos": tallyman("chaos", "--lose", "0.5", "--double", "0.2", "--reorder", "--delay", "2s", "--seed", "7"),
    "bad_chaos": tallyman("chaos", "--delay", "soon"),
    "off": tallyman("chaos", "--off"),
}))
print("for people", file=sys.stderr)
sys.exit(7)
"""


@pytest.fixture(scope="module")
def inside() -> tuple[subprocess.CompletedProcess[str], dict[str, object]]:
    done = run("exec", "--", sys.executable, "-c", INSIDE, input="from outside")
    return done, json.loads(done.stdout)


def test_the_commands_exit_status_is_its_own(inside: tuple[subprocess.CompletedProcess[str], dict[str, Any]]) -> None:
    assert inside[0].returncode == 7


def test_stdin_stdout_and_stderr_are_the_commands(
    inside: tuple[subprocess.CompletedProcess[str], dict[str, Any]],
) -> None:
    done, result = inside
    assert result["stdin"] == "from outside"
    assert done.stdout.count("\n") == 1
    assert done.stderr == "for people\n"


def test_the_environment_points_to_the_local_cloud(
    inside: tuple[subprocess.CompletedProcess[str], dict[str, Any]],
) -> None:
    environment = inside[1]["environment"]
    assert environment["AWS_ENDPOINT_URL"].startswith("http://127.0.0.1:")
    assert environment["AWS_REGION"] == environment["AWS_DEFAULT_REGION"] == "us-east-2"
    assert "AWS_PROFILE" not in environment
    registries = [name for name in environment if name.startswith("TALLYMAN_REGISTRY_")]
    assert registries == ["TALLYMAN_REGISTRY_DEV_1", "TALLYMAN_REGISTRY_PROD_1", "TALLYMAN_REGISTRY_PROD_2"]
    assert all(environment[name].startswith("localhost:") for name in registries)
    assert len({environment[name] for name in registries}) == 3
    assert inside[1]["directory"] == str(Path.cwd())


def test_commands_inside_find_their_cloud(inside: tuple[subprocess.CompletedProcess[str], dict[str, Any]]) -> None:
    result = inside[1]
    assert result["settle"] == [0, ""]
    assert result["chaos"] == [0, "so far: 0 lost, 0 doubled\n"]
    assert result["off"][0] == 0


def test_a_scan_of_a_missing_image_is_an_error(inside: tuple[subprocess.CompletedProcess[str], dict[str, Any]]) -> None:
    result = inside[1]
    assert result["unknown"][0] == 1
    assert "no/such" in result["unknown"][1]
    assert result["environmentless"][0] == 1
    assert "unknown environment 'nowhere'; the policy defines dev, prod" in result["environmentless"][1]


def test_bad_input_exits_2(inside: tuple[subprocess.CompletedProcess[str], dict[str, Any]]) -> None:
    result = inside[1]
    assert [result[name][0] for name in ("nonsense", "bad_finding", "bad_chaos")] == [2, 2, 2]
    assert "!!" in result["nonsense"][1]
    assert "expected CVE:SEVERITY" in result["bad_finding"][1]
    assert "soon" in result["bad_chaos"][1]


def test_outside_a_local_cloud_the_commands_report_it() -> None:
    for words in (["settle"], ["scan", "dev/a/b:v1"], ["chaos", "--off"]):
        done = CliRunner().invoke(app, ["local", *words])
        assert done.exit_code == 2
        assert "not inside a local cloud" in done.stderr


def test_a_signal_that_ends_the_command_is_128_and_its_number() -> None:
    assert run("exec", "--", "sh", "-c", "kill -TERM $$").returncode == 128 + signal.SIGTERM


def test_a_missing_command_exits_127() -> None:
    done = run("exec", "--", "no-such-command-at-all")
    assert done.returncode == 127
    assert done.stderr == "tallyman: no-such-command-at-all: command not found\n"


@pytest.mark.parametrize("text", ["environments: {dev: {registries: [us-east-2]}}", "environmnets: {}", "[", "{"])
def test_an_invalid_policy_is_refused(tmp_path: Path, text: str) -> None:
    policy = tmp_path / "tallyman.yaml"
    policy.write_text(text)
    done = CliRunner().invoke(app, ["local", "exec", "--policy", str(policy), "--", "true"])
    assert done.exit_code == 2
    assert "tallyman.yaml" in done.stderr


def test_the_folder_of_a_killed_cloud_is_removed_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    gone = subprocess.Popen(["true"])
    gone.wait()
    left, other = tmp_path / f"tallyman-local-{gone.pid}-abc", tmp_path / f"tallyman-local-{os.getpid()}-abc"
    for folder in (left, other):
        folder.mkdir()
    assert folders.make().is_dir()
    assert not left.exists()
    assert other.exists()


def running(status: dict[str, Any]) -> list[int]:
    return [status["pid"], *(pid for function in status["functions"].values() for pid in function["pids"])]


def start(folder: Path, name: str) -> tuple[subprocess.Popen[bytes], list[int], str]:
    """`local exec` with a command that waits; its processes (cloud, workers, command) and its endpoint."""
    result = folder / name
    script = (
        "import json,os,time,urllib.request as u\n"
        "url=os.environ['AWS_ENDPOINT_URL']+'/_tallyman/status'\n"
        "while True:\n"
        "    s=json.load(u.urlopen(url))\n"
        "    if all(f['pids'] for f in s['functions'].values()): break\n"
        "    time.sleep(0.05)\n"
        f"open({str(result)!r}+'.new','w').write(json.dumps([os.getpid(),s]))\n"
        f"os.rename({str(result)!r}+'.new',{str(result)!r})\n"
        "time.sleep(300)\n"
    )
    process = subprocess.Popen([*TALLYMAN, "local", "exec", "--", sys.executable, "-c", script], env=ENVIRONMENT)
    sample.wait_for(result.exists, 60)
    command, status = json.loads(result.read_text())
    return process, [command, *running(status)], status["url"]


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


@pytest.mark.heavy
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes through /proc")
def test_two_concurrent_clouds_are_isolated_and_neither_leaves_anything(tmp_path: Path) -> None:
    """The first is killed by what it can't catch; the second forwards a signal to its command."""
    first, firsts, one = start(tmp_path, "one")
    try:
        second, seconds, two = start(tmp_path, "two")
        assert one != two
        assert len(firsts) > 3
        assert all(alive(pid) for pid in (*firsts, *seconds))
        second.send_signal(signal.SIGTERM)
        assert second.wait(30) == 128 + signal.SIGTERM
        sample.wait_for(lambda: not any(alive(pid) for pid in seconds), 10)
        assert first.poll() is None
        assert all(alive(pid) for pid in firsts)
    finally:
        first.kill()
        first.wait()
    sample.wait_for(lambda: not any(alive(pid) for pid in firsts), 10)


def test_start_prints_what_to_export_and_ends_on_a_signal() -> None:
    process = subprocess.Popen([*TALLYMAN, "local", "start"], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    lines = []
    for line in process.stdout:
        lines.append(line.rstrip("\n"))
        if line == "unset AWS_PROFILE\n":
            break
    exported = dict(line.removeprefix("export ").split("=", 1) for line in lines if line.startswith("export "))
    assert exported["AWS_ENDPOINT_URL"].startswith("http://127.0.0.1:")
    assert "TALLYMAN_REGISTRY_PROD_2" in exported
    assert any(line.startswith("# prod[2] 222222222222/sa-east-1 at localhost:") for line in lines)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    process.stdout.close()
