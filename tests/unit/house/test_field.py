"""docs/field.md: every test that it names exists, and every kind of fault names a test."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in (ROOT / "docs/field.md").read_text("utf-8").splitlines()
    if line.startswith("| ") and not line.startswith("| fault |")
]


def test_the_page_has_its_rows() -> None:
    assert len(ROWS) > 50
    assert [row for row in ROWS if len(row) != 3] == []


@pytest.mark.parametrize(("fault", "source", "tests"), ROWS, ids=[row[0][:60] for row in ROWS])
def test_every_fault_has_a_source_and_existing_tests(fault: str, source: str, tests: str) -> None:
    assert source.startswith(("trial", "report: "))
    named = re.findall(r"`(tests/\S+\.py)::(\w+)`", tests)
    assert len(named) == tests.count("`") // 2 > 0
    for file, name in named:
        assert re.search(rf"(?m)^def {name}\(", (ROOT / file).read_text("utf-8")), f"{file}::{name}"
