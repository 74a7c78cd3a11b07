"""Check requests against ECR's own service model (botocore's), and shape answers by it."""

import base64
import binascii
import json
import re
from datetime import UTC, datetime
from functools import cache
from typing import Any

from botocore.loaders import Loader
from botocore.model import ListShape, MapShape, OperationModel, ServiceModel, Shape, StructureShape

from tallyman_local.ecr.errors import EcrError, invalid, not_one_of

_TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str, "integer": int, "long": int, "boolean": bool, "double": (int, float), "float": (int, float),
    "timestamp": (int, float), "blob": str, "list": list, "map": dict, "structure": dict,
}  # fmt: skip

#: Errors of any operation: of the protocol, of IAM and of throttling. The model lists them for no operation (ECR's API
#: reference, "Common Errors").
COMMON = frozenset(
    {
        "AccessDeniedException",
        "SerializationException",
        "ServiceUnavailable",
        "ThrottlingException",
        "UnknownOperationException",
        "UnrecognizedClientException",
    }
)
#: Operation → the parameter with which it takes no paging ("cannot be used when you specify …" in the model).
NO_PAGES_BESIDE = {
    "DescribeImages": "imageIds",
    "DescribeRepositories": "repositoryNames",
    "GetLifecyclePolicyPreview": "imageIds",
}
_PART = re.compile(rb'"layerPartBlob" *: *"([A-Za-z0-9+/=]{16,})"')


@cache
def service() -> ServiceModel:
    """The model of the installed botocore."""
    return ServiceModel(Loader().load_service_model("ecr", "service-2"), "ecr")


def operation(name: str) -> OperationModel | None:
    """An operation of the model; None: the model has no such operation."""
    return service().operation_model(name) if name in service().operation_names else None


@cache
def errors(name: str) -> frozenset[str]:
    """The error codes that an operation may return: those that the model lists for it, and the common ones."""
    found = operation(name)
    return COMMON | {shape.name for shape in found.error_shapes} if found else COMMON


def read(model: OperationModel, payload: bytes) -> dict[str, Any]:
    """The parameters of a request, with blobs decoded.

    Raises SerializationException for invalid JSON and wrong types, InvalidParameterException for values outside the
    model's constraints (ECR names only the first).
    """
    # A layer's part has 10 MiB: it is cut out before parsing, so that memory does not hold it four times.
    cut = _PART.search(payload)
    if cut and model.name == "UploadLayerPart":
        return read(model, payload[: cut.start(1)] + payload[cut.end(1) :]) | {"layerPartBlob": _part(payload, cut)}
    try:
        body = json.loads(payload or b"{}")
    except (ValueError, RecursionError) as error:
        raise EcrError("SerializationException", "The request body is not valid JSON") from error
    shape = model.input_shape
    checked: dict[str, Any] = _check(body, shape, "") if shape else {}
    names = NO_PAGES_BESIDE.get(model.name)
    for paging in ("maxResults", "nextToken"):
        if names in checked and paging in checked:
            raise invalid(paging, f"must be null where {names} is given")
    return checked


def _part(payload: bytes, cut: re.Match[bytes]) -> bytes:
    try:
        part = binascii.a2b_base64(memoryview(payload)[cut.start(1) : cut.end(1)], strict_mode=True)
    except binascii.Error as error:
        raise EcrError("SerializationException", "'layerPartBlob' must be base64") from error
    _check_range(len(part), service().shape_for("LayerPartBlob"), "layerPartBlob", "have length")
    return part


def _check(value: Any, shape: Shape, where: str) -> Any:  # noqa: C901 - one branch for each type of the model
    right = isinstance(value, _TYPES[shape.type_name])
    if not right or (isinstance(value, bool) and shape.type_name != "boolean"):
        raise EcrError("SerializationException", f"'{where or 'request'}' must be of type {shape.type_name}")
    if isinstance(shape, StructureShape):
        return _check_structure(value, shape, where)
    if isinstance(shape, ListShape):
        _check_range(len(value), shape, where, "have length")
        return [_check(item, shape.member, f"{where}.{n}.member") for n, item in enumerate(value, 1)]
    if isinstance(shape, MapShape):
        return {key: _check(item, shape.value, f"{where}.{key}") for key, item in value.items()}
    if shape.type_name == "blob":
        try:
            value = base64.b64decode(value, validate=True)
        except ValueError as error:
            raise EcrError("SerializationException", f"'{where}' must be base64") from error
        _check_range(len(value), shape, where, "have length")
    elif shape.type_name == "string":
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise EcrError("SerializationException", f"'{where}' is not valid Unicode")
        _check_range(len(value), shape, where, "have length")
        if (choices := shape.metadata.get("enum")) and value not in choices:
            raise not_one_of(where, choices)
        if (pattern := shape.metadata.get("pattern")) and not re.fullmatch(pattern, value):
            raise invalid(where, f"must satisfy regular expression '{pattern}'")
    elif shape.type_name in ("integer", "long"):
        _check_range(value, shape, where, "be")
    return value


def _check_structure(value: dict[str, Any], shape: StructureShape, where: str) -> dict[str, Any]:
    prefix = f"{where}." if where else ""
    given = {key: item for key, item in value.items() if item is not None}
    for name in shape.required_members:
        if name not in given:
            raise invalid(prefix + name, "must not be null")
    for name in given:
        if name not in shape.members:
            raise EcrError("SerializationException", f"'{prefix}{name}' is not a parameter that the local ECR knows")
    return {name: _check(item, shape.members[name], prefix + name) for name, item in given.items()}


def _check_range(size: int, shape: Shape, where: str, verb: str) -> None:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if low is not None and size < low:
        raise invalid(where, f"must {verb} greater than or equal to {low}")
    if high is not None and size > high:
        raise invalid(where, f"must {verb} less than or equal to {high}")


def write(model: OperationModel, answer: dict[str, Any]) -> dict[str, Any]:
    """An answer in JSON's types: times as seconds, without None. Raises KeyError for a member that the model lacks."""
    shape = model.output_shape
    shaped: dict[str, Any] = _shape(answer, shape) if shape else {}
    return shaped


def _shape(value: Any, shape: Shape) -> Any:
    if isinstance(shape, StructureShape):
        return {name: _shape(item, shape.members[name]) for name, item in value.items() if item is not None}
    if isinstance(shape, ListShape):
        return [_shape(item, shape.member) for item in value]
    if isinstance(shape, MapShape):
        return {key: _shape(item, shape.value) for key, item in value.items()}
    if isinstance(value, datetime):
        return round(value.timestamp(), 3)
    if shape.type_name == "timestamp":
        return round(float(value), 3)
    return str(value) if shape.type_name == "string" else value


def moment(seconds: float) -> datetime:
    """Seconds since the epoch as a time in UTC."""
    return datetime.fromtimestamp(seconds, UTC)
