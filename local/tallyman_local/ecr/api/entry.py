"""The JSON 1.1 API: `answer` checks a call, permits it, runs it, shapes its answer and records it."""

import json
import logging
import uuid
from typing import Any

from tallyman.domain.names import EcrRegistry, Repository
from tallyman_local.ecr import errors, model
from tallyman_local.ecr.api import (  # noqa: F401 (each enters its operations into OPERATIONS)
    images,
    layers,
    lifecycle,
    pull_through,
    registry,
    replication,
    repositories,
    templates,
)
from tallyman_local.ecr.api.calls import OPERATIONS, RECORDED, Call, Parts
from tallyman_local.ecr.errors import EcrError
from tallyman_local.ecr.identity import Identity
from tallyman_local.ecr.store.blobs import is_full

_LOG = logging.getLogger("tallyman.local.ecr")
Answered = tuple[int, dict[str, str], bytes]
_LARGEST_IN_A_RECORD = 64 * 1024


def answer(parts: Parts, name: str, payload: bytes, where: EcrRegistry, identity: Identity) -> Answered:
    """Status, headers and body. A refusal is one of ECR's errors; a fault of the local ECR is a ServerException."""
    status, body = 200, {}
    try:
        body = _run(parts, name, payload, where, identity)
    except EcrError as error:
        if error.code not in model.errors(name):
            _LOG.error("%s is not an error of %s: %s", error.code, name, error.message)
            status, body = 500, {"__type": "ServerException", "message": f"{error.code}: {error.message}"}
        else:
            status, body = 400, {"__type": error.code, "message": error.message, **error.members}
    except Exception as error:
        text = f"The local ECR failed in {name}; its log says where"
        if is_full(error):
            text = f"Nothing of this {name} was kept: {error}"
        else:
            _LOG.exception("the local ECR failed in %s", name)
        status, body = 500, {"__type": "ServerException", "message": text}
    headers = {"Content-Type": "application/x-amz-json-1.1", "x-amzn-RequestId": str(uuid.uuid4())}
    if status != 200:
        headers["x-amzn-ErrorType"] = str(body["__type"])
    return status, headers, json.dumps(body).encode()


def _run(parts: Parts, name: str, payload: bytes, where: EcrRegistry, identity: Identity) -> dict[str, Any]:
    operation = model.operation(name)
    if operation is None or name not in OPERATIONS:
        raise EcrError("UnknownOperationException", f"{name} is not an operation that the local ECR knows")
    parameters = model.read(operation, payload)
    target = EcrRegistry(parameters.get("registryId", where.account), where.region)
    if "resourceArn" in parameters:
        try:
            resource = Repository.parse(parameters["resourceArn"])
        except ValueError as error:
            raise errors.invalid("resourceArn", "Invalid ARN") from error
        target, parameters["repositoryName"] = resource.registry, resource.name
    call = Call(parts, identity, target, parameters)
    parts.quotas.spend(target, name)
    try:
        parts.permit(identity, name, target, parameters.get("repositoryName"))
        if name in ("PutImage", "InitiateLayerUpload"):
            parts.create_on_push(identity, call.name)
        shaped = model.write(operation, OPERATIONS[name](call))
    except EcrError as error:
        if name in RECORDED:
            parts.events.call(name, target, identity, _request(call), None, (error.code, error.message))
        raise
    if name in RECORDED:
        parts.events.call(name, target, identity, _request(call), _response(shaped))
    return shaped


def _request(call: Call) -> dict[str, Any]:
    given = {"registryId": call.registry.account, **call.parameters}
    if len(given.get("imageManifest", "")) > _LARGEST_IN_A_RECORD:  # a record must fit an event (256 KiB)
        given["imageManifest"] = "HIDDEN_DUE_TO_SIZE"
    return given


def _response(shaped: dict[str, Any]) -> dict[str, Any]:
    if "image" in shaped:
        return {"image": {key: value for key, value in shaped["image"].items() if key != "imageManifest"}}
    return shaped
