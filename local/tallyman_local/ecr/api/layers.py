"""The JSON API: uploads and downloads of layers."""

import io
import uuid
from typing import Any

from tallyman.domain.images.manifest import DOCKER_LAYER
from tallyman.domain.names import Digest
from tallyman_local.ecr import errors
from tallyman_local.ecr.api.calls import Answer, Call, serves
from tallyman_local.ecr.errors import EcrError
from tallyman_local.ecr.rules.images import DIGEST

PART = 10 * 1024 * 1024
SMALLEST_PART = 5 * 1024 * 1024
MOST_PARTS = 4200


@serves("BatchCheckLayerAvailability")
def batch_check_layer_availability(call: Call) -> Answer:
    row = call.repository()
    layers: list[dict[str, Any]] = []
    failures: list[dict[str, Any]] = []
    for digest in call.parameters["layerDigests"]:
        if not DIGEST.fullmatch(digest):
            reason = f"Invalid layer digest '{digest}'"
            failures.append({"layerDigest": digest, "failureCode": "InvalidLayerDigest", "failureReason": reason})
        elif (size := call.store.layer_size(row.id, digest)) is None:
            layers.append({"layerDigest": digest, "layerAvailability": "UNAVAILABLE"})
        else:
            known = {"layerSize": size, "mediaType": DOCKER_LAYER}
            layers.append({"layerDigest": digest, "layerAvailability": "AVAILABLE", **known})
    return {"layers": layers, "failures": failures}


@serves("InitiateLayerUpload")
def initiate_layer_upload(call: Call) -> Answer:
    upload_id = str(uuid.uuid4())
    call.store.start_upload(call.repository(), upload_id)
    return {"uploadId": upload_id, "partSize": PART}


@serves("UploadLayerPart")
def upload_layer_part(call: Call) -> Answer:
    row, given = call.repository(), call.parameters
    upload_id, first, last, blob = (
        given[key] for key in ("uploadId", "partFirstByte", "partLastByte", "layerPartBlob")
    )
    with call.store.upload(row, upload_id) as upload:
        if first != upload.size:
            raise errors.part_invalid(row.name, upload_id, first, upload.size)
        if last - first + 1 != len(blob):
            raise errors.invalid("partLastByte", f"must be {first + len(blob) - 1} for a part of {len(blob)} bytes")
        if upload.parts >= MOST_PARTS:
            raise EcrError("LimitExceededException", f"The maximum number of {MOST_PARTS} layer parts is exceeded")
        if upload.parts and upload.last_part < SMALLEST_PART:
            upload.small_part = True  # only the last part may be smaller; ECR refuses it at completion
        upload.append(io.BytesIO(blob).read, len(blob))
        last_received = max(upload.size - 1, 0)
    return call.of_repository(uploadId=upload_id, lastByteReceived=last_received)


@serves("CompleteLayerUpload")
def complete_layer_upload(call: Call) -> Answer:
    row, upload_id, digests = call.repository(), call.parameters["uploadId"], call.parameters["layerDigests"]
    with call.store.upload(row, upload_id) as upload:
        if upload.size == 0:
            raise errors.upload_empty(row.name, upload_id)
        if upload.small_part:
            raise EcrError("LayerPartTooSmallException", f"Layer parts must be at least {SMALLEST_PART} bytes in size")
        digest = upload.digest()
        if digest not in digests:
            raise errors.layer_mismatch(row.name, digests, digest)
        if call.store.layer_size(row.id, digest) is not None:
            call.store.drop_upload(row, upload_id)
            raise errors.layer_exists(row.name, digest)
        call.store.keep_upload(row, upload_id, upload)
    return call.of_repository(uploadId=upload_id, layerDigest=digest)


@serves("GetDownloadUrlForLayer")
def get_download_url_for_layer(call: Call) -> Answer:
    row, digest = call.repository(), call.parameters["layerDigest"]
    if call.store.layer_size(row.id, digest) is None:
        raise errors.layers_not_found([digest], row.name)
    path = call.parts.tokens.layer_path(row.name, Digest(digest))
    return {"downloadUrl": call.parts.endpoint_of(call.registry).rstrip("/") + path, "layerDigest": digest}
