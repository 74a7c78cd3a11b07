"""Descriptions of alarms: what happened, what it means, and which command to run."""

import re
from typing import Any

import pytest
import typer

from support.stacks.templates import build, hub, of_type, spoke, text
from tallyman.domain.events.letters import BOXES
from tallyman_cli.main import app

ALARMS = [
    pytest.param(alarm, id=name)
    for template in (hub(), spoke(), build())
    for name, alarm in of_type(template, "AWS::CloudWatch::Alarm").items()
]
LOGS = r"aws logs tail /aws/(lambda|codebuild)/\$\{\w+(::\w+)?\}-[\w${}-]+ --since 1h"


def is_command(words: list[str]) -> bool:
    """Whether these words begin with a command and its subcommand, if it has any."""
    group: Any = typer.main.get_command(app)
    context = typer.Context(group)
    for word in words:
        found = group.get_command(context, word)
        if found is None:
            return False
        if not hasattr(found, "get_command"):
            return True
        group = found
    return False


@pytest.mark.parametrize("alarm", ALARMS)
def test_a_description_says_what_happened_what_it_means_and_what_to_do(alarm: dict[str, Any]) -> None:
    description = text(alarm["AlarmDescription"])
    happened, meaning, todo = re.split(r"(?<=\.) (?=[A-Z])", description)
    assert all(sentence.endswith(".") for sentence in (happened, meaning, todo))
    assert len(description) <= 1024  # CloudWatch's limit
    assert "`" not in happened + meaning
    commands = re.findall(r"`([^`]+)`", todo)
    assert commands, todo
    for command in commands:
        program, *words = command.split()
        assert re.fullmatch(LOGS, command) if program == "aws" else is_command(words), command
        if "--queue" in words:
            assert words[words.index("--queue") + 1] in BOXES
