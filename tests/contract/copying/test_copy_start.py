"""The entry point of `tallyman copy`: which modules it loads, and how it ends."""

import json
import os
import subprocess
import sys

import pytest

from support.images.builders import image
from support.servers.copy_cli import holding
from support.servers.oci import OciServer

BUILT = image("app")

source = holding(BUILT)
pytestmark = pytest.mark.usefixtures("home")


def test_copy_does_not_import_the_other_commands(source: OciServer, target: OciServer) -> None:
    heavy = {"typer", "rich", "botocore", "urllib3", "yaml", "tallyman.domain.policy"}
    heavy |= {"shutil", "subprocess"}  # a millisecond each
    program = (
        "import sys; from tallyman_cli.copy.copy import run; "
        f"status = run(['{source.host}/team/app:v1', '{target.host}/team/app']); "
        f"print(sorted({heavy} & set(sys.modules))); sys.exit(status)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(("reference", "status", "verdict"), [("v1", 0, "done"), ("v2", 1, None), ("", 2, None)])
def test_the_program_exits_with_its_status_and_complete_output(
    source: OciServer, target: OciServer, reference: str, status: int, verdict: str | None
) -> None:
    words = [
        "copy",
        f"{source.host}/team/app{':' if reference else ''}{reference}",
        f"{target.host}/team/app",
        "--json",
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-m", "tallyman_cli.start", *words], capture_output=True, env=environment, check=False
    )
    document = json.loads(done.stdout)
    assert done.returncode == status
    assert [t["verdict"] for t in document.get("targets", [])] == ([verdict] if verdict else [])
    assert (b"tallyman: " in done.stderr) == (status > 0)
