"""`make aws-smoke`, step by step against the local cloud, so that it runs when it is needed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.stacks.deployed import deployed

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tests/aws/smoke.py"
POLICY = """\
environments:
  dev: {registries: [111111111111/us-east-2]}
  prod: {registries: [111111111111/sa-east-1]}
repositories:
  - match: rocketseat/*
    create: {immutable: true, mutable_tags: [latest], encryption: AES256, scan_on_push: true}
    verify: {layers: content}
    promotions: [{from: dev, to: prod, tags: [semver], gates: {verified: true}}]
"""


def smoke(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=550)


def test_without_an_account_make_says_what_is_missing() -> None:
    done = subprocess.run(["make", "aws-smoke"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "ACCOUNT=" in done.stderr


@pytest.mark.heavy
def test_every_step_passes_on_the_local_cloud_and_nothing_is_left(tmp_path: Path) -> None:
    with deployed(tmp_path, POLICY, scanner="clean") as world:
        other = smoke("--account", "999999999999", "--deployed", world.cloud.stack, "--report", str(tmp_path))
        assert (other.returncode, "belong to 111111111111" in other.stderr) == (2, True)
        assert not (tmp_path / "smoke.json").exists()
        arguments = ("--account", "111111111111", "--deployed", world.cloud.stack, "--patience", "90")
        done = smoke(*arguments, "--report", str(tmp_path))
        told = json.loads((tmp_path / "smoke.json").read_text())
        outcomes = {step["name"]: step["outcome"] for step in told["steps"]}
        assert done.returncode == 0, done.stdout + done.stderr
        assert {name for name, outcome in outcomes.items() if outcome == "skipped"} == {
            "deploy the hub",
            "deploy the spoke",
        }
        assert "failed" not in outcomes.values()
        assert told["confirmed"]
        assert "111111111111" not in (tmp_path / "smoke.md").read_text() + (tmp_path / "smoke.json").read_text()
        for region in ("us-east-2", "sa-east-1"):
            assert world.client("ecr", region).describe_repositories()["repositories"] == []
