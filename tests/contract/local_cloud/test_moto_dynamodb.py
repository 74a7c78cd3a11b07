"""The local cloud's faster DynamoDB answers every call as moto's own does."""

import json
import subprocess
import sys

import pytest

from support.stacks import dynamodb_answers


@pytest.mark.heavy
def test_patched_dynamodb_answers_as_plain_moto() -> None:
    runs = [
        subprocess.Popen([sys.executable, dynamodb_answers.__file__, kind], stdout=subprocess.PIPE)
        for kind in ("patched", "plain")
    ]
    patched, plain = (json.loads(answers) for answers in [run.communicate()[0] for run in runs])
    assert [mine for mine, theirs in zip(patched, plain, strict=True) if mine != theirs] == []
    refused = [answer["Error"]["Code"] for *_, answer in plain if answer.get("Error")]
    assert {"TransactionCanceledException", "ValidationException"} <= set(refused)
    assert len(plain) - len(refused) > 250
