"""Rules of style that no linter holds: plain words, explained exceptions, no shortcuts out of the interpreter."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.house.sources import nodes, text

ROOT = Path(__file__).resolve().parents[3]
ROOMS = ("layers/core/src", "layers/origin/src", "cli", "local", "functions")
SOURCES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
OTHERS = [path for room in ("tests", "bench") for path in sorted((ROOT / room).rglob("*.py")) if path != Path(__file__)]
TEMPLATES = [ROOT / "template.yaml", ROOT / "spoke.yaml", ROOT / "build.yaml", ROOT / "chat.yaml", ROOT / "page.yaml"]

PHRASES = re.compile(
    r"\b(is|are) told\b|\btells? of\b|\bgoes by\b|\ba word for the log\b|\bnobody is at\b|\bat the door\b"
    r"|\bdoor of (an|one) environment\b|\b(is|are|was|were|be|been) written down\b|\bwrites down\b|\bfor ever\b",
    re.IGNORECASE,
)
"""Sentences that have to be read twice. Say "records", "is announced", "uses", "candidate", "permanently"."""

UNEXPLAINED = re.compile(r"# noqa: (?:[A-Z0-9]+, )*(?:PLR0913|C901)(?:, [A-Z0-9]+)*(?! - \S)(?:$|[^,0-9A-Z ]| (?!- ))")


def matching(pattern: re.Pattern[str], paths: list[Path]) -> Iterator[tuple[Path, str]]:
    """The modules whose text matches anywhere, each with its text: few have to be taken apart."""
    for path in paths:
        if pattern.search(" ".join((source := text(path)).split())):
            yield path, source


def words(source: str) -> Iterator[tuple[int, str]]:
    """The strings and comments of a module, each with its line; names and operators are left out."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in (tokenize.STRING, tokenize.COMMENT):
            yield token.start[0], " ".join(token.string.split())


def test_texts_are_in_plain_words() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {match[0]}"
        for path, source in matching(PHRASES, SOURCES + OTHERS)
        for line, said in words(source)
        for match in PHRASES.finditer(said)
    ]
    found += [f"{path.name}: {match[0]}" for path in TEMPLATES for match in PHRASES.finditer(path.read_text("utf-8"))]
    assert found == []


def test_no_name_is_told() -> None:
    """An observation, a verdict, an answer: not `told`."""
    found = [
        f"{path.relative_to(ROOT)}:{token.start[0]}: {token.string}"
        for path, source in matching(re.compile("told", re.IGNORECASE), SOURCES + OTHERS)
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.NAME and token.string.strip("_").lower() == "told"
    ]
    assert found == []


def test_os_exit_is_used_only_where_nothing_else_may_run() -> None:
    """Between fork and exec nothing else may run; a thread that hangs in a system call can't be interrupted."""
    found = [
        str(path.relative_to(ROOT))
        for path, _ in matching(re.compile("_exit"), SOURCES)
        for node in nodes(path)
        if isinstance(node, ast.Attribute) and node.attr == "_exit"
    ]
    assert sorted(found) == ["cli/tallyman_cli/copy/interrupt.py", "cli/tallyman_cli/local/exec_command.py"]


def test_texts_are_tested_with_isdecimal_not_isdigit() -> None:
    """`"²".isdigit()` is true, and `int` refuses it. Bytes have no `isdecimal`."""
    found = [
        str(path.relative_to(ROOT))
        for path, _ in matching(re.compile("isdigit|isnumeric"), SOURCES)
        for node in nodes(path)
        if isinstance(node, ast.Attribute) and node.attr in ("isdigit", "isnumeric")
    ]
    assert found == ["cli/tallyman_cli/build/git.py"]


@pytest.mark.parametrize("room", ["layers", "cli", "local", "functions", "tests", "bench"])
def test_exceptions_from_argument_and_complexity_limits_have_reasons(room: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in sorted((ROOT / room).rglob("*.py"))
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if UNEXPLAINED.search(line)
    ]
    assert found == []


def test_mypy_and_the_limits_cover_all_code() -> None:
    settings = (ROOT / "pyproject.toml").read_text("utf-8")
    assert 'files = ["layers/core", "layers/origin", "cli", "local", "functions", "tests", "bench"]' in settings
    assert '"C901", "PLR0913"' in settings
