"""`tallyman event make`: the files of events/ equal its output."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tallyman.domain.names import Digest
from tallyman_cli.events.parts import event_image
from tallyman_cli.main import app

ROOT = Path(__file__).resolve().parents[3]


def run(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["event", "make", *arguments])
    return done.exit_code, done.stdout, done.stderr


def test_the_event_files_equal_the_commands_output() -> None:
    assert run("--check", "--to", str(ROOT / "events")) == (0, "", "")


def test_after_writing_all_events_the_check_passes(tmp_path: Path) -> None:
    assert run("--to", str(tmp_path))[0] == 0
    assert run("--check", "--to", str(tmp_path))[0] == 0
    for path in (ROOT / "events").glob("*/*.json"):
        assert (tmp_path / path.parent.name / path.name).read_bytes() == path.read_bytes()


def test_each_difference_is_named(tmp_path: Path) -> None:
    run("--to", str(tmp_path))
    (tmp_path / "record_push/push.json").unlink()
    (tmp_path / "record_push/own.json").write_text("{}")
    (tmp_path / "reconcile/schedule.json").write_text("{}")
    status, _, result = run("--check", "--to", str(tmp_path))
    assert status == 1
    assert "record_push/push.json is missing" in result
    assert "record_push/own.json has no source" in result
    assert "reconcile/schedule.json is not what its source says" in result


def test_an_event_of_the_requested_image_is_printed() -> None:
    digest = Digest.of(b"mine")
    status, printed, _ = run("record_push/push", "--tag", "v2.0.0", "--digest", digest, "--repository", "mine/app")
    assert status == 0
    (record,) = json.loads(printed)["Records"]
    detail = json.loads(record["body"])["detail"]
    assert (detail["image-digest"], detail["image-tag"], detail["repository-name"]) == (digest, "v2.0.0", "mine/app")


def test_an_unknown_event_is_bad_input() -> None:
    status, _, result = run("record_push/pull")
    assert status == 2
    assert "record_push/push-ten" in result


@pytest.mark.parametrize("option", [("--digest", "sha256:1"), ("--tag", "-"), ("--registry", "1/2")])
def test_an_invalid_digest_tag_or_registry_is_bad_input(option: tuple[str, str]) -> None:
    assert run("record_push/push", *option)[0] == 2


def test_the_image_of_the_events_is_deterministic() -> None:
    assert event_image().root.digest == "sha256:9cea11903cd77d64735d2be3efc9f80ed8b510bfbce44cfaca241e273eabb1fc"
