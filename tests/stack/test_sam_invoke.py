"""Every function as `sam` built it, in a container, with the events of `events/`, against a local cloud on the host."""

import json
import os
import platform
import shutil
import subprocess
import sys

import pytest

from support.stacks.templates import FUNCTIONS, ROOT

pytestmark = [pytest.mark.sam, pytest.mark.docker, pytest.mark.heavy]
ARCHITECTURE = "arm64" if platform.machine() in ("arm64", "aarch64") else "x86_64"
BASE_IMAGE = f"public.ecr.aws/lambda/python:3.13-{ARCHITECTURE}"
EVENTS = {
    # event: what the function must have written, as `make invoke` prints it
    "record_push/push": ["facts: pushed", "facts: child_of", "state: v1.0.0-abc1234"],
    "record_push/push-ten": ["facts: pushed"],
    "record_push/push-doubled": ["facts: pushed"],
    "record_push/poison": ["facts: pushed"],
    "verify_digest/push": ["facts: verified"],
    "record_scan/basic": ["facts: scanned"],
    "record_command/promote": ["facts: "],
    "promote_image/hint": ["facts: promoted", "facts: released"],
    "verify_origin/hint": [],  # its start loads its own layer; the shipped policy names no signer
    "roll_out/released": [],
    "apply_retention/hint": [],
    "reconcile/schedule": ["facts: pushed"],
}


def answers(*command: str) -> bool:
    return (
        shutil.which(command[0]) is not None
        and subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL).returncode == 0
    )


@pytest.fixture(scope="module", autouse=True)
def built() -> None:
    """A new build of the functions for this machine."""
    if not answers("docker", "version"):
        pytest.skip("no Docker engine answers")
    if not answers("docker", "image", "inspect", BASE_IMAGE):
        pytest.skip(f"no {BASE_IMAGE}: tests/tools/lambda-base-image.sh builds a stand-in, docker pull brings it")
    if not (ROOT / ".venv-sam/bin/sam").is_file():
        pytest.skip("no .venv-sam: make .venv-sam/.ready sets it up")
    python = subprocess.run([ROOT / "tests/tools/python313.sh"], capture_output=True, text=True, check=False)
    if python.returncode:
        pytest.skip(python.stderr.strip())
    done = subprocess.run(["make", "build-native"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def outside() -> dict[str, str]:
    """Our environment without the variables that point to another local cloud."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("TALLYMAN_", "AWS_"))}
    return {**kept, "PYTHONPATH": "tests"}


def invoke(event: str) -> subprocess.CompletedProcess[str]:
    function = event.partition("/")[0]
    command = [
        sys.executable,
        "-m",
        "tools.invoke",
        "--architecture",
        ARCHITECTURE,
        function,
        f"events/{event}.json",
    ]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=outside(), timeout=300)


def test_every_function_is_invoked() -> None:
    assert {event.partition("/")[0] for event in EVENTS} == set(FUNCTIONS)


@pytest.mark.parametrize("event", EVENTS)
def test_a_function_in_its_container_does_its_work_in_a_cloud_on_the_host(event: str) -> None:
    done = invoke(event)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.strip().splitlines()[-1])
    if event.startswith("reconcile"):
        assert sum(answer["missed"].values()) >= 1
    else:
        assert answer == {"batchItemFailures": []}
    for wanted in EVENTS[event]:
        assert f"wrote {wanted}" in done.stderr, done.stderr
    if event.endswith("poison"):
        assert done.stderr.count("dead letter: ") == 2


def test_an_unknown_function_or_event_is_bad_input() -> None:
    assert invoke("record_pull/push").returncode == 2
    assert invoke("record_push/none").returncode == 2
