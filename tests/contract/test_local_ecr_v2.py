"""The local registry answers as ECR's `/v2/` does: statuses, headers, words and oddities."""

import hashlib
import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from builders import attestation, big_layer, foreign_layer, image, index, multi_arch, sbom, signature
from ecr_server import DEV, NAME, PROD, Served, serve

V2 = f"/v2/{NAME}"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
NOWHERE = "sha256:" + "0" * 64


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("ecr")) as served:
        yield served


@pytest.fixture
def served(running: Served) -> Served:
    running.reset()
    running.create()
    return running


def error(answer: Any) -> tuple[int, str, str]:
    """Status, code and message of an OCI error."""
    found = json.loads(answer.data)["errors"][0]
    return answer.status, found["code"], found["message"]


def sha256(raw: bytes) -> str:
    return "sha256:" + hashlib.sha256(raw).hexdigest()


TABLE = [
    {
        "description": "no credentials",
        "method": "GET",
        "url": "/v2/",
        "send": {"Authorization": ""},
        "status": 401,
        "headers": {
            "Docker-Distribution-Api-Version": "registry/2.0",
            "Content-Type": "text/plain; charset=utf-8",
        },
        "body": "Not Authorized\n",
    },
    {
        "description": "bearer is not served",
        "method": "GET",
        "url": "/v2/",
        "send": {"Authorization": "Bearer x"},
        "status": 401,
        "body": "Not Authorized\n",
    },
    {
        "description": "a token that is none of ours",
        "method": "GET",
        "url": "/v2/",
        "send": {"Authorization": "Basic QVdTOnNlY3JldA=="},
        "status": 401,
        "body": "Not Authorized\n",
    },
    {
        "description": "credentials that are no base64",
        "method": "GET",
        "url": "/v2/",
        "send": {"Authorization": "Basic é~"},
        "status": 401,
        "body": "Not Authorized\n",
    },
    {"description": "a good token", "method": "GET", "url": "/v2/", "status": 200},
    {
        "description": "unknown repository",
        "method": "GET",
        "url": "/v2/no/such/manifests/v1",
        "status": 404,
        "code": "NAME_UNKNOWN",
        "body": "The repository with name 'no/such' does not exist in the registry with id '111111111111'",
    },
    {
        "description": "push to an unknown repository",
        "method": "POST",
        "url": "/v2/no/such/blobs/uploads/",
        "status": 404,
        "code": "NAME_UNKNOWN",
        "body": "The repository with name 'no/such' does not exist in the registry with id '111111111111'",
    },
    {
        "description": "a name that is none",
        "method": "GET",
        "url": "/v2/No_Such/manifests/v1",
        "status": 400,
        "code": "NAME_INVALID",
        "body": "Invalid repository name 'No_Such'",
    },
    {
        "description": "unknown tag",
        "method": "GET",
        "url": f"{V2}/manifests/v1",
        "status": 404,
        "code": "MANIFEST_UNKNOWN",
        "body": "Requested image not found",
    },
    {
        "description": "unknown digest",
        "method": "GET",
        "url": f"{V2}/manifests/{NOWHERE}",
        "status": 404,
        "code": "MANIFEST_UNKNOWN",
        "body": "Requested image not found",
    },
    {"description": "HEAD of an unknown tag", "method": "HEAD", "url": f"{V2}/manifests/v1", "status": 404},
    {
        "description": "a tag that is none",
        "method": "GET",
        "url": f"{V2}/manifests/v1+abc",
        "status": 400,
        "code": "TAG_INVALID",
    },
    {
        "description": "a digest that is none",
        "method": "GET",
        "url": f"{V2}/manifests/sha256:abc",
        "status": 400,
        "code": "DIGEST_INVALID",
        "body": "Invalid digest 'sha256:abc'",
    },
    {"description": "unknown layer", "method": "HEAD", "url": f"{V2}/blobs/{NOWHERE}", "status": 404},
    {
        "description": "unknown layer",
        "method": "GET",
        "url": f"{V2}/blobs/{NOWHERE}",
        "status": 404,
        "code": "BLOB_UNKNOWN",
    },
    {
        "description": "unknown upload",
        "method": "PATCH",
        "url": f"{V2}/blobs/uploads/00000000-0000-0000-0000-000000000000",
        "send": {"data": "abc"},
        "status": 404,
        "code": "BLOB_UPLOAD_UNKNOWN",
    },
    {
        "description": "no digest at completion of an unknown upload",
        "method": "PUT",
        "url": f"{V2}/blobs/uploads/x",
        "status": 404,
        "code": "BLOB_UPLOAD_UNKNOWN",
    },
    {
        "description": "a manifest that is no JSON",
        "method": "PUT",
        "url": f"{V2}/manifests/v1",
        "send": {"data": "{"},
        "status": 400,
        "code": "MANIFEST_INVALID",
        "body": "Invalid parameter at 'ImageManifest' failed to satisfy constraint: 'Invalid JSON syntax'",
    },
    {
        "description": "a manifest without layers",
        "method": "PUT",
        "url": f"{V2}/manifests/v1",
        "send": {"data": json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST})},
        "status": 400,
        "code": "MANIFEST_INVALID",
    },
    {
        "description": "a manifest of 4 MiB and a byte",
        "method": "PUT",
        "url": f"{V2}/manifests/v1",
        "send": {"data": "x" * (4 * 1024 * 1024 + 1)},
        "status": 400,
        "code": "MANIFEST_INVALID",
        "body": "Invalid parameter at 'ImageManifest' failed to satisfy constraint: "
        "'must have length less than or equal to 4194304'",
    },
    {
        "description": "the artifact manifest of OCI 1.1's drafts (roadmap #2783)",
        "method": "PUT",
        "url": f"{V2}/manifests/v1",
        "send": {"data": json.dumps({"mediaType": "application/vnd.oci.artifact.manifest.v1+json"})},
        "status": 405,
        "code": "UNSUPPORTED",
    },
    {
        "description": "more than 1,000 tags a page",
        "method": "GET",
        "url": f"{V2}/tags/list?n=1001",
        "status": 405,
        "code": "UNSUPPORTED",
    },
    {
        "description": "tags of an empty repository",
        "method": "GET",
        "url": f"{V2}/tags/list",
        "status": 200,
        "body": json.dumps({"name": NAME, "tags": []}),
    },
    {
        "description": "removal of an unknown tag",
        "method": "DELETE",
        "url": f"{V2}/manifests/v1",
        "status": 404,
        "code": "MANIFEST_UNKNOWN",
    },
    {
        "description": "removal of a layer",
        "method": "DELETE",
        "url": f"{V2}/blobs/{NOWHERE}",
        "status": 405,
        "code": "UNSUPPORTED",
        "body": "DELETE of blobs is not served by the local ECR yet",
    },
    {
        "description": "the catalog",
        "method": "GET",
        "url": "/v2/_catalog",
        "status": 405,
        "code": "UNSUPPORTED",
        "body": "GET /v2/_catalog is not served by the local ECR yet",
    },
    {
        "description": "no registry at all",
        "method": "GET",
        "url": "/v1/search",
        "status": 404,
        "code": "NOT_FOUND",
    },
    {
        "description": "a layer's address without a signature",
        "method": "GET",
        "url": f"/_layers/{DEV}/{'0' * 64}",
        "send": {"Authorization": ""},
        "status": 403,
    },
]


@pytest.mark.parametrize("row", TABLE, ids=[f"{row['method']} {row['description']}" for row in TABLE])
def test_the_registry_answers_in_ecrs_words(served: Served, row: dict[str, Any]) -> None:
    sent = dict(row.get("send", {}))
    answer = served.send(row["method"], row["url"], sent.pop("data", None), **sent)
    assert answer.status == row["status"], answer.data
    for name, value in row.get("headers", {}).items():
        assert answer.headers[name] == value
    if "code" in row:
        assert error(answer)[1] == row["code"]
    if "body" in row:
        assert (error(answer)[2] if "code" in row else answer.data.decode()) == row["body"]


def test_the_challenge_names_realm_and_service(served: Served) -> None:
    answer = served.send("GET", "/v2/", Authorization="")
    port = served.ports[DEV]
    assert answer.headers["Www-Authenticate"] == f'Basic realm="http://localhost:{port}/",service="ecr.amazonaws.com"'


@pytest.mark.parametrize("status", [403, 401])
def test_a_token_expires_after_twelve_hours(tmp_path: Path, status: int) -> None:
    with serve(tmp_path, expired_status=status) as served:
        token = served.token()
        served.clock.move(hours=11, minutes=59)
        assert served.send("GET", "/v2/", Authorization=token).status == 200
        served.clock.move(minutes=1)
        text = "Your authorization token has expired. Reauthenticate and try again."
        assert error(served.send("GET", "/v2/", Authorization=token)) == (status, "DENIED", text)


def test_one_token_opens_every_registry(served: Served) -> None:
    assert served.send("GET", "/v2/", registry=PROD, Authorization=served.token(DEV.account)).status == 200


def test_who_may_not_is_told_so_in_ecrs_words(served: Served) -> None:
    served.denied.add(("dev", "ecr:InitiateLayerUpload"))
    assert error(served.send("POST", f"{V2}/blobs/uploads/")) == (
        403,
        "DENIED",
        "User: arn:aws:iam::111111111111:user/dev is not authorized to perform: ecr:InitiateLayerUpload on resource: "
        f"arn:aws:ecr:us-east-2:111111111111:repository/{NAME} because no identity-based policy allows the "
        "ecr:InitiateLayerUpload action",
    )


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


def test_an_upload_can_be_asked_for_and_dropped(served: Served) -> None:
    location = served.send("POST", f"{V2}/blobs/uploads/").headers["Location"]
    served.send("PATCH", location, b"abcdef")
    assert served.send("GET", location).headers["Range"] == "0-5"
    assert served.send("DELETE", location).status == 204
    assert error(served.send("GET", location))[1] == "BLOB_UPLOAD_UNKNOWN"


def test_a_layer_with_another_digest_than_promised_is_refused(served: Served) -> None:
    location = served.send("POST", f"{V2}/blobs/uploads/").headers["Location"]
    answer = served.send("PUT", f"{location}?digest={NOWHERE}", b"abc")
    assert error(answer)[:2] == (400, "DIGEST_INVALID")
    assert served.send("HEAD", f"{V2}/blobs/{sha256(b'abc')}").status == 404


def test_a_layer_of_no_bytes_is_refused(served: Served) -> None:
    location = served.send("POST", f"{V2}/blobs/uploads/").headers["Location"]
    status, code, text = error(served.send("PUT", f"{location}?digest={sha256(b'')}"))
    assert (status, code) == (400, "BLOB_UPLOAD_INVALID")
    assert text.endswith("cannot be completed because it does not have any parts")


@pytest.mark.parametrize("framing", ["Content-Length: 100", "Transfer-Encoding: chunked"])
def test_of_a_body_that_breaks_off_nothing_is_kept(served: Served, framing: str) -> None:
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
def test_what_can_not_be_mounted_becomes_an_upload(tmp_path: Path, why: str) -> None:
    with serve(tmp_path) as served:
        setting = "DISABLED" if why == "switched off" else "ENABLED"
        served.api("PutAccountSetting", name="BLOB_MOUNTING", value=setting)
        kms = {"encryptionConfiguration": {"encryptionType": "KMS"}} if why == "other encryption" else {}
        served.create()
        served.create(name="team/other", **kms)
        digest = NOWHERE if why == "unknown layer" else served.upload(b"shared layer")
        if why == "no permission":
            served.denied.add(("dev", "ecr:GetDownloadUrlForLayer"))
        source = "no/such" if why == "unknown source" else NAME
        answer = served.send("POST", f"/v2/team/other/blobs/uploads/?mount={digest}&from={source}")
        assert (answer.status, "/blobs/uploads/" in answer.headers["Location"]) == (202, True)


# -- downloads


def test_a_layer_comes_by_redirect_to_a_presigned_address(served: Served) -> None:
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
def test_a_layer_is_served_by_range(
    served: Served, asked: str, status: int, body: bytes | None, content_range: str | None
) -> None:
    address = served.send("GET", f"{V2}/blobs/{served.upload(b'0123456789')}").headers["Location"]
    answer = served.send("GET", address, Authorization="", Range=asked)
    assert (answer.status, answer.headers.get("Content-Range")) == (status, content_range)
    assert body is None or answer.data == body


def test_a_presigned_address_has_the_manners_of_s3(served: Served) -> None:
    address = served.send("GET", f"{V2}/blobs/{served.upload(b'abc')}").headers["Location"]
    with_token = served.send("GET", address)
    assert with_token.status == 400
    assert b"Only one auth mechanism allowed" in with_token.data
    assert served.send("HEAD", address, Authorization="").status == 403
    assert served.send("GET", address.replace("Signature=", "Signature=0"), Authorization="").status == 403
    served.clock.move(minutes=60)
    expired = served.send("GET", address, Authorization="")
    assert (expired.status, b"Request has expired" in expired.data) == (403, True)


def test_the_redirect_leaves_the_name_that_the_token_was_sent_to(served: Served) -> None:
    digest, port = served.upload(b"abc"), served.ports[DEV]
    assert served.send("GET", f"{V2}/blobs/{digest}").headers["Location"].startswith(f"http://127.0.0.1:{port}/")
    answer = served.send("GET", f"http://127.0.0.1:{port}{V2}/blobs/{digest}")
    assert answer.headers["Location"].startswith(f"http://localhost:{port}/")


# -- manifests


def test_a_manifest_is_served_byte_by_byte_as_it_was_pushed(served: Served) -> None:
    app = image("app")
    served.push(app)
    spaced = json.dumps(json.loads(app.raw), indent=7).encode() + b"\n\n"
    answer = served.put(spaced, "v1", app.media_type)
    assert (answer.status, answer.headers["Docker-Content-Digest"]) == (201, sha256(spaced))
    got = served.send("GET", f"{V2}/manifests/v1")
    assert (got.data, got.headers["Content-Type"]) == (spaced, app.media_type)
    head = served.send("HEAD", f"{V2}/manifests/{sha256(spaced)}")
    assert (head.status, head.headers["Content-Length"]) == (200, str(len(spaced)))


def test_a_manifest_needs_its_layers(served: Served) -> None:
    app = image("app")
    missing = ", ".join(d for d in dict.fromkeys([app.root.config.digest, *(x.digest for x in app.root.layers)]))
    assert error(served.put(app.raw, "v1", app.media_type)) == (
        400,
        "MANIFEST_BLOB_UNKNOWN",
        f"Layers with digests '[{missing}]' required for pushing image into repository with name '{NAME}' in the "
        "registry with id '111111111111' do not exist",
    )


def test_layers_of_another_repository_are_not_the_repositorys(served: Served) -> None:
    app = image("app")
    served.create(name="team/other")
    served.push(app, "v1", name="team/other")
    assert error(served.put(app.raw, "v1", app.media_type))[1] == "MANIFEST_BLOB_UNKNOWN"


def test_foreign_layers_need_not_be_there(served: Served) -> None:
    windows = image(foreign_layer(), "app")
    foreign = {
        layer.digest for layer in windows.root.layers if "foreign" in layer.media_type or "nondist" in layer.media_type
    }
    assert foreign
    for digest, raw in windows.blobs.items():
        if digest not in foreign:
            served.upload(raw)
    assert served.put(windows.raw, "v1", windows.media_type).status == 201


def test_an_index_needs_its_children(served: Served) -> None:
    both = multi_arch()
    missing = ", ".join(d for d in both.manifests if d != both.digest)
    assert error(served.put(both.raw, "v1", both.media_type)) == (
        400,
        "MANIFEST_BLOB_UNKNOWN",
        f"Images with digests '[{missing}]' required for pushing image into repository with name '{NAME}' in the "
        "registry with id '111111111111' do not exist",
    )


def test_another_digest_in_the_url_is_refused(served: Served) -> None:
    app = image("app")
    served.push(app)
    assert error(served.put(app.raw, NOWHERE, app.media_type)) == (
        400,
        "MANIFEST_INVALID",
        f"The image with digest '{NOWHERE}' in repository '{NAME}' and registry ID '111111111111' does not match the "
        "image digest that Amazon ECR has calculated.",
    )


@pytest.mark.parametrize(
    ("mutability", "filters", "moves"),
    [
        ("MUTABLE", [], {"v1": True, "latest": True}),
        ("IMMUTABLE", [], {"v1": False, "latest": False}),
        ("IMMUTABLE_WITH_EXCLUSION", ["latest", "dev-*"], {"v1": False, "latest": True, "dev-7": True}),
        ("MUTABLE_WITH_EXCLUSION", ["v*"], {"v1": False, "latest": True}),
    ],
)
def test_a_tag_moves_only_where_it_is_mutable(
    served: Served, mutability: str, filters: list[str], moves: dict[str, bool]
) -> None:
    excluded = [{"filterType": "WILDCARD", "filter": text} for text in filters]
    served.create(
        name="team/app",
        imageTagMutability=mutability,
        **({"imageTagMutabilityExclusionFilters": excluded} if excluded else {}),
    )
    first, second = image("one"), image("two")
    for tag, moved in moves.items():
        served.push(first, tag, name="team/app")
        again = served.push(first, tag, name="team/app")
        answer = served.push(second, tag, name="team/app")
        if moved:
            assert (again.status, answer.status) == (201, 201)
            continue
        text = (
            f"The image tag '{tag}' already exists in the 'team/app' repository and cannot be overwritten because the "
        )
        assert error(again) == error(answer) == (400, "TAG_INVALID", text + "tag is immutable.")
        assert served.send("GET", f"/v2/team/app/manifests/{tag}").data == first.raw


def test_children_pushed_again_by_digest_are_no_conflict_where_tags_are_immutable(served: Served) -> None:
    served.create(name="team/app", imageTagMutability="IMMUTABLE")
    both = multi_arch()
    assert served.push(both, "v1", name="team/app").status == 201
    assert served.push(both, "v2", name="team/app").status == 201


# -- tags, referrers, removal


def test_tags_come_in_pages_with_an_opaque_link(served: Served) -> None:
    app = image("app")
    served.push(app, "v0")
    for number in range(1, 105):
        served.put(app.raw, f"v{number}", app.media_type)
    path, seen, sizes = f"{V2}/tags/list", [], []
    while path:
        answer = served.send("GET", path)
        page = json.loads(answer.data)["tags"]
        seen, sizes = seen + page, [*sizes, len(page)]
        path = answer.headers.get("Link", "").partition("<")[2].partition(">")[0]
    assert (sizes, set(seen)) == ([100, 5], {f"v{number}" for number in range(105)})


def test_referrers_are_found_by_subject_and_artifact_type(served: Served) -> None:
    app = image("app")
    signed, listed = signature(app), sbom(app)
    served.push(app, "v1")
    answer = served.push(signed)
    assert answer.headers["OCI-Subject"] == app.digest
    served.push(listed)
    found = served.send("GET", f"{V2}/referrers/{app.digest}")
    assert found.headers["Content-Type"] == "application/vnd.oci.image.index.v1+json"
    assert {d["digest"] for d in json.loads(found.data)["manifests"]} == {signed.digest, listed.digest}
    filtered = served.send("GET", f"{V2}/referrers/{app.digest}?artifactType=application/spdx%2Bjson")
    assert filtered.headers["OCI-Filters-Applied"] == "artifactType"
    (only,) = json.loads(filtered.data)["manifests"]
    assert (only["digest"], only["artifactType"], only["size"]) == (
        listed.digest,
        "application/spdx+json",
        len(listed.raw),
    )
    assert json.loads(served.send("GET", f"{V2}/referrers/{NOWHERE}").data)["manifests"] == []


def test_the_last_tag_takes_the_image_with_it(served: Served) -> None:
    app = image("app")
    served.push(app, "v1")
    served.put(app.raw, "v2", app.media_type)
    assert served.send("DELETE", f"{V2}/manifests/v1").status == 202
    assert served.send("GET", f"{V2}/manifests/{app.digest}").status == 200
    assert served.send("DELETE", f"{V2}/manifests/v2").status == 202
    assert served.send("GET", f"{V2}/manifests/{app.digest}").status == 404


def test_an_index_child_is_not_removed_before_its_index(served: Served) -> None:
    both = multi_arch()
    served.push(both, "v1")
    child = next(iter(both.manifests))
    status, code, text = error(served.send("DELETE", f"{V2}/manifests/{child}"))
    assert (status, code) == (405, "UNSUPPORTED")
    assert text == f"Requested image referenced by manifest list: [{both.digest}]"
    assert served.send("DELETE", f"{V2}/manifests/{both.digest}").status == 202
    assert served.send("DELETE", f"{V2}/manifests/{child}").status == 202


# -- what is told


def test_each_manifest_of_a_push_is_an_event_with_the_children_untagged(served: Served) -> None:
    both = multi_arch(attested=True)
    served.push(both, "v1")
    assert [(e["detail"]["image-digest"], e["detail"]["image-tag"]) for e in served.events] == [
        *((digest, "") for digest in both.manifests if digest != both.digest),
        (both.digest, "v1"),
    ]


def test_a_push_event_is_as_ecr_writes_it(served: Served) -> None:
    app = image("app")
    served.push(app, "v1.0.0-abc123")
    event = dict(served.events[-1])
    assert len(event.pop("id")) == 36
    assert event == {
        "version": "0",
        "detail-type": "ECR Image Action",
        "source": "aws.ecr",
        "account": "111111111111",
        "time": "2026-11-16T12:00:00Z",
        "region": "us-east-2",
        "resources": [],
        "detail": {
            "result": "SUCCESS",
            "repository-name": NAME,
            "image-digest": app.digest,
            "action-type": "PUSH",
            "image-tag": "v1.0.0-abc123",
            "manifest-media-type": "application/vnd.oci.image.manifest.v1+json",
            "artifact-media-type": "application/vnd.oci.image.config.v1+json",
        },
    }


def test_a_referrer_is_told_as_a_referrer_action(served: Served) -> None:
    app = image("app")
    served.push(app, "v1")
    served.push(signature(app))
    assert [e["detail-type"] for e in served.events] == ["ECR Image Action", "ECR Referrer Action"]


def test_an_unchanged_or_refused_push_is_no_event(served: Served) -> None:
    served.create(name="team/app", imageTagMutability="IMMUTABLE")
    app = image("app")
    for name in (NAME, "team/app"):
        served.push(app, "v1", name=name)
    told = len(served.events)
    for name in (NAME, "team/app"):
        served.push(app, "v1", name=name)
        served.put(b"{", "v2", app.media_type, name=name)
    assert len(served.events) == told


def test_a_removal_is_one_event_per_tag_and_one_for_the_image(served: Served) -> None:
    app = image("app")
    served.push(app, "v1")
    served.put(app.raw, "v2", app.media_type)
    served.events.clear()
    served.send("DELETE", f"{V2}/manifests/{app.digest}")
    told = [(e["detail"]["action-type"], e["detail"]["image-tag"]) for e in served.events]
    assert told == [("DELETE", "v1"), ("DELETE", "v2"), ("DELETE", "")]


def test_a_manifest_put_is_a_put_image_in_the_trail_failed_ones_too(served: Served) -> None:
    app = image("app")
    served.push(app, "v1")
    record = served.trail[-1]
    assert (record["eventName"], record["eventSource"]) == ("PutImage", "ecr.amazonaws.com")
    assert (record["eventTime"], record["awsRegion"]) == ("2026-11-16T12:00:00Z", "us-east-2")
    assert record["userIdentity"]["arn"] == "arn:aws:iam::111111111111:user/dev"
    asked = record["requestParameters"]
    assert (asked["repositoryName"], asked["imageTag"], asked["registryId"]) == (NAME, "v1", "111111111111")
    assert record["responseElements"]["image"]["imageId"] == {"imageDigest": app.digest, "imageTag": "v1"}
    served.put(b"{", "v2", app.media_type)
    assert (served.trail[-1]["errorCode"], served.trail[-1]["responseElements"]) == ("InvalidParameterException", None)


def test_a_push_is_answered_after_its_event(served: Served) -> None:
    for app in (
        image("one"),
        multi_arch("two"),
        image(big_layer(1000)),
        index(image("one"), attestation(image("one"))),
    ):
        served.push(app)
        assert served.events[-1]["detail"]["image-digest"] == app.digest
