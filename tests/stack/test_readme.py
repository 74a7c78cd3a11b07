"""The shell sessions of README.md and README.pt-BR.md, typed as they stand there."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support.stacks.templates import ROOT

SESSION = r"(?ms)^```\n(\$ .*?)^```"


def sessions(page: str) -> list[str]:
    """The blocks of a page whose lines begin with a prompt."""
    return [str(block) for block in re.findall(SESSION, (ROOT / page).read_text("utf-8"))]


def english() -> list[str]:
    """The first session."""
    return sessions("README.md")[0].splitlines()


def portuguese() -> list[str]:
    """All lessons, one after the other."""
    return "".join(sessions("README.pt-BR.md")).splitlines()


@pytest.mark.parametrize("session", [english, portuguese])
def test_the_session_in_a_local_cloud_runs_as_written(session: Callable[[], list[str]], tmp_path: Path) -> None:
    first, *inside = [line.removeprefix("$ ") for line in session()]
    start = shlex.split(first)
    assert start[0] == ".venv/bin/tallyman"
    assert start[-2:] == ["--", "bash"]
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "tallyman").write_text(f'#!/bin/sh\nexec {sys.executable} -m tallyman_cli.start "$@"\n')
    (programs / "tallyman").chmod(0o755)
    paths = os.pathsep.join(str(ROOT / folder) for folder in ("layers/core/src", "cli", "local"))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TALLYMAN_"))}
    done = subprocess.run(
        [programs / "tallyman", *start[1:]],
        input="set -ex\n" + "\n".join(inside),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=kept | {"PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": paths, "HOME": str(tmp_path)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "is promoted to prod" in done.stdout
    assert not (tmp_path / ".docker").exists()
