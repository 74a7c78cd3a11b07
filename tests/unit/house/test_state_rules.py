"""Nobody but `state/` builds a key of the state table, makes its items, or reads their raw data."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
CORE = ROOT / "layers/core/src/tallyman"
KEY = re.compile(r"(T|R|P|REL|F|L|M|RO|U|WATCH|TRIP|S|A|RT)#")
ALLOWED = {
    CORE / "adapters/dynamodb/codec.py",  # how items lie in DynamoDB; keys of the ledger's own indexes
    CORE / "adapters/dynamodb/tables.py",  # the ledger's own indexes
    ROOT / "cli/tallyman_cli/copy/kept_uploads.py",  # items in files
}
FILES = sorted(
    path
    for folder in ("layers/core/src", "functions", "cli", "local")
    for path in (ROOT / folder).rglob("*.py")
    if not path.is_relative_to(CORE / "state") and path not in ALLOWED
)


def found(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
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
def test_nobody_but_state_knows_its_keys_and_data(path: Path) -> None:
    assert list(found(path)) == []
