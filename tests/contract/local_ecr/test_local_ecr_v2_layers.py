"""Layers by `/v2/`, with ECR's peculiarities: upload sessions, mounts, downloads by presigned redirects."""

import http.client
import socket
from pathlib import Path
from typing import Any

import pytest

from support.servers.ecr import DEV, NAME, Served, serve, sha256
from support.servers.ecr_answers import NOWHERE, error

pytestmark = pytest.mark.usefixtures("repository")

V2 = f"/v2/{NAME}"


# -- uploads


def test_an_upload_session_has_an_absolute_location_and_no_docker_upload_uuid(served: Served) -> None:
    answer = served.send("POST", f"{V2}/blobs/uploads/", Host=f"registry.test:{served.ports[DEV]}")
    assert answer.status == 202
    assert answer.headers["Location"].startswith(f"http://registry.test:{served.ports[DEV]}{V2}/blobs/uploads/")
    assert answer.headers["Range"] == "0-0"
    assert "Docker-Upload-UUID" not in answer.headers


def chunked(served: Served, location: str, pieces: list[bytes], **headers: str) -> http.client.HTTPResponse:
    """A PATCH with chunked transfer encoding, as docker sends it: no Content-Range, no Content-Length."""
    connection = http.client.HTTPConnection("localhost", served.ports[DEV])
    named = {"Authorization": served.token(), **headers}
    connection.request(
        "PATCH", location.partition(f":{served.ports[DEV]}")[2], iter(pieces), named, encode_chunked=True
    )
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer


def test_docker_pushes_a_layer_by_chunked_patch_and_an_empty_put(served: Served) -> None:
    raw = bytes(range(256)) * 4096
    location = served.send("POST", f"{V2}/blobs/uploads/").headers["Location"]
    answer = chunked(served, location, [raw[:1000], raw[1000:]], **{"Transfer-Encoding": "chunked"})
    assert (answer.status, answer.headers["Range"], answer.headers["Location"]) == (201, f"0-{len(raw) - 1}", location)
    done = served.send("PUT", f"{location}?digest={sha256(raw)}")
    assert (done.status, done.headers["Docker-Content-Digest"]) == (201, sha256(raw))
    head = served.send("HEAD", f"{V2}/blobs/{sha256(raw)}")
    assert (head.status, head.headers["Content-Length"]) == (200, str(len(raw)))


def test_the_range_of_later_patches_stays_at_the_first_chunk(served: Served) -> None:
    location = served.send("POST", f"{V2}/blobs/uploads/").headers["Location"]
    ranges = []
    for first, piece in ((0, b"abc"), (3, b"defgh"), (8, b"i")):
        answer = served.send("PATCH", location, piece, Content_Range=f"{first}-{first + len(piece) - 1}")
        ranges.append((answer.status, answer.headers["Range"]))
    assert ranges == [(201, "0-2")] * 3
    assert served.send("PUT", f"{location}?digest={sha256(b'abcdefghi')}").status == 201


def test_a_session_started_again_at_its_first_byte_is_refused(served: Served) -> None:
    location = served.send("POST", f"{V2}/blobs/uploads/").headers["Location"]
    served.send("PATCH", location, b"abcdef", Content_Range="0-5")
    text = "First byte of the layer part is 0 instead of 6"
    assert error(served.send("PATCH", location, b"abcdef", Content_Range="0-5")) == (416, "BLOB_UPLOAD_INVALID", text)


def test_an_uploads_status_can_be_read_and_the_upload_cancelled(served: Served) -> None:
    location = served.send("POST", f"{V2}/blobs/uploads/").headers["Location"]
    served.send("PATCH", location, b"abcdef")
    assert served.send("GET", location).headers["Range"] == "0-5"
    assert served.send("DELETE", location).status == 204
    assert error(served.send("GET", location))[1] == "BLOB_UPLOAD_UNKNOWN"


def test_a_layer_with_another_digest_than_declared_is_refused(served: Served) -> None:
    location = served.send("POST", f"{V2}/blobs/uploads/").headers["Location"]
    answer = served.send("PUT", f"{location}?digest={NOWHERE}", b"abc")
    assert error(answer)[:2] == (400, "DIGEST_INVALID")
    assert served.send("HEAD", f"{V2}/blobs/{sha256(b'abc')}").status == 404


def test_an_empty_layer_is_refused(served: Served) -> None:
    location = served.send("POST", f"{V2}/blobs/uploads/").headers["Location"]
    status, code, text = error(served.send("PUT", f"{location}?digest={sha256(b'')}"))
    assert (status, code) == (400, "BLOB_UPLOAD_INVALID")
    assert text.endswith("cannot be completed because it does not have any parts")


@pytest.mark.parametrize("framing", ["Content-Length: 100", "Transfer-Encoding: chunked"])
def test_an_interrupted_body_is_discarded(served: Served, framing: str) -> None:
    location = served.send("POST", f"{V2}/blobs/uploads/").headers["Location"]
    path = location.partition(f":{served.ports[DEV]}")[2]
    head = f"PATCH {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {served.token()}\r\n{framing}\r\n\r\n"
    body = b"64\r\nabc" if "chunked" in framing else b"abc"
    with socket.create_connection(("127.0.0.1", served.ports[DEV])) as connection:
        connection.sendall(head.encode() + body)
        connection.shutdown(socket.SHUT_WR)
        answer = connection.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"SIZE_INVALID" in answer
    assert served.send("GET", location).headers["Range"] == "0-0"
    assert served.send("PUT", f"{location}?digest={sha256(b'xyz')}", b"xyz").status == 201


# -- mounting


def test_a_layer_is_mounted_from_another_repository_of_the_registry(served: Served) -> None:
    served.api("PutAccountSetting", name="BLOB_MOUNTING", value="ENABLED")
    served.create(name="team/other")
    digest = served.upload(b"shared layer")
    answer = served.send("POST", f"/v2/team/other/blobs/uploads/?mount={digest}&from={NAME}")
    assert (answer.status, answer.headers["Docker-Content-Digest"]) == (201, digest)
    assert served.send("HEAD", f"/v2/team/other/blobs/{digest}").status == 200


@pytest.mark.parametrize(
    "why", ["unknown source", "unknown layer", "other encryption", "no permission", "switched off"]
)
def test_a_blob_that_cannot_be_mounted_becomes_an_upload(tmp_path: Path, why: str) -> None:
    with serve(tmp_path) as served:
        setting = "DISABLED" if why == "switched off" else "ENABLED"
        served.api("PutAccountSetting", name="BLOB_MOUNTING", value=setting)
        kms: dict[str, Any] = (
            {"encryptionConfiguration": {"encryptionType": "KMS"}} if why == "other encryption" else {}
        )
        served.create()
        served.create(name="team/other", **kms)
        digest = NOWHERE if why == "unknown layer" else served.upload(b"shared layer")
        if why == "no permission":
            served.denied.add(("dev", "ecr:GetDownloadUrlForLayer"))
        source = "no/such" if why == "unknown source" else NAME
        answer = served.send("POST", f"/v2/team/other/blobs/uploads/?mount={digest}&from={source}")
        assert (answer.status, "/blobs/uploads/" in answer.headers["Location"]) == (202, True)


# -- downloads


def test_a_layer_is_downloaded_by_a_redirect_to_a_presigned_url(served: Served) -> None:
    digest = served.upload(b"0123456789")
    answer = served.send("GET", f"{V2}/blobs/{digest}")
    address = answer.headers["Location"]
    assert (answer.status, "X-Amz-Signature=" in address, "X-Amz-Expires=3600" in address) == (307, True, True)
    layer = served.send("GET", address, Authorization="")
    assert (layer.status, layer.data, layer.headers["Accept-Ranges"]) == (200, b"0123456789", "bytes")


@pytest.mark.parametrize(
    ("asked", "status", "body", "content_range"),
    [
        ("bytes=0-3", 206, b"0123", "bytes 0-3/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=-2", 206, b"89", "bytes 8-9/10"),
        ("bytes=5-99", 206, b"56789", "bytes 5-9/10"),
        ("bytes=0-1,3-4", 200, b"0123456789", None),
        ("bytes=10-", 416, None, "bytes */10"),
    ],
)
def test_a_layer_supports_range_requests(
    served: Served, asked: str, status: int, body: bytes | None, content_range: str | None
) -> None:
    address = served.send("GET", f"{V2}/blobs/{served.upload(b'0123456789')}").headers["Location"]
    answer = served.send("GET", address, Authorization="", Range=asked)
    assert (answer.status, answer.headers.get("Content-Range")) == (status, content_range)
    assert body is None or answer.data == body


def test_a_presigned_url_behaves_like_s3(served: Served) -> None:
    address = served.send("GET", f"{V2}/blobs/{served.upload(b'abc')}").headers["Location"]
    with_token = served.send("GET", address)
    assert with_token.status == 400
    assert b"Only one auth mechanism allowed" in with_token.data
    assert served.send("HEAD", address, Authorization="").status == 403
    assert served.send("GET", address.replace("Signature=", "Signature=0"), Authorization="").status == 403
    served.clock.move(minutes=60)
    expired = served.send("GET", address, Authorization="")
    assert (expired.status, b"Request has expired" in expired.data) == (403, True)


def test_the_redirect_goes_to_another_host_name_than_the_tokens(served: Served) -> None:
    digest, port = served.upload(b"abc"), served.ports[DEV]
    assert served.send("GET", f"{V2}/blobs/{digest}").headers["Location"].startswith(f"http://127.0.0.1:{port}/")
    answer = served.send("GET", f"http://127.0.0.1:{port}{V2}/blobs/{digest}")
    assert answer.headers["Location"].startswith(f"http://localhost:{port}/")
