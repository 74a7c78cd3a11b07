"""Only `state/` builds keys of the state table, creates its items, or reads their raw data; only
`domain/history/details/` reads or builds the detail of a fact."""

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from support.house.sources import nodes

ROOT = Path(__file__).resolve().parents[3]
CORE = ROOT / "layers/core/src/tallyman"
KEY = re.compile(r"(T|R|P|REL|F|L|M|RO|U|WATCH|TRIP|S|A|RT)#")
ALLOWED = {
    CORE / "adapters/dynamodb/codec.py",  # how items are stored in DynamoDB; keys of the ledger's own indexes
    CORE / "adapters/dynamodb/tables.py",  # the ledger's own indexes
    ROOT / "cli/tallyman_cli/copy/kept_uploads.py",  # items in files
}
FILES = sorted(
    path
    for folder in ("layers/core/src", "functions", "cli", "local")
    for path in (ROOT / folder).rglob("*.py")
    if not path.is_relative_to(CORE / "state") and path not in ALLOWED
)

DETAILS_ALLOWED = {
    CORE / "domain/history/facts.py",  # the partition of a fact
    CORE / "services/shared/long_details.py",  # long details of any kind, split and combined
    CORE / "adapters/dynamodb/codec.py",  # how facts are stored in DynamoDB
}
DETAIL_FILES = [
    path
    for path in (*FILES, *(ROOT / "bench").rglob("*.py"))
    if not path.is_relative_to(CORE / "domain/history/details") and path not in DETAILS_ALLOWED
]


def found(path: Path) -> Iterator[str]:
    for node in nodes(path):
        where = f"line {getattr(node, 'lineno', 0)}"
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in ("StateItem", "StateChange")
        ):
            yield f"{where}: makes a {node.func.id}"
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and KEY.match(node.value):
            yield f"{where}: builds the key {node.value!r}"
        raw = node.value if isinstance(node, ast.Subscript | ast.Attribute) else None
        if isinstance(raw, ast.Attribute) and raw.attr == "data" and "item" in ast.unparse(raw.value):
            yield f"{where}: reads {ast.unparse(node)}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_only_state_uses_its_keys_and_data(path: Path) -> None:
    assert list(found(path)) == []


NOT_FACTS = {"seen.detail"}
"""Other things with an attribute `detail`: what a sweep saw of an image."""


def raw_details(code: Iterable[ast.AST]) -> Iterator[str]:
    for node in code:
        if isinstance(node, ast.Attribute) and node.attr == "detail" and ast.unparse(node) not in NOT_FACTS:
            yield f"line {node.lineno}: reads {ast.unparse(node)}"
        for keyword in node.keywords if isinstance(node, ast.Call) else ():
            if keyword.arg == "detail" and isinstance(keyword.value, ast.Dict | ast.BinOp):
                yield f"line {keyword.value.lineno}: builds {ast.unparse(keyword.value)}"


@pytest.mark.parametrize("path", DETAIL_FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_only_details_uses_the_detail_of_a_fact(path: Path) -> None:
    assert list(raw_details(nodes(path))) == []


@pytest.mark.parametrize("code", ["fact.detail['to']", "f.detail.get('to')", "d = x.detail", "Fact(detail={'to': 1})"])
def test_a_raw_detail_is_found(code: str) -> None:
    assert len(list(raw_details(ast.walk(ast.parse(code))))) == 1
