"""Errors, exit statuses and output streams: the same for every command."""

import io
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from rich.text import Text
from typer.testing import CliRunner

import tallyman
from support.fakes.cli_stack import POLICY, FakeStack
from support.images.builders import DEV, image
from tallyman.adapters.files import policy_file
from tallyman.domain.text import LINES, visible
from tallyman.errors import BadInput, DigestMismatch, Refused, Throttled
from tallyman.services.deciding.policy_in_force import publish
from tallyman_cli.copy import copy
from tallyman_cli.main import app
from tallyman_cli.shared import aws, context, output

HISTORY = ("history", "dev/rocketseat/widget-server")


def raising(error: Exception) -> Any:
    """A `connect` that fails."""

    def connect(*arguments: Any) -> context.Stack:
        raise error

    return connect


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (BadInput("no such thing"), 2),
        (Refused("not allowed"), 1),
        (Throttled("slow down"), 1),
        (DigestMismatch("other bytes"), 1),
        (KeyError("surprise"), 1),
    ],
)
def test_every_error_is_one_message_on_stderr(
    system: FakeStack, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    monkeypatch.setattr(context, "connect", raising(error))
    result = system.run(*HISTORY)
    assert (result.exit_code, result.stdout) == (status, "")
    assert str(error) in result.stderr
    assert len(result.stderr.splitlines()) == 1
    as_json = system.run(*HISTORY, "--json")
    assert as_json.exit_code == status
    assert str(error) in json.loads(as_json.stdout)["error"]


def test_debugging_shows_the_traceback(system: FakeStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "connect", raising(BadInput("no such thing")))
    result = system.run(*HISTORY, TALLYMAN_DEBUG="1")
    assert result.exit_code == 2
    assert "Traceback" in result.stderr


def test_json_mode_does_not_outlive_its_command(system: FakeStack) -> None:
    assert system.run(*HISTORY, "--json").stdout == "[]\n"
    assert system.run(*HISTORY, "--at", "never").stdout == ""


def test_the_version_is_printed(system: FakeStack) -> None:
    assert system.run("--version").stdout == f"tallyman {tallyman.__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("history",),
        ("why", "dev/app:v1"),
        ("history", "--nonsense"),
        ("local", "settle", "--timeout", "-1"),
    ],
)
def test_usage_errors_exit_2(system: FakeStack, arguments: tuple[str, ...]) -> None:
    result = system.run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    as_json = system.run(*arguments, "--json")
    assert as_json.exit_code == 2
    assert json.loads(as_json.stdout)["error"] in " ".join(as_json.stderr.split())


def test_the_json_option_of_an_executed_command_is_not_ours(system: FakeStack) -> None:
    result = system.run("local", "nonsense", "--", "true", "--json")
    assert (result.exit_code, result.stdout) == (2, "")


def test_options_before_and_after_the_command_are_equivalent(
    monkeypatch: pytest.MonkeyPatch, system: FakeStack
) -> None:
    monkeypatch.undo()
    asked: list[str] = []

    def find(name: str) -> Any:
        asked.append(name)
        raise BadInput("none here")

    monkeypatch.setattr(aws, "find_stack", find)
    for name in ("TALLYMAN_POLICY", "TALLYMAN_STACK"):
        monkeypatch.delenv(name, raising=False)
    system.run("--stack", "one", *HISTORY)
    system.run(*HISTORY, "--stack", "two")
    system.run("--stack", "one", *HISTORY, "--stack", "two")
    system.run(*HISTORY)
    system.run(*HISTORY, TALLYMAN_STACK="three")
    assert asked == ["one", "two", "two", "tallyman", "three"]


def test_an_invalid_policy_is_bad_input_before_any_request(
    monkeypatch: pytest.MonkeyPatch, system: FakeStack, tmp_path: Path
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(aws, "find_stack", raising(AssertionError("asked")))
    file = tmp_path / "policy.yaml"
    file.write_text("environmens: {}\n")
    result = system.run(*HISTORY, "--policy", str(file))
    assert result.exit_code == 2
    assert f"{file}:1" in result.stderr


# --- the policy


def test_without_a_file_the_active_policy_is_used(system: FakeStack) -> None:
    publish(system.policy, system.archive, system.ledger, system.state, system.clock)
    system.stack.given = None
    system.push(image("one"), "v1.0.0")
    assert len(system.json(*HISTORY)) == 1


def test_the_active_trust_file_is_used_and_a_different_one_reported(system: FakeStack) -> None:
    for roots in ("sha256:1", None, "sha256:2"):
        policy = replace(system.policy, roots=roots)
        assert publish(policy, system.archive, system.ledger, system.state, system.clock)
        assert not publish(policy, system.archive, system.ledger, system.state, system.clock)
        stack = replace(system.stack, given=None, _in_force=None)
        assert stack.policy.roots == stack.policy_at(system.clock()).roots == roots
        system.clock.advance(seconds=1)


def test_without_an_active_policy_a_function_is_invoked_that_records_it(system: FakeStack) -> None:
    system.stack.given = None

    def woken(payload: Any) -> dict[str, Any]:
        publish(system.policy, system.archive, system.ledger, system.state, system.clock)
        return {}

    system.reconciled = woken
    assert system.run(*HISTORY).exit_code == 0
    assert system.sweeps == [{"repositories": []}]


def test_if_no_policy_becomes_active_the_message_says_what_to_do(system: FakeStack) -> None:
    system.stack.given = None
    result = system.run(*HISTORY)
    assert result.exit_code == 2
    assert "--policy" in result.stderr


def test_a_policy_file_wins_over_the_active_policy(system: FakeStack, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY.replace("dev:", "test:").replace("from: dev", "from: test"))
    result = system.run("history", "dev/rocketseat/widget-server", "--policy", str(file))
    assert result.exit_code == 2
    assert "test, prod" in result.stderr


def test_a_policy_without_environments_has_the_hub_as_its_only_one(system: FakeStack) -> None:
    plain = policy_file.loads(b"repositories: []\n")
    publish(plain, system.archive, system.ledger, system.state, system.clock)
    system.stack.given = None
    system.push(image("one"), "v1.0.0")
    assert len(system.json("history", "main/rocketseat/widget-server")) == 1


# --- finding the stack


class FakeAws:
    """botocore's session with the two clients that find a stack."""

    def __init__(self, outputs: dict[str, str] | None, region: str | None = "us-east-2") -> None:
        self.outputs, self.region = outputs, region

    def get_config_variable(self, name: str) -> str | None:
        return {"region": self.region, "data_path": None}[name]

    def register_component(self, name: str, component: Any) -> None:
        assert name == "data_loader"

    def create_client(self, service: str, **more: Any) -> "FakeAws":
        return self

    def get_caller_identity(self) -> dict[str, str]:
        return {"Account": DEV.registry.account}

    def describe_stacks(self, StackName: str = "") -> dict[str, Any]:
        if self.outputs is None and not StackName:
            return {"Stacks": []}
        if self.outputs is None:
            from botocore.exceptions import ClientError

            answer = {"Code": "ValidationError", "Message": f"Stack with id {StackName} does not exist"}
            raise ClientError({"Error": answer, "ResponseMetadata": {"HTTPStatusCode": 400}}, "DescribeStacks")  # type: ignore[typeddict-item]
        return {"Stacks": [{"Outputs": [{"OutputKey": k, "OutputValue": v} for k, v in self.outputs.items()]}]}


def found(monkeypatch: pytest.MonkeyPatch, fake: FakeAws) -> Any:
    """The result of `find_stack`."""
    monkeypatch.setattr(botocore.session, "get_session", lambda: fake)
    return aws.find_stack("tallyman")


def test_a_stack_is_found_by_its_outputs_in_the_account_of_the_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = dict.fromkeys(aws.NEEDED, "x")
    assert found(monkeypatch, FakeAws(outputs)) == (outputs, DEV.registry)


def test_without_a_stack_the_message_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput, match=r"no stack 'tallyman' in 111111111111/us-east-2.*--stack.*make deploy"):
        found(monkeypatch, FakeAws(None))
    with pytest.raises(BadInput, match="AWS_REGION"):
        found(monkeypatch, FakeAws({}, region=None))
    with pytest.raises(BadInput, match="not Tallyman's"):
        found(monkeypatch, FakeAws({"Something": "else"}))


def test_in_the_shell_of_an_ended_local_cloud_the_message_says_so_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    with pytest.raises(BadInput, match=rf"127.0.0.1:{port}.*the local cloud of this shell has ended.*local start"):
        found(monkeypatch, FakeAws(dict.fromkeys(aws.NEEDED, "x")))


@pytest.mark.parametrize("url", ["http://127.0.0.1:99999", "http://localhost:port", "http://[::1", "127.0.0.1:4566"])
def test_an_endpoint_that_is_no_url_is_named(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    with pytest.raises(BadInput, match=rf"AWS_ENDPOINT_URL={re.escape(url)}: expected a URL"):
        found(monkeypatch, FakeAws(dict.fromkeys(aws.NEEDED, "x")))


@pytest.mark.parametrize("line", [("history", "dev/x"), (), ("event", "make", "push"), ("local",), ("letters",)])
@pytest.mark.parametrize("prefix", ["", "--"])
def test_a_usage_error_quotes_hostile_arguments_as_escapes(line: tuple[str, ...], prefix: str) -> None:
    result = CliRunner().invoke(app, [*line, f"{prefix}\x1b[2J\u202e"])
    assert result.exit_code == 2
    assert result.output == visible(result.output, LINES)
    assert r"\x1b[2J" in result.output


@pytest.mark.parametrize("line", [("local", "chaos", "--delay"), ("local", "scan", "dev/x:v1", "--finding")])
def test_the_local_commands_quote_hostile_arguments_as_escapes(line: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, [*line, "\x1b[2J\u202e"])
    assert result.exit_code == 2
    assert result.output == visible(result.output, LINES)


def test_a_copy_quotes_hostile_arguments_as_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        copy.parser().parse_args(["a", "b", "--\x1b[2J\u202e"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said == visible(said, LINES)
    assert r"\x1b[2J" in said


@pytest.mark.parametrize(
    "line",
    [
        ("event", "make", "--to", "{file}"),
        ("tag", "suggest", "{long}"),
        ("event", "make", "--to", "{loop}"),
        ("build", "{file}"),
    ],
)
def test_a_file_or_folder_that_cannot_be_used_is_bad_input(line: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    named = {"file": tmp_path / "file", "loop": tmp_path / "loop", "long": tmp_path / ("a" * 300)}
    result = CliRunner().invoke(app, [word.format(**named) for word in line])
    assert result.exit_code == 2
    assert str(tmp_path) in result.output
    assert "a fault in tallyman" not in result.output


@pytest.mark.parametrize("number", ["nan", "inf", "-1", "1e300", "99999999999999999999"])
@pytest.mark.parametrize(
    "line",
    [
        ("history", "dev/x", "--limit"),
        ("verify", "dev/x:v1", "--timeout"),
        ("watch", "--for"),
        ("local", "settle", "--timeout"),
        ("local", "chaos", "--lose"),
        ("local", "chaos", "--double"),
        ("local", "scan", "x", "--critical"),
    ],
    ids=" ".join,
)
def test_a_number_out_of_range_is_bad_input(line: tuple[str, ...], number: str) -> None:
    result = CliRunner().invoke(app, [*line, number])
    assert result.exit_code == 2
    assert line[-1] in result.output


# --- terminals


def test_on_a_terminal_digests_are_short_and_marks_have_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    digest = "sha256:" + "a" * 64
    output.table([{"digest": digest, "verdict": "failed"}])
    shown = screen.getvalue()
    assert "sha256:aaaaaaaaaaaa " in shown
    assert digest not in shown
    assert "\x1b[31m✗ failed" in shown


@pytest.mark.parametrize("write", [output.data, output.json_line])
def test_json_contains_no_control_characters(
    write: Callable[[object], None], capsys: pytest.CaptureFixture[str]
) -> None:
    said = {"who": "Ana \x1b[2J \x9b2J \u202e é"}
    write(said)
    shown = capsys.readouterr().out
    assert json.loads(shown) == said
    assert "é" in shown
    assert shown.replace("\n", "").isprintable()


def test_without_a_terminal_a_row_of_any_length_is_one_line_without_colour(capsys: pytest.CaptureFixture[str]) -> None:
    output.table([{"a": "x" * 5000, "": "", "c": Text("y", style="red"), "d": None, "e": 0}])
    assert capsys.readouterr().out.splitlines()[1] == "x" * 5000 + "  y  0"


@pytest.mark.parametrize(
    ("count", "text"),
    [(None, "?"), (0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2_340_000, "2.3 MB"), (5e9, "5.0 GB")],
)
def test_sizes_are_in_the_units_of_registries(count: int | None, text: str) -> None:
    assert output.size(count) == text


def test_on_a_narrow_terminal_rows_stay_intact_and_sentences_wrap(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    def shown(row: dict[str, str]) -> list[str]:
        screen = Terminal()
        monkeypatch.setattr(sys, "stdout", screen)
        output.table([row])
        return [line for line in screen.getvalue().splitlines()[1:] if line]

    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert shown({"at": "x" * 20, "image": "y" * 90}) == ["x" * 20 + "  " + "y" * 90]
    assert len(shown({"gate": "scan", "reason": "word " * 40})) > 2


def test_a_row_of_more_than_two_lines_is_shown_as_a_record(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    row = {"image": "y" * 50, "gate": "", "verdict": "failed", "reason": "no scan yet " * 5}
    output.table([row, {**row, "gate": "scan"}])
    sentence = ["reason   no scan yet no scan yet no scan", "         yet no scan yet no scan yet"]
    assert re.sub(r"\x1b\[[0-9]*m", "", screen.getvalue()).splitlines() == [
        "image    " + "y" * 50,
        "verdict  ✗ failed",
        *sentence,
        "",
        "image    " + "y" * 50,
        "gate     scan",
        "verdict  ✗ failed",
        *sentence,
    ]


def test_no_command_waits_for_the_clients_of_another() -> None:
    program = (
        "import sys, tallyman_cli.main; print(sorted({'botocore', 'urllib3', 'urllib.request'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("option", ["--region", "--utc", "-q", "--no-pager", "--version"])
def test_the_error_for_an_option_of_all_commands_after_the_command_says_where_it_goes(option: str) -> None:
    result = CliRunner().invoke(app, ["pending", option])
    assert result.exit_code == 2
    assert f"{option} comes before the command, as in `tallyman {option} …`" in result.stderr


def test_a_wrong_choice_is_named_without_a_word_of_the_parser() -> None:
    result = CliRunner().invoke(app, ["completion", "tcsh"])
    assert (result.exit_code, "Value error" in result.stderr) == (2, False)
    assert "'tcsh' is not one of" in result.stderr


def test_no_argument_is_in_brackets_twice(system: FakeStack) -> None:
    for group in (("pending",), ("build",), ("letters", "replay"), ("list",), ("local", "exec")):
        usage = system.run(*group, "--help").stdout.splitlines()[0]
        assert not re.search(r"\[\[|\{\[|…", usage), usage
