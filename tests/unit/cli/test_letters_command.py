"""`tallyman letters`: the letters of every queue, by reason; for a person's command also how to send it again."""

import shlex
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import typer

from support.fakes.cli_stack import FakeStack
from tallyman.domain.events.commands import COMMANDS
from tallyman.domain.events.letters import Letter
from tallyman.domain.history.facts import Kind
from tallyman_cli.letters.reading import again
from tallyman_cli.main import app

SENT = datetime(2026, 11, 16, 1, 0, tzinfo=UTC)
BAD = Letter("aaaaaaaa-1", "push", "{}", SENT, "no event", "BadMessage", "record_push", "push")
GONE = Letter("bbbbbbbb-2", "verify", "{}", SENT + timedelta(hours=1), None, None, None, "verify")
RECALL = '{"command": "freeze", "environment": "prod", "because": "it\'s full", "request": "r"}'
ASKED = Letter("cccccccc-3", "commands", RECALL, SENT, "may not", "NotAllowed", "record_command", "commands")


@pytest.fixture
def post(system: FakeStack) -> FakeStack:
    system.letters.boxes += [GONE, BAD, ASKED]
    return system


def test_letters_are_listed_by_queue_and_reason(post: FakeStack) -> None:
    assert [each["letter"] for each in post.json("letters", "list")] == [BAD.id, ASKED.id, GONE.id]
    assert [each["letter"] for each in post.json("letters", "list", "--queue", "verify")] == [GONE.id]
    (found,) = post.json("letters", "list", "--reason", "badmessage")
    assert (found["error"], found["source"], found["again"]) == ("BadMessage", "push", None)
    assert "again and again" in post.run("letters", "list", "--queue", "verify").output
    assert post.run("letters", "list", "--queue", "nothing").exit_code == 2


def test_a_persons_command_is_shown_with_how_to_send_it_again(post: FakeStack) -> None:
    found = post.json("letters", "show", "cccccccc")
    assert shlex.split(found["again"]) == ["tallyman", "freeze", "prod", "--because", "it's full"]
    assert found["body"] == RECALL
    (row,) = post.json("letters", "replay", ASKED.id, status=1)
    assert found["again"] in row["refused"]
    assert ASKED in post.letters.boxes


def test_without_letters_nothing_but_a_note_is_printed(post: FakeStack) -> None:
    post.letters.boxes.clear()
    assert post.run("letters", "list").stdout == ""


def test_letters_are_replayed_and_discarded_by_record_command(post: FakeStack) -> None:
    (row,) = post.json("letters", "replay", "--reason", "again and again")
    assert (row["done"], post.letters.sent) == (True, [GONE])
    assert post.run("letters", "discard", BAD.id).exit_code == 2  # without a reason
    result = post.run("letters", "discard", BAD.id, "--because", "no event")
    assert result.exit_code == 0, result.output
    assert post.letters.boxes == [ASKED]
    facts = [f for f in post.ledger.of_environment("*") if f.kind is Kind.LETTER]
    assert {f.actor for f in facts} == {post.sender}


def test_only_selected_letters_are_moved(post: FakeStack) -> None:
    assert post.run("letters", "replay").exit_code == 2
    assert post.run("letters", "replay", "dddddddd").exit_code == 2
    assert post.letters.boxes == [GONE, BAD, ASKED]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_printed_command_can_be_typed(name: str) -> None:
    given = {"digest": "sha256:" + "a" * 64, "repository": "a/b", "from": "dev", "to": "prod", "environment": "prod"}
    line = again(
        {
            "command": name,
            "because": "b",
            "gate": "soak",
            "check": "e2e",
            "result": "passed",
            "letters": "aaaaaaaa-1",
            **given,
        }
    )
    assert line is not None
    command: Any = typer.main.get_command(app)
    words = shlex.split(line)[1:]
    while hasattr(command, "get_command"):
        command = command.get_command(None, words.pop(0))
    command.make_context(name, words)
