"""The `tallyman` commands in the pages' code blocks, each run on one local cloud, and their output.

The cloud contains what the pages describe. Digests, times and letters on the pages are examples, which this cloud's own
replace. A command that can't run in it is listed with its reason and with the test that covers it instead. The outputs
on the pages are what a terminal shows; `make outputs` updates them where they changed.
"""

import contextlib
import json
import os
import re
import shlex
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from unittest import mock

import pytest
import typer.testing
from tools import session
from typer.testing import CliRunner

from support.house.shown import NOT_HERE, PAGES, in_blocks, of_another_state, with_outputs
from support.house.sources import text
from support.images import builders as b
from support.stacks.deployed import ROOT, Deployed, deployed
from tallyman.domain.times import format_time, parse_time
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
  dev: {registries: [111111111111/us-east-2]}
repositories:
  - match: rocketseat/*
    promotions:
      - {from: dev, to: prod, gates: {soak: 24 hours}}
"""

SAMPLES = ("v1.0.0", "v1.2.3")
"""What the pages push with `local sample`: indexes of two platforms."""

TAGS = ("v1.0.1", "v1.0.1-3f2a91c", "v1.1.0", "v1.2.0", "v1.2.2")
BETWEEN = datetime(2026, 11, 16, 2, tzinfo=UTC)
"""The pages' moment between the first `latest` and the next."""
FIRST = b.multi_arch("v1.0.0")
"""Was the latest, and is in prod."""
FOUND = b.multi_arch("v1.1.0")
"""The latest, with a finding."""

ENDS = {
    "tallyman policy check mine.yaml": (2, "2 problems"),
    "tallyman doctor": (1, "✗"),
    "tallyman audit ledger": (0, "✓"),
    "tallyman audit": (1, "✗ practice"),
    "tallyman diff": (1, "layer"),
    f"tallyman why dev/{NAME}:v1.1.0-8c1d0ee": (1, "1 critical finding"),
    "tallyman retention native": (1, "has no lifecycle policy of its own"),
    "tallyman retention proof": (1, "was not removed by retention"),
}
"""Exit status, if it is not 0, and words of what is said, by the beginning of a command; the first that fits."""

LETTERS = ("letters list", "letters show", "letters replay", "letters discard")
LATE = ("approve", "check", "promote", "freeze", "thaw", "deny", "release roll-back", "local", *LETTERS, "recall")
"""Commands that change what others show come after those, in this order."""


def lines() -> list[str]:
    """Every line to run, without duplicates; those that change something come last."""
    found = {shown.line for shown in in_blocks() if shown.line.startswith("tallyman ")}
    return sorted((line for line in found if not any(line.startswith(known) for known in NOT_HERE)), key=rank)


def rank(line: str) -> tuple[int, str]:
    rest = line.removeprefix("tallyman ")
    return next((n for n, name in enumerate(LATE, 1) if rest.startswith(name)), 0), line


@dataclass(frozen=True)
class Result:
    """The result of a command: exit status, its stdout on a terminal, stdout with messages, the exception."""

    status: int
    printed: str
    said: str
    error: BaseException | None


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Result]]:
    """Result by line, run in the order of `lines`, in a directory with the policies that the pages name."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "examples").symlink_to(ROOT / "examples")
    (folder / "layers/policy").mkdir(parents=True)
    shutil.copy(ROOT / "layers/policy/tallyman.yaml", folder / "layers/policy")
    (folder / "NEW.yaml").write_text(POLICY)
    (folder / "mine.yaml").write_text(WRONG)
    terminal = {"TERM": "dumb", "NO_COLOR": "1", "TZ": "UTC"}
    with (
        deployed(tmp_path_factory.mktemp("cloud"), POLICY, scanner="clean") as running,
        contextlib.chdir(folder),
        mock.patch.dict(os.environ, terminal),
        mock.patch.object(typer.testing._NamedTextIOWrapper, "isatty", lambda stream: stream.name == "<stdout>"),
    ):
        between = filled(running)
        keys = running.cloud.credentials("arn:aws:iam::111111111111:role/release-managers", session="ana")
        found = {}
        with mock.patch.dict(os.environ, {name.upper(): value for name, value in keys.items()}):
            for line in lines():
                result = CliRunner().invoke(app, ["--utc", *here(line, between if "history" in line else None)])
                shown = on_a_page(result.stdout, between), on_a_page(result.output, between)
                found[line] = Result(result.exit_code, *shown, result.exception)
                if rank(line)[0]:
                    running.settle()
        yield found


def filled(running: Deployed) -> datetime:
    """Create what the pages describe; return a moment between the first `latest` and the next."""
    running.push(FIRST, NAME, "v1.0.0-3f2a91c", "latest")
    time.sleep(1.1)  # times of events have whole seconds
    between = datetime.now(UTC)
    time.sleep(1.1)
    for tag in SAMPLES:
        assert CliRunner().invoke(app, ["local", "sample", f"dev/{NAME}:{tag}"]).exit_code == 0
    for tag in TAGS:
        running.push(b.image(tag), NAME, tag, settle=False)
    running.push(FOUND, NAME, "v1.1.0-8c1d0ee", "latest", settle=False)
    running.push(b.image("main"), NAME, "v1.0.0", environment="main")
    critical = {"name": "CVE-2026-1234", "severity": "CRITICAL"}
    place = running.place(NAME)
    running.cloud.ecr.scanner.complete(place.registry, place.name, FOUND.root.platform_children[1].digest, [critical])
    running.send("push", '{"no": "event"}')
    running.settle()
    running.reconcile()  # the soak is over by now
    running.reconcile()  # counts what was promoted before
    return between


def here(line: str, moment: datetime | None) -> list[str]:
    """The line's words, with real values instead of the page's examples. `moment`: replaces times (None: now)."""
    sample = widget_server("1.2.3")
    digest = sample.children[0].digest if "local scan" in line else sample.root.digest
    line = re.sub(r"sha256:[0-9a-f]{64}", str(digest), line)
    line = re.sub(r"20\d\d-\d\d-\d\dT[\d:]+Z", format_time(moment or datetime.now(UTC)), line)
    if "5fea7756" in line:
        letters: list[dict[str, str]] = json.loads(CliRunner().invoke(app, ["letters", "list", "--json"]).stdout)
        line = line.replace("5fea7756", letters[0]["letter"])
    return shlex.split(line.partition(" > ")[0])[1:]


def on_a_page(printed: str, between: datetime) -> str:
    """The text with the page's times and letter: `between` becomes the page's 02:00."""

    def moved(found: re.Match[str]) -> str:
        return format_time(parse_time(found[0]) - between.replace(microsecond=0) + BETWEEN)

    text = re.sub(r"20\d\d-\d\d-\d\dT[\d:.]+Z", moved, printed)
    return re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "5fea7756-0ea4-5dfb-9e76-2c1b3d6c9f41", text)


def same_every_time(printed: str) -> str:
    """The text without digests, durations, seal counts, sizes (zlib versions differ), and what tools/session.py
    replaces."""
    text = re.sub(r"sha256:[0-9a-f…]+", "DIGEST", printed)
    text = re.sub(r"\d[\d.]* (B|kB|bytes)\b", "SIZE", text)
    text = re.sub(r"\d+ entries: .*", "N entries", text)
    return session.same_every_time(re.sub(r"segment \d+|\d+\.\d+ s\b", "N", text))


@pytest.mark.heavy
def test_every_command_of_a_block_runs(results: Mapping[str, Result]) -> None:
    wrong: dict[str, str] = {}
    for line, result in results.items():
        status, said = next((ends for known, ends in ENDS.items() if line.startswith(known)), (0, ""))
        if result.status != status or said not in result.said:
            wrong[line] = f"{result.status}: {result.said[-600:]} {result.error!r}"
    assert wrong == {}, "\n".join(f"{line}\n    {what}" for line, what in wrong.items())


@pytest.mark.heavy
@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in session.PAGES], ids=lambda page: page.name)
def test_the_outputs_on_a_page_are_the_real_ones(results: Mapping[str, Result], page: Path) -> None:
    def made(line: str, shown: str) -> str:
        if line not in results or of_another_state(line, shown):
            return shown
        printed = (results[line].printed or results[line].said).strip("\n") + "\n"
        return shown if same_every_time(printed) == same_every_time(shown) else printed

    shown = text(page)
    current = with_outputs(shown, made)
    if not os.environ.get("OUTPUTS"):
        assert current == shown, "make outputs writes it anew"
    elif current != shown:
        page.write_text(current, "utf-8")


def test_every_excluded_command_is_on_a_page() -> None:
    shown = {each.line for each in in_blocks()}
    assert [known for known in (*NOT_HERE, *ENDS) if not any(line.startswith(known) for line in shown)] == []
