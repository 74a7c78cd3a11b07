"""Every constraint of botocore's ECR model, broken one at a time, and every error code of the local ECR."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.loaders import Loader
from botocore.model import ListShape, MapShape, Shape, StructureShape

from support.servers.ecr import DEV, Served, identity
from support.servers.ecr_answers import value
from tallyman_local.ecr import model
from tallyman_local.ecr.errors import OCI

SOURCES = Path(model.__file__).parent
Way = tuple[str, ...]  # keys and indexes from a request's parameters to one value
Breach = tuple[Way, Any, str]  # path, invalid value, expected message


def breaches(name: str, shape: Shape, way: Way = ()) -> Iterator[Breach]:  # noqa: C901 - a table: what breaks each kind of constraint
    """Yield every way to break a constraint of a shape or of its members."""
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    whole = shape.type_name in ("integer", "long")
    if isinstance(shape, StructureShape):
        for key, member in shape.members.items():
            if key in shape.required_members:
                yield (*way, key), None, "must not be null"
            yield from breaches(key, member, (*way, key))
        return
    if isinstance(shape, MapShape):
        return
    if isinstance(shape, ListShape):
        if low:
            yield way, [], f"must have length greater than or equal to {low}"
        if high:
            yield way, [value(name, shape.member)] * (high + 1), f"must have length less than or equal to {high}"
        yield from breaches(name, shape.member, (*way, "0"))
        return
    if shape.type_name == "blob":
        return  # tested elsewhere: 20 MiB
    if choices := shape.metadata.get("enum"):
        assert "coffee" not in choices
        yield way, "coffee", "Member must satisfy enum value set"
        return
    if low:
        yield way, low - 1 if whole else "a" * (low - 1), f"greater than or equal to {low}"
    if high and (whole or high < 1 << 16):
        yield way, high + 1 if whole else "a" * (high + 1), f"less than or equal to {high}"
    if pattern := shape.metadata.get("pattern"):
        for odd in ("\u00e9\n", "_/ ", "!" * max(low or 1, 1)):
            if not re.fullmatch(pattern, odd) and (low or 0) <= len(odd) <= (high or 99):
                yield way, odd, "must satisfy regular expression"
                return


def put(parameters: Any, shape: Shape, way: Way, given: Any) -> Any:
    """The parameters with one value replaced; missing parents are created."""
    if not way:
        return given
    if isinstance(shape, ListShape):
        return [put(value("", shape.member), shape.member, way[1:], given)]
    assert isinstance(shape, StructureShape)
    before = parameters if isinstance(parameters, dict) else {}
    member = shape.members[way[0]]
    if isinstance(member, StructureShape) and len(way) > 1:
        inner: Any = {key: value(key, member.members[key]) for key in member.required_members}
    else:
        inner = before.get(way[0])
    return {**before, way[0]: put(inner, member, way[1:], given)}


def input_of(operation: str) -> StructureShape:
    shape = model.service().operation_model(operation).input_shape
    assert shape is not None
    return shape


CASES = [
    pytest.param(operation, way, given, said, id=f"{operation}-{'.'.join(way)}-{said[:24]}")
    for operation in model.service().operation_names
    for way, given, said in breaches("", input_of(operation))
]


def test_there_are_constraints_to_break() -> None:
    assert len(CASES) > 300


@pytest.mark.parametrize(("operation", "way", "given", "said"), CASES)
def test_a_broken_constraint_is_refused(served: Served, operation: str, way: Way, given: Any, said: str) -> None:
    shape = input_of(operation)
    parameters = {name: value(name, shape.members[name]) for name in shape.required_members}
    payload = json.dumps(put(parameters, shape, way, given)).encode()
    status, _, body = served.ecr.api(operation, payload, DEV, identity(DEV.account))
    answer = json.loads(body)
    assert (status, answer["__type"]) == (400, "InvalidParameterException"), answer
    assert said in answer["message"]


def test_a_part_of_a_layer_has_at_most_20_mib(served: Served) -> None:
    served.create()
    part = "A" * ((20971520 // 3 + 2) * 4)
    asked: dict[str, Any] = {
        "repositoryName": "rocketseat/widget-server",
        "uploadId": "0" * 8 + "-0000-0000-0000-" + "0" * 12,
    }
    status, answer = served.api("UploadLayerPart", **asked, partFirstByte=0, partLastByte=9, layerPartBlob=part)
    assert (status, answer["__type"]) == (400, "InvalidParameterException")
    assert "'layerPartBlob' failed to satisfy constraint: 'must have length less than" in answer["message"]


def codes() -> Iterator[tuple[str, str]]:
    """(File, code) of each error code in the local ECR's sources."""
    for path in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                if re.fullmatch(r"[A-Z][A-Za-z]+Exception", node.value):
                    yield path.name, node.value
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "EcrError":
                first = node.args[0]
                if isinstance(first, ast.Constant):
                    yield path.name, str(first.value)


def test_every_error_code_is_one_of_the_models_or_of_every_aws_api() -> None:
    known = {shape.name for shape in model.service().error_shapes} | model.COMMON | {"NotFoundException"}  # a suffix
    assert {(file, code) for file, code in codes() if code not in known} == set()
    over_http = {"ImageReferencedByManifestList"}  # a failure of BatchDeleteImage that DELETE over `/v2/` answers with
    assert set(OCI) - known == over_http


def test_an_error_that_the_model_does_not_list_is_a_fault_of_the_local_ecr() -> None:
    assert "TemplateNotFoundException" not in model.errors("DescribeRepositoryCreationTemplates")
    assert "RepositoryNotFoundException" in model.errors("PutImage")
    assert model.errors("MakeCoffee") == model.COMMON


def test_pages_are_refused_beside_names_where_the_model_says_so() -> None:
    documented: dict[str, str] = {}
    shapes = Loader().load_service_model("ecr", "service-2")["shapes"]
    for name, shape in shapes.items():
        for member in ("maxResults", "nextToken"):
            text = re.sub(
                "<[^>]+>|\\s+|&#x2028;", " ", shape.get("members", {}).get(member, {}).get("documentation", "")
            )
            if found := re.search(r"cannot be used when you specify \w+ with\s+(\w+)", text):
                documented[name.removesuffix("Request")] = found[1]
    assert documented == model.NO_PAGES_BESIDE


@pytest.mark.parametrize("paging", [{"maxResults": 5}, {"nextToken": "e30="}])
@pytest.mark.parametrize(
    ("operation", "names"),
    [
        ("DescribeImages", {"imageIds": [{"imageTag": "v1"}]}),
        ("DescribeRepositories", {"repositoryNames": ["rocketseat/widget-server"]}),
        ("GetLifecyclePolicyPreview", {"imageIds": [{"imageTag": "v1"}]}),
    ],
)
def test_a_page_beside_names_is_refused(
    served: Served, operation: str, names: dict[str, Any], paging: dict[str, Any]
) -> None:
    served.create()
    where: dict[str, Any] = (
        {} if operation == "DescribeRepositories" else {"repositoryName": "rocketseat/widget-server"}
    )
    status, answer = served.api(operation, **where, **names, **paging)
    assert (status, answer["__type"]) == (400, "InvalidParameterException")
    assert answer["message"].startswith(f"Invalid parameter at '{next(iter(paging))}'")
