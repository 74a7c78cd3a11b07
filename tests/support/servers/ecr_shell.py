"""Shell lines as a user types them, with the local ECR's environment; clients that may not be installed."""

import base64
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from support.servers.ecr import DEV, Served

OWN = Path(__file__).resolve().parents[3] / ".venv-aws" / "bin"
"""Where tests/tools/clients.sh puts the `aws` command."""
Run = Callable[..., tuple[int, str]]


def program(name: str) -> str:
    """The path of a client; skips the test if it is not installed."""
    found = str(OWN / name) if (OWN / name).exists() else shutil.which(name)
    if name == "aws" and found != str(OWN / name):
        pytest.skip("no aws command in .venv-aws: run tests/tools/clients.sh")
    return found or pytest.skip(f"{name} is not on the PATH")


def environment(served: Served, tmp_path: Path) -> dict[str, str]:
    """The account's key and the local endpoint; every client's configuration is inside the test's own folder."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker" / "config.json").write_text("{}")
    return {
        **kept,
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{served.api_port}",
        "AWS_ACCESS_KEY_ID": DEV.account,
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_PAGER": "",
        "DOCKER_CONFIG": str(tmp_path / "docker"),
        "REGCTL_CONFIG": str(tmp_path / "regctl.json"),
        "HOME": str(tmp_path),
        "NO_PROXY": "localhost,127.0.0.1",
    }


def shell_of(served: Served, tmp_path: Path) -> Run:
    """Run a line: its status, and its stdout and stderr combined."""
    named = {**environment(served, tmp_path), "PATH": f"{OWN}:{os.environ['PATH']}"}

    def run(line: str) -> tuple[int, str]:
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", line], capture_output=True, text=True, env=named, timeout=180
        )
        return done.returncode, done.stdout + done.stderr

    return run


def says(shell: Run, line: str) -> str:
    """The output of a line, which must succeed."""
    status, said = shell(line)
    assert status == 0, said
    return said


def password(served: Served) -> str:
    """The output of `aws ecr get-login-password`."""
    return base64.b64decode(served.token().partition(" ")[2]).decode().partition(":")[2]
