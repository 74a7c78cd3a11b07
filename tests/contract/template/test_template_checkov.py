"""checkov's findings are explained in the templates; compared with today's findings once `make checkov` has run."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tools.checkov import TEMPLATES, exceptions, unexplained

from support.stacks.templates import ROOT

CHECKOV = ROOT / ".venv-checkov/bin/checkov"


def report(*failed: tuple[str, str, str]) -> dict[str, Any]:
    rows = [{"file_path": f"/{n}.json", "check_id": c, "resource": r, "check_name": "Ensure"} for n, c, r in failed]
    return {"summary": {"passed": 1, "parsing_errors": 0}, "results": {"failed_checks": rows}}


def test_a_finding_needs_a_reason_in_its_own_template_and_for_its_type() -> None:
    texts = {"a.yaml": "  # checkov CKV_AWS_18 Bucket: the ledger names who wrote what\n", "b.yaml": ""}
    explained = ("a", "CKV_AWS_18", "AWS::S3::Bucket.Archive")
    assert unexplained(report(explained), texts) == []
    for other in (
        ("b", "CKV_AWS_18", "AWS::S3::Bucket.Archive"),
        ("a", "CKV_AWS_19", "AWS::S3::Bucket.Archive"),
        ("a", "CKV_AWS_18", "AWS::SQS::Queue.Archive"),
    ):
        (wrong,) = unexplained(report(explained, other), texts)
        assert other[2] in wrong


def test_an_unused_exception_is_reported() -> None:
    texts = {"a.yaml": "# checkov CKV_AWS_18 Bucket: the ledger names who wrote what\n"}
    assert unexplained(report(), texts) == ["a.yaml: CKV_AWS_18 Bucket is explained, and no longer found"]


def test_an_exception_without_a_reason_does_not_count() -> None:
    assert exceptions("# checkov CKV_AWS_18 Bucket:\n# checkov CKV_AWS_18 Bucket: no\n") == set()


@pytest.mark.heavy
@pytest.mark.skipif(not CHECKOV.exists(), reason="no checkov here: make checkov installs it")
def test_every_finding_of_today_is_explained() -> None:
    command = [sys.executable, str(ROOT / "tests/tools/checkov.py"), str(CHECKOV)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert Path(ROOT / TEMPLATES[0]).exists()
