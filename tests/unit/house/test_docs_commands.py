"""Every command on the pages is valid: its real parser accepts it, or a list says why no test here can try it.

Those of `tallyman` in code blocks are also run, by tests/stack/test_docs_commands.py.
"""

import ast
import re
import shlex
from collections.abc import Callable
from functools import cache
from typing import Any

import botocore.session
import pytest
import typer
from botocore.exceptions import UnknownServiceError

from support.house.commands import COMMANDS, ROOT_COMMAND, options
from support.house.shown import (
    FENCE,
    LANGUAGES,
    NOT_HERE,
    OTHER,
    PAGES,
    PROGRAMS,
    Shown,
    in_blocks,
    in_text,
    of_another_state,
    outputs,
)
from support.house.sources import ROOT, nodes, text
from tallyman_cli.main import COMMANDS as ENTRIES

MAKEFILE = text(ROOT / "Makefile")
DATA = {"text", "yaml", "json", "hcl", "toml", "python"}
"""Languages of blocks without commands."""

ELSEWHERE = {
    "docker": "needs a Docker engine: tests/stack/*_docker.py push and pull with one",
    "sam": "needs an account of AWS, or what `make build` made",
    "git": "not ours; needs a clone",
    "pip": "needs the distribution on PyPI; tests/stack/test_wheel.py installs it from the checkout",
    "aws s3": "of the AWS CLI alone: no API has it, and it is not among the packages here",
    "aws ecr get-login-password": "of the AWS CLI alone",
    "aws cloudformation wait": "of the AWS CLI alone",
    ".ci/run": "runs all the tests, this one too",
    "tests/tools/widget-base.sh": "needs a Docker engine; test_build_docker.py runs it",
}
"""The beginnings of commands that nothing here parses, each with its reason."""

GLOBAL = {"--region", "--profile", "--query", "--output", "--endpoint-url"}
"""Options that every command of the AWS CLI takes."""


USAGE_ERROR: Any = typer.BadParameter.__base__
GROUPS = {path[:1] for path in COMMANDS}

SERVICES = {"s3api": "s3"}
"""What the AWS CLI calls otherwise than botocore."""


def words_of(line: str) -> list[str]:
    """The words of the first command of a pipe, without redirections."""
    return shlex.split(re.split(r" \| | >>? ?", line)[0])


def tallyman(words: list[str], whole: bool) -> None:
    """Parse complete commands with the real parser; for incomplete ones, check that the command and its options
    exist."""
    while words and words[0].startswith("-"):
        assert words[0] in options(ROOT_COMMAND)
        words = words[2:]
    if not words or words[0] in ("COMMAND", "…"):
        return
    path = next((tuple(words[:n]) for n in (2, 1) if tuple(words[:n]) in COMMANDS), None)
    if path is None:
        assert not whole, f"there is no command '{' '.join(words[:2])}'"
        assert (words[0],) in GROUPS
        assert words[1:] in ([], ["…"])
        return
    own = words[len(path) :]
    if whole:
        COMMANDS[path].make_context(" ".join(path), list(own))
        return
    for word in own[: own.index("--") if "--" in own else None]:
        if word.strip("[]").startswith("-"):
            assert word.strip("[]").partition("=")[0] in options(COMMANDS[path])


def make(words: list[str], whole: bool) -> None:
    """Check that the targets exist, and that the Makefile reads the variables."""
    for word in words:
        name, given, _ = word.partition("=")
        if given:
            assert f"$({name})" in MAKEFILE or f"$(or $({name})" in MAKEFILE or f"$(if $({name})" in MAKEFILE, name
        elif word != "…":
            assert re.search(rf"(?m)^{re.escape(word)}:", MAKEFILE), word


def python(words: list[str], whole: bool) -> None:
    """Check that the script exists and has the options; for pytest, that the tests exist."""
    if words[:2] == ["-m", "pytest"]:
        for word in words[2:]:
            if ".py" in word:
                file, _, name = word.partition("::")
                assert f"def {name}" in text(ROOT / file)
        return
    script = text(ROOT / words[0])
    for word in words[1:]:
        if word.strip("[]").startswith("--"):
            assert f'"{word.strip("[]")}"' in script


def aws(words: list[str], whole: bool) -> None:
    """Check that the service's model has the operation, and its input the options."""
    try:
        model = botocore.session.get_session().get_service_model(SERVICES.get(words[0], words[0]))
    except UnknownServiceError:
        raise AssertionError(f"AWS has no service {words[0]}") from None
    operations = {_kebab(name): name for name in model.operation_names}
    assert words[1] in operations, words[1]
    shape = model.operation_model(operations[words[1]]).input_shape
    members = {f"--{_kebab(name)}": name for name in (shape.members if shape else {})}
    members |= {f"--no-{_kebab(n)}": n for n, m in (shape.members if shape else {}).items() if m.type_name == "boolean"}
    given = [word for word in words[2:] if word.startswith("--")]
    assert [option for option in given if option not in members and option not in GLOBAL] == []
    if whole and shape:
        required = {option for option, name in members.items() if name in shape.required_members}
        assert required - set(given) == set()


def _kebab(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name).lower()


PARSERS: dict[str, Callable[[list[str], bool], None]] = {
    "tallyman": tallyman,
    ".venv/bin/tallyman": tallyman,
    "make": make,
    ".venv/bin/python": python,
    "aws": aws,
}


def parse(shown: Shown, whole: bool) -> None:
    line = re.sub(r"^\w+=\$\((.*)\)$", r"\1", shown.line)  # name=$(command): the command
    if any(line == known or line.startswith(f"{known} ") for known in ELSEWHERE):
        return
    words = words_of(line)
    assert words[0] in PARSERS, f"{shown}: run it in a test, parse it here, or say in ELSEWHERE why neither can be"
    PARSERS[words[0]](words[1:], whole)


@pytest.mark.parametrize("shown", sorted(set(in_blocks()), key=str), ids=str)
def test_every_command_of_a_block_is_valid(shown: Shown) -> None:
    parse(shown, whole="…" not in shown.line)


@pytest.mark.parametrize("shown", sorted(set(in_text()), key=str), ids=str)
def test_every_command_in_the_text_exists(shown: Shown) -> None:
    parse(shown, whole=False)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_has_a_known_language(page: Any) -> None:
    """A block of another language would hide commands; a fence that does not close would hide the rest of the page."""
    assert {language for _, language, _ in FENCE.findall(text(page))} <= DATA | set(LANGUAGES)
    assert len(re.findall(r"(?m)^ *```", text(page))) == 2 * len(FENCE.findall(text(page)))


@pytest.mark.parametrize(
    "line",
    [
        "tallyman retention plans dev/a",
        "tallyman why dev/a:v1 --into prod",
        "tallyman why dev/a:v1",
        "tallyman history",
        "tallyman local chaos --lose often",
        "make demonstration",
        "make deploy ENVIRONMENT=prod",
        "aws ecr describe-repository",
        "aws ecr create-repository --name rocketseat/widget-server",
        "aws ecr create-repository",
        "aws ecrs describe-repositories",
        ".venv/bin/python bench/imports.py --count",
        "podman push localhost:5101/rocketseat/widget-server:v1",
    ],
)
def test_an_invalid_command_is_found(line: str) -> None:
    with pytest.raises((AssertionError, FileNotFoundError, USAGE_ERROR)):
        parse(Shown("docs/new.md", line), whole=True)


def test_every_exception_is_still_needed() -> None:
    lines = [shown.line for shown in (*in_blocks(), *in_text())]
    assert [known for known in ELSEWHERE if not any(known in line for line in lines)] == []
    assert {"tallyman", "make", "aws"} <= set(PROGRAMS)


@cache
def texts_of(command: str) -> list[re.Pattern[str]]:
    """The texts of all modules in the command's room, with a wildcard for each field."""
    room = ROOT / "cli/tallyman_cli" / ENTRIES[command].target.partition(".")[0]
    found = []
    for file in sorted(room.rglob("*.py")):
        for node in nodes(file):
            if isinstance(node, ast.JoinedStr):
                parts = [str(each.value) if isinstance(each, ast.Constant) else None for each in node.values]
                if any(re.search("[a-z]{2}", part or "") for part in parts):
                    found.append(re.compile("".join(".*" if part is None else re.escape(part) for part in parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
                found.append(re.compile(re.escape(node.value) + ".*"))
    return found


def nobody_prints(command: str, printed: str) -> list[str]:
    """The lines that no text of the command's room produces; rows of tables, and data without a word, are skipped."""
    said = [
        line
        for line in printed.splitlines()
        if re.search(r"(?<![\w/.:-])[a-z]{2,}(?![\w/.-])", line) and " " in line.strip() and "  " not in line.strip()
    ]
    return [line for line in said if not any(known.fullmatch(line) for known in texts_of(command))]


OUTPUTS = [each for page in PAGES for each in outputs(text(page))]


@pytest.mark.parametrize(
    ("line", "printed"),
    [each for each in OUTPUTS if of_another_state(*each) or any(each[0].startswith(known) for known in NOT_HERE)],
)
def test_outputs_that_no_test_runs_match_their_code(line: str, printed: str) -> None:
    """tests/stack/test_docs_commands.py compares the other outputs with those of a real run."""
    assert nobody_prints(line.split()[1], printed) == []


def test_an_output_that_no_code_prints_is_found() -> None:
    assert nobody_prints("build", "built by hand\nthe image is in the cloud\n") == ["the image is in the cloud"]
    for words, begin in OTHER:
        assert any(line.startswith(f"tallyman {words}") and printed.startswith(begin) for line, printed in OUTPUTS)
