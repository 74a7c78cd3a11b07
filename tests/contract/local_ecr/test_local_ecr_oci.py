"""The checks of the OCI distribution suite, and what it found, as a table; the suite itself is run by hand."""

import hashlib
import json
from typing import Any

import pytest

from support.images.builders import image
from support.servers.ecr import NAME, Served

SHA512 = "sha512:" + "0" * 128
UPLOADS = f"/v2/{NAME}/blobs/uploads/"

pytestmark = pytest.mark.usefixtures("repository")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", f"/v2/{NAME}/blobs/{SHA512}", 404, "BLOB_UNKNOWN"),
        ("HEAD", f"/v2/{NAME}/blobs/{SHA512}", 404, None),
        ("GET", f"/v2/{NAME}/manifests/{SHA512}", 404, "MANIFEST_UNKNOWN"),
        ("DELETE", f"/v2/{NAME}/manifests/{SHA512}", 404, "MANIFEST_UNKNOWN"),
        ("PUT", f"/v2/{NAME}/manifests/{SHA512}", 400, "DIGEST_INVALID"),
        ("GET", f"/v2/{NAME}/manifests/sha512:0", 400, "DIGEST_INVALID"),
        ("POST", f"{UPLOADS}?mount={SHA512}&from={NAME}", 202, None),
        ("POST", f"{UPLOADS}?mount=sha256:{'0' * 64}", 202, None),
        ("POST", f"{UPLOADS}?digest=sha256:{'0' * 64}", 202, None),
        ("DELETE", f"/v2/{NAME}/blobs/sha256:{'0' * 64}", 405, "UNSUPPORTED"),
        ("GET", f"/v2/{NAME}/referrers/sha256:{'0' * 64}", 200, None),
        ("GET", f"/v2/{NAME}/tags/list", 200, None),
    ],
)
def test_answers_follow_the_specification_except_for_ecrs_differences(
    served: Served, method: str, path: str, status: int, code: str | None
) -> None:
    answer = served.send(method, path, b"{}" if method == "PUT" else None)
    assert answer.status == status
    if code:
        assert json.loads(answer.data)["errors"][0]["code"] == code


CHUNKS = (b"a" * 1000, b"b" * 1000, b"c" * 24)
WHOLE = b"".join(CHUNKS)
DIGEST = "sha256:" + hashlib.sha256(WHOLE).hexdigest()


def patch(served: Served, location: str, data: bytes, first: int) -> int:
    headers: dict[str, Any] = {
        "Content_Range": f"{first}-{first + len(data) - 1}",
        "Content_Type": "application/octet-stream",
    }
    return int(served.send("PATCH", location, data, **headers).status)


@pytest.mark.parametrize("last_by_put", [True, False])
def test_a_chunked_layer_is_complete_and_a_chunk_out_of_order_changes_nothing(
    served: Served, last_by_put: bool
) -> None:
    location = served.send("POST", UPLOADS).headers["Location"]
    assert patch(served, location, CHUNKS[0], 0) == 201
    assert patch(served, location, CHUNKS[2], 2000) == 416
    assert patch(served, location, CHUNKS[0], 0) == 416
    assert served.send("GET", location).headers["Range"] == "0-999"
    assert patch(served, location, CHUNKS[1], 1000) == 201
    if last_by_put:
        headers: dict[str, Any] = {"Content_Range": "2000-2023"}
        assert served.send("PUT", f"{location}?digest={DIGEST}", CHUNKS[2], **headers).status == 201
    else:
        assert patch(served, location, CHUNKS[2], 2000) == 201
        assert served.send("PUT", f"{location}?digest={DIGEST}").status == 201
    assert served.send("HEAD", f"/v2/{NAME}/blobs/{DIGEST}").headers["Content-Length"] == "2024"


def test_a_layer_with_another_digest_leaves_nothing(served: Served) -> None:
    location = served.send("POST", UPLOADS).headers["Location"]
    assert patch(served, location, CHUNKS[0], 0) == 201
    assert served.send("PUT", f"{location}?digest={DIGEST}").status == 400
    assert served.send("HEAD", f"/v2/{NAME}/blobs/{DIGEST}").status == 404
    assert served.send("GET", location).status == 404


def test_a_deleted_image_is_missing_by_tag_and_digest(served: Served) -> None:
    app = image("app")
    served.push(app, "v1")
    assert served.send("DELETE", f"/v2/{NAME}/manifests/{app.digest}").status == 202
    for reference in ("v1", app.digest):
        assert served.send("HEAD", f"/v2/{NAME}/manifests/{reference}").status == 404
    assert json.loads(served.send("GET", f"/v2/{NAME}/tags/list").data)["tags"] == []
