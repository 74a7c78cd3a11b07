"""events/<function>/*.json: the real input of each function, and how the core parses it."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from support.stacks.templates import FUNCTIONS, ROOT
from tallyman.domain.events.commands import COMMANDS, parse_command
from tallyman.domain.events.eventbridge import parse_event
from tallyman.domain.names import Digest, Repository, parse_repository_name
from tallyman.errors import BadInput

FILES = sorted((ROOT / "events").glob("*/*.json"))
BATCHES = [path for path in FILES if path.parent.name != "reconcile"]
QUEUES = {"record_command": "commands"} | {name: name.split("_")[1] for name in ("record_push", "record_scan")}
QUEUES |= {
    "verify_digest": "verify",
    "verify_origin": "origin",
    "promote_image": "promote",
    "apply_retention": "retention",
    "roll_out": "roll-out",
}
READERS = ("record_push", "record_scan", "verify_digest", "verify_origin")


def name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def records(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text())["Records"]
    return found


def test_every_function_has_an_event_and_every_event_a_function() -> None:
    assert {path.parent.name for path in FILES} == set(FUNCTIONS)


@pytest.mark.parametrize("path", BATCHES, ids=name)
def test_a_batch_has_the_format_of_sqs_events(path: Path) -> None:
    for record in records(path):
        assert record["md5OfBody"] == hashlib.md5(record["body"].encode()).hexdigest()
        assert record["eventSource"] == "aws:sqs"
        assert record["eventSourceARN"].endswith(f":tallyman-{QUEUES[path.parent.name]}")
        assert {"SenderId", "SentTimestamp", "ApproximateReceiveCount"} <= record["attributes"].keys()
    ids = [record["messageId"] for record in records(path)]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("path", [p for p in BATCHES if p.parent.name in READERS and "hint" not in p.name], ids=name)
def test_the_core_reads_every_event_but_the_poisoned_ones(path: Path) -> None:
    read, refused = 0, 0
    for record in records(path):
        try:
            parse_event(record["body"])
            read += 1
        except BadInput:
            refused += 1
    assert read >= 1
    assert refused == (2 if path.name == "poison.json" else 0)


def test_every_command_has_an_event_that_the_core_reads_as_that_command() -> None:
    read = {}
    for path in (ROOT / "events/record_command").glob("*.json"):
        (record,) = records(path)
        read[path.stem] = parse_command(record["body"])
    assert set(read) == set(COMMANDS)
    for stem, command in read.items():
        assert command.name == stem
        assert command.target or command.queue or stem == "recall"
        assert command.because or stem == "promote"
    assert len({command.request for command in read.values()}) == len(COMMANDS)


def test_a_doubled_event_is_one_event_in_two_messages() -> None:
    first, second = records(ROOT / "events/record_push/push-doubled.json")
    assert first["body"] == second["body"]
    assert first["messageId"] != second["messageId"]


def test_ten_pushes_are_a_full_batch() -> None:
    assert len(records(ROOT / "events/record_push/push-ten.json")) == 10


@pytest.mark.parametrize(
    ("file", "keys"),
    [
        ("record_command/promote.json", {"command", "request", "digest", "repository", "from", "to"}),
        ("promote_image/hint.json", {"digest", "repository", "from", "to", "correlation"}),
    ],
)
def test_our_own_messages_have_the_keys_that_the_services_read(file: str, keys: set[str]) -> None:
    for record in records(ROOT / "events" / file):
        body = json.loads(record["body"])
        assert set(body) == keys
        assert Digest.parse(body["digest"]) == body["digest"]
        assert parse_repository_name(body["repository"]) == body["repository"]


def test_a_hint_of_retention_names_a_repository_or_all() -> None:
    bodies = [json.loads(r["body"]) for p in BATCHES if p.parent.name == "apply_retention" for r in records(p)]
    assert {"all": True} in bodies
    assert any(Repository.parse(body["repository"]) for body in bodies if "repository" in body)


def test_a_hint_to_verify_names_a_repository_of_one_registry() -> None:
    (record,) = records(ROOT / "events/verify_digest/hint.json")
    hint = json.loads(record["body"])["verify"]
    assert Repository.parse(hint["repository"]).registry.region == "us-east-2"
    assert Digest.parse(hint["digest"]) == hint["digest"]
