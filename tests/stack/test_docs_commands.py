"""The commands of `tallyman` that the pages' code blocks show, each run on one local cloud.

The cloud holds what the pages speak of. Digests, moments and letters on the pages are examples, for which those of this
cloud stand in. A command that can't run in it is listed with its reason and with the test that holds it instead.
"""

import json
import os
import re
import shlex
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from unittest import mock

import pytest
from typer.testing import CliRunner

from support.house.shown import in_blocks
from support.images import builders as b
from support.stacks.deployed import ROOT, Deployed, deployed
from tallyman.domain.times import format_time
from tallyman_cli.main import app
from tallyman_local.cloud.sample import widget_server

NAME = "rocketseat/widget-server"

POLICY = """\
environments:
  dev:  {registries: [111111111111/us-east-2]}
  prod: {registries: [222222222222/us-east-2, 222222222222/sa-east-1]}
  main: {registries: [111111111111/us-east-2], repository: "main/{name}"}
repositories:
  - match: rocketseat/*
    create: {immutable: true, mutable_tags: [latest], encryption: AES256, scan_on_push: true}
    tags:   {allow: [semver, semver-commit, latest]}
    verify: {layers: content}
    promotions:
      - from: dev
        to: prod
        tags: ["v1.0.*", "v1.2.*"]
        gates: {verified: true, scan: {max: {critical: 0}}, soak: 1s}
        overridable: [soak]
      - from: dev
        to: prod
        tags: ["v1.1.*"]
        gates:
          verified: true
          scan: {max: {critical: 0}}
          approvals: {count: 1, from: [role/release-managers]}
          check: [{name: e2e, from: [role/release-managers]}]
    retention: {keep: [{newest: 20, of: semver}, {tag: latest}]}
"""
WRONG = """\
environments:
  prod: {registries: [222222222222]}
repositories: [{match: a, keep: all}]
"""

SAMPLES = ("v1.0.0", "v1.2.3")
"""What the pages push with `local sample`: indexes of two platforms."""

TAGS = ("v1.0.0-3f2a91c", "v1.0.1", "v1.0.1-3f2a91c", "v1.1.0", "v1.1.0-8c1d0ee", "v1.2.0", "v1.2.2", "latest")
FOUND = b.image("v1.1.0-3f2a91c")
"""The image with a finding."""

NOT_HERE = {
    "tallyman demo": "a cloud of its own: tests/unit/cli, `make demo`",
    "tallyman ui": "serves until Ctrl-C: tests/stack/test_ui.py",
    "tallyman watch": "follows until Ctrl-C: tests/unit/cli/test_desk_commands.py",
    "tallyman local start": "serves until Ctrl-C: tests/stack/test_cloud_exec.py",
    "tallyman local exec": "a cloud of its own: test_readme.py, test_cloud_exec.py",
    "tallyman build": "needs a Docker engine: tests/stack/test_build_docker.py",
    "tallyman policy trust-roots": "needs a TUF repository: tests/unit/cli/test_trust_roots.py",
    "tallyman copy docker.io": "needs the internet: tests/contract and tests/unit/copying copy from registries here",
    "tallyman copy --all-tags registry.example.com": "an example's name: test_copy_docs.py",
}
"""The beginnings of commands that can't run in this cloud, each with what holds it."""

ENDS = {
    "tallyman policy check mine.yaml": (2, "2 problems"),
    "tallyman doctor": (1, "✗"),
    "tallyman audit ledger": (0, "✓"),
    "tallyman audit": (1, "✗ practice"),
    "tallyman diff": (1, "layer"),
    f"tallyman why dev/{NAME}:v1.1.0-8c1d0ee": (1, "approvals"),
    "tallyman retention native": (1, "has no lifecycle policy of its own"),
    "tallyman retention proof": (1, "was not removed by retention"),
}
"""Exit status, if it is not 0, and words of what is said, by the beginning of a command; the first that fits."""

LETTERS = ("letters list", "letters show", "letters replay", "letters discard")
LATE = ("approve", "check", "promote", "freeze", "thaw", "deny", "release roll-back", "local", *LETTERS, "recall")
"""Commands that change what others show come after those, in this order."""


def lines() -> list[str]:
    """Every line to run, once, those that change something last."""
    found = {shown.line for shown in in_blocks() if shown.line.startswith("tallyman ")}
    return sorted((line for line in found if not any(line.startswith(known) for known in NOT_HERE)), key=rank)


def rank(line: str) -> tuple[int, str]:
    rest = line.removeprefix("tallyman ")
    return next((n for n, name in enumerate(LATE, 1) if rest.startswith(name)), 0), line


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    folder = tmp_path_factory.mktemp("docs")
    with deployed(folder, POLICY, scanner="clean") as running:
        running.create(NAME)
        for tag in SAMPLES:
            assert CliRunner().invoke(app, ["local", "sample", f"dev/{NAME}:{tag}"]).exit_code == 0
        for tag in TAGS:
            running.push(b.image(tag), NAME, tag, settle=False)
        running.push(FOUND, NAME, "v1.1.0-3f2a91c", settle=False)
        running.push(b.image("main"), NAME, "v1.0.0", environment="main")
        running.scan(FOUND, NAME, "CVE-2026-1234:CRITICAL")
        running.send("push", '{"no": "event"}')
        running.reconcile()  # the soak is over by now
        keys = running.cloud.credentials("arn:aws:iam::111111111111:role/release-managers", session="ana")
        with mock.patch.dict(os.environ, {name.upper(): value for name, value in keys.items()}):
            yield running


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the policies that the pages name, and the examples of the checkout."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "layers/policy").mkdir(parents=True)
    shutil.copy(ROOT / "layers/policy/tallyman.yaml", tmp_path / "layers/policy")
    (tmp_path / "NEW.yaml").write_text(POLICY)
    (tmp_path / "mine.yaml").write_text(WRONG)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def here(line: str) -> list[str]:
    """The words, with what is there instead of the page's examples."""
    sample = widget_server("1.2.3")
    digest = sample.children[0].digest if "local scan" in line else sample.root.digest
    line = re.sub(r"sha256:[0-9a-f]{64}", str(digest), line)
    line = re.sub(r"20\d\d-\d\d-\d\dT[\d:]+Z", format_time(datetime.now(UTC)), line)
    if "5fea7756" in line:
        letters: list[dict[str, str]] = json.loads(CliRunner().invoke(app, ["letters", "list", "--json"]).stdout)
        line = line.replace("5fea7756", letters[0]["letter"])
    return shlex.split(line.partition(" > ")[0])[1:]


def test_every_command_of_a_block_runs(world: Deployed, folder: Path) -> None:
    wrong: dict[str, str] = {}
    for line in lines():
        result = CliRunner().invoke(app, here(line))
        status, said = next((ends for known, ends in ENDS.items() if line.startswith(known)), (0, ""))
        if result.exit_code != status or said not in result.output:
            wrong[line] = f"{result.exit_code}: {result.output[-600:]} {result.exception!r}"
        if rank(line)[0]:
            world.settle()
    assert wrong == {}, "\n".join(f"{line}\n    {what}" for line, what in wrong.items())


def test_what_does_not_run_here_is_on_a_page() -> None:
    shown = {each.line for each in in_blocks()}
    assert [known for known in (*NOT_HERE, *ENDS) if not any(line.startswith(known) for line in shown)] == []
