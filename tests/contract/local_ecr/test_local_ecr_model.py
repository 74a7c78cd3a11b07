"""Every operation of botocore's ECR model is served, or refused with a clear error; the table in docs says which."""

import json
import re
from pathlib import Path

import pytest

from support.images.builders import image
from support.servers.ecr import DEV, Served, identity
from support.servers.ecr_answers import value
from tallyman_local.ecr import model
from tallyman_local.ecr.api.calls import OPERATIONS
from tallyman_local.ecr.api.pull_through import REFUSED

DOCS = Path(__file__).resolve().parents[3] / "docs" / "local-ecr.md"


@pytest.fixture
def served(served: Served) -> Served:
    served.create()
    served.push(image("app"), "v1")
    return served


@pytest.mark.parametrize("operation", model.service().operation_names)
def test_every_operation_is_served_or_refused_with_an_error_of_its_own(served: Served, operation: str) -> None:
    """Called with parameters that the model accepts; each answer has the model's shape."""
    shape = model.service().operation_model(operation)
    assert shape.input_shape is not None
    assert shape.output_shape is not None
    given = {name: value(name, shape.input_shape.members[name]) for name in shape.input_shape.required_members}
    status, _, body = served.ecr.api(operation, json.dumps(given).encode(), DEV, identity(DEV.account))
    answer = json.loads(body)
    if operation in REFUSED:
        assert (status, answer["__type"]) == (400, "UnsupportedUpstreamRegistryException")
        assert answer["message"] == f"{operation} is not served by the local ECR: {REFUSED[operation]}."
    elif status == 200:
        assert set(answer) <= set(shape.output_shape.members)
    else:
        declared = {error.name for error in shape.error_shapes}
        assert status == 400
        assert answer["__type"] in declared, answer


def test_every_operation_of_the_model_is_listed() -> None:
    assert set(OPERATIONS) == set(model.service().operation_names)


def table() -> dict[str, str]:
    """Operation → its row in the table of docs/local-ecr.md."""
    rows = re.findall(r"^\| `([A-Z]\w+)` \| (.+?) \|$", DOCS.read_text("utf-8"), re.MULTILINE)
    return dict(rows)


def test_the_table_in_the_docs_agrees_with_the_code() -> None:
    expected = {name: REFUSED.get(name) for name in model.service().operation_names}
    found = table()
    assert set(found) == set(expected)
    for name, reason in expected.items():
        assert found[name].startswith("refused" if reason else "served"), name
        if reason:
            assert reason in found[name]


def test_every_test_named_in_the_docs_exists() -> None:
    sources = "".join(path.read_text("utf-8") for path in Path(__file__).parent.glob("test_local_ecr_*.py"))
    named = set(re.findall(r"`(test_\w+)`", DOCS.read_text("utf-8")))
    assert len(named) > 20
    assert {name for name in named if f"def {name}(" not in sources} == set()
