"""Layers by the local ECR's API, through boto3: uploads in parts, downloads by presigned URL."""

import hashlib
from typing import Any

import pytest
from botocore.exceptions import ClientError

from support.images.builders import big_layer
from support.servers.ecr import NAME, Served
from support.servers.ecr_answers import NOWHERE, refusal


def test_a_layer_is_uploaded_in_parts_and_downloaded_by_a_presigned_url(served: Served, client: Any) -> None:
    raw = big_layer(5 * 1024 * 1024 + 17).raw
    digest = "sha256:" + hashlib.sha256(raw).hexdigest()
    started = client.initiate_layer_upload(repositoryName=NAME)
    upload, middle = started["uploadId"], 5 * 1024 * 1024
    for first, part in ((0, raw[:middle]), (middle, raw[middle:])):
        last = first + len(part) - 1
        answer = client.upload_layer_part(
            repositoryName=NAME, uploadId=upload, partFirstByte=first, partLastByte=last, layerPartBlob=part
        )
        assert answer["lastByteReceived"] == last
    done = client.complete_layer_upload(repositoryName=NAME, uploadId=upload, layerDigests=[digest])
    assert done["layerDigest"] == digest
    (layer,) = client.batch_check_layer_availability(repositoryName=NAME, layerDigests=[digest])["layers"]
    assert (layer["layerAvailability"], layer["layerSize"]) == ("AVAILABLE", len(raw))
    address = client.get_download_url_for_layer(repositoryName=NAME, layerDigest=digest)["downloadUrl"]
    assert served.send("GET", address, Authorization="").data == raw


def test_invalid_layers_are_refused_with_ecrs_messages(client: Any) -> None:
    upload = client.initiate_layer_upload(repositoryName=NAME)["uploadId"]
    here = {"repositoryName": NAME, "uploadId": upload}
    assert refusal(client.complete_layer_upload, **here, layerDigests=[NOWHERE])[0] == "EmptyUploadException"
    client.upload_layer_part(**here, partFirstByte=0, partLastByte=2, layerPartBlob=b"abc")
    with pytest.raises(ClientError) as caught:
        client.upload_layer_part(**here, partFirstByte=7, partLastByte=9, layerPartBlob=b"abc")
    assert caught.value.response["Error"]["Code"] == "InvalidLayerPartException"
    answer: dict[str, Any] = {**caught.value.response}  # with the members that this error has in ECR's model
    assert answer["lastValidByteReceived"] == 2
    client.upload_layer_part(**here, partFirstByte=3, partLastByte=5, layerPartBlob=b"def")
    small = refusal(client.complete_layer_upload, **here, layerDigests=[NOWHERE])
    assert small[0] == "LayerPartTooSmallException"
    gone = {"repositoryName": NAME, "uploadId": "00000000-0000-0000-0000-000000000000", "layerDigests": [NOWHERE]}
    assert refusal(client.complete_layer_upload, **gone)[0] == "UploadNotFoundException"
    missing = refusal(client.get_download_url_for_layer, repositoryName=NAME, layerDigest=NOWHERE)
    assert missing[0] == "LayersNotFoundException"
    checked = client.batch_check_layer_availability(repositoryName=NAME, layerDigests=["nonsense", NOWHERE])
    assert [f["failureCode"] for f in checked["failures"]] == ["InvalidLayerDigest"]
    assert [x["layerAvailability"] for x in checked["layers"]] == ["UNAVAILABLE"]


def test_layer_availability_is_reported(served: Served, client: Any) -> None:
    digest = served.upload(b"abc")
    upload = client.initiate_layer_upload(repositoryName=NAME)["uploadId"]
    here = {"repositoryName": NAME, "uploadId": upload}
    client.upload_layer_part(**here, partFirstByte=0, partLastByte=2, layerPartBlob=b"abc")
    assert refusal(client.complete_layer_upload, **here, layerDigests=[digest])[0] == "LayerAlreadyExistsException"
