"""Large layers in constant memory, many pushes at once, a full disk, two clients on one upload."""

import errno
import hashlib
import http.client
import json
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
import pytest

from support.images.builders import big_layer, image
from support.servers.ecr import DEV, NAME, serve
from tallyman.domain.names import Digest
from tallyman_local.ecr.store import blobs

PART = 10 * 1024 * 1024
BLOCK = bytes(range(256)) * (PART // 256)

# The process under measurement: only the registry and its API. It prints its ports, then its peak memory at the end.
CHILD = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from tallyman.domain.names import EcrRegistry
from tallyman_local.ecr import Callbacks, Identity, LocalEcr
from tallyman_local.server.http import Listener

home = EcrRegistry("111111111111", "us-east-2")
who = Identity(home.account, "arn:aws:iam::111111111111:user/dev", "AIDADEV")
result = {"emit": lambda *event: None, "trail": lambda record: None}
asked = {"endpoint_of": lambda registry: "http://localhost", "identify": lambda key: who}
ecr = LocalEcr(Path(sys.argv[1]), Callbacks(clock=lambda: datetime.now(UTC), **result, **asked))
ecr.api("CreateRepository", b'{"repositoryName": "rocketseat/widget-server"}', home, who)
token = ecr.api("GetAuthorizationToken", b"{}", home, who)[2].split(b'authorizationToken": "')[1].split(b'"')[0]
registry, api = Listener(ecr.v2(home), threads=6), Listener(ecr.api_app(), threads=4)
for listener in (registry, api):
    listener.start()
print(registry.port, api.port, token.decode(), flush=True)

def peak():
    return next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))

before = peak()
sys.stdin.readline()
print(before, peak(), flush=True)
"""


def start(folder: Path) -> subprocess.Popen[str]:
    """Start the process; it does not listen yet."""
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def ports(child: subprocess.Popen[str]) -> tuple[int, int, str]:
    """The registry's port, the API's port, and an Authorization header, once it listens."""
    assert child.stdout is not None
    registry, api, token = child.stdout.readline().split()
    return int(registry), int(api), f"Basic {token}"


def parts(size: int) -> Iterator[bytes]:
    for number in range(size // PART):
        yield number.to_bytes(8, "big") + BLOCK[8:]


def request(port: int, token: str, method: str, path: str, body: object = None, **headers: str) -> tuple[int, str]:
    """Status and the path of Location."""
    connection = http.client.HTTPConnection("localhost", port, timeout=300)
    named = {"Authorization": token, **{name.replace("_", "-"): value for name, value in headers.items()}}
    connection.request(method, path, body, named, encode_chunked="Transfer-Encoding" in named)  # type: ignore[arg-type]
    answer = connection.getresponse()
    answer.read()
    location = answer.headers.get("Location", "")
    connection.close()
    return answer.status, location.partition(f":{port}")[2]


def by_put(port: int, api: int, token: str, size: int, digest: str) -> None:
    _, path = request(port, token, "POST", f"/v2/{NAME}/blobs/uploads/")
    status, _ = request(port, token, "PUT", f"{path}?digest={digest}", parts(size), Content_Length=str(size))
    assert status == 201


def by_chunked_patch(port: int, api: int, token: str, size: int, digest: str) -> None:
    _, path = request(port, token, "POST", f"/v2/{NAME}/blobs/uploads/")
    status, _ = request(port, token, "PATCH", path, parts(size), Transfer_Encoding="chunked")
    assert status == 201
    assert request(port, token, "PUT", f"{path}?digest={digest}")[0] == 201


def by_one_chunk(port: int, api: int, token: str, size: int, digest: str) -> None:
    """The client chooses the size of a chunk."""
    _, path = request(port, token, "POST", f"/v2/{NAME}/blobs/uploads/")
    with socket.create_connection(("localhost", port), timeout=300) as connection:
        head = (
            f"PATCH {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {token}\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        connection.sendall(f"{head}{size:x}\r\n".encode())
        for part in parts(size):
            connection.sendall(part)
        connection.sendall(b"\r\n0\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 201 ")
    assert request(port, token, "PUT", f"{path}?digest={digest}")[0] == 201


def by_parts_of_the_api(port: int, api: int, token: str, size: int, digest: str) -> None:
    keys: dict[str, Any] = {
        "aws_access_key_id": DEV.account,
        "aws_secret_access_key": "secret",
        "region_name": DEV.region,
    }
    client = boto3.client("ecr", endpoint_url=f"http://127.0.0.1:{api}", **keys)
    upload = client.initiate_layer_upload(repositoryName=NAME)["uploadId"]
    for number, part in enumerate(parts(size)):
        first = number * PART
        where = {"partFirstByte": first, "partLastByte": first + len(part) - 1, "layerPartBlob": part}
        client.upload_layer_part(repositoryName=NAME, uploadId=upload, **where)
    client.complete_layer_upload(repositoryName=NAME, uploadId=upload, layerDigests=[digest])


@pytest.mark.parametrize("way", [by_put, by_chunked_patch, by_one_chunk, by_parts_of_the_api])
@pytest.mark.parametrize("size", [100 * 1024 * 1024, pytest.param(2000 * 1024 * 1024, marks=pytest.mark.heavy)])
def test_a_large_layer_is_uploaded_in_constant_memory(tmp_path: Path, way: Callable[..., None], size: int) -> None:
    """The peak of the entire process, with interpreter and botocore's model, stays below 100 MB."""
    sha256 = hashlib.sha256()
    for part in parts(size):
        sha256.update(part)
    child = start(tmp_path)
    with child:
        port, api, token = ports(child)
        way(port, api, token, size, "sha256:" + sha256.hexdigest())
        said, _ = child.communicate("\n", timeout=60)
    before, peak = (int(kib) * 1024 / 1e6 for kib in said.split())
    print(f"{way.__name__} of {size >> 20} MiB: {before:.0f} MB before, {peak:.0f} MB at its peak")
    assert peak < 100, f"{before:.0f} → {peak:.0f} MB"


def test_fifty_concurrent_pushes_are_all_complete(tmp_path: Path) -> None:
    with serve(tmp_path) as served:
        served.create()
        apps = [image(f"app {number}", big_layer(200_000, number % 5)) for number in range(50)]
        with ThreadPoolExecutor(50) as pool:
            answers = list(pool.map(lambda n: served.push(apps[n], f"v{n}").status, range(50)))
        assert answers == [201] * 50
        for number, app in enumerate(apps):
            assert served.send("GET", f"/v2/{NAME}/manifests/v{number}").data == app.raw
            for digest, raw in app.blobs.items():
                assert served.ecr.store.blobs.path(DEV, digest).read_bytes() == raw
        assert sorted(e["detail"]["image-tag"] for e in served.events) == sorted(f"v{n}" for n in range(50))


@pytest.mark.parametrize("answers", [2, 9, 23, 41])
def test_a_process_killed_while_many_push_keeps_every_push_that_it_answered(tmp_path: Path, answers: int) -> None:
    """Four clients push; the process is killed after some answers. After a restart each push is complete or absent."""
    child = start(tmp_path)
    port, _, token = ports(child)
    answered: list[str] = []
    apps = {f"v{n}": image(f"app {n}", big_layer(120_000, n)) for n in range(60)}

    def push(tag: str) -> None:
        app = apps[tag]
        with suppress(OSError, http.client.HTTPException):
            for digest, raw in app.blobs.items():
                _, path = request(port, token, "POST", f"/v2/{NAME}/blobs/uploads/")
                request(port, token, "PUT", f"{path}?digest={digest}", raw)
            path = f"/v2/{NAME}/manifests/{tag}"
            if request(port, token, "PUT", path, app.raw, Content_Type=app.media_type)[0] == 201:
                answered.append(tag)
                if len(answered) >= answers:
                    child.kill()

    with child, ThreadPoolExecutor(4) as pool:
        list(pool.map(push, apps))
    assert len(answered) >= answers
    with serve(tmp_path) as served:
        listed = {i["imageTag"] for i in served.client().list_images(repositoryName=NAME)["imageIds"]}
        assert set(answered) <= listed
        for tag in listed:
            assert served.send("GET", f"/v2/{NAME}/manifests/{tag}").data == apps[tag].raw
            for digest, raw in apps[tag].blobs.items():
                assert served.ecr.store.blobs.path(DEV, digest).read_bytes() == raw
        assert list((tmp_path / "uploads").iterdir()) == []
        owned = {row["digest"] for row in served.ecr.store.db.rows("SELECT digest FROM layers")}
        assert {digest for _, digest in served.ecr.store.blobs.all()} == owned


def test_two_clients_on_one_upload_never_mix_their_bytes(tmp_path: Path) -> None:
    """Both send the same chunk at the same offset: one is stored, the other refused; the stored layer is intact."""
    with serve(tmp_path) as served:
        served.create()
        chunks = [bytes([number]) * 300_000 for number in range(6)]
        location = served.send("POST", f"/v2/{NAME}/blobs/uploads/").headers["Location"]
        with ThreadPoolExecutor(2) as pool:
            for number, chunk in enumerate(chunks):
                first = number * 300_000
                headers: dict[str, Any] = {"Content_Range": f"{first}-{first + 299_999}"}
                sent = [pool.submit(served.send, "PATCH", location, chunk, **headers) for _ in range(2)]
                assert sorted(future.result().status for future in sent) == [201, 416]
            whole = b"".join(chunks)
            digest = "sha256:" + hashlib.sha256(whole).hexdigest()
            done = [pool.submit(served.send, "PUT", f"{location}?digest={digest}") for _ in range(2)]
            assert sorted(future.result().status for future in done) == [201, 404]
        assert served.ecr.store.blobs.path(DEV, Digest(digest)).read_bytes() == whole


def refused(answer: object) -> tuple[int, str]:
    return answer.status, json.loads(answer.data)["errors"][0]["code"]  # type: ignore[attr-defined]


def test_a_full_disk_refuses_the_layer_and_keeps_the_rest(tmp_path: Path) -> None:
    """A limit on the size of files replaces the full disk: the same error path, OSError from write()."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    with serve(tmp_path) as served:
        served.create()
        app = image("app")
        served.push(app, "v1")
        location = served.send("POST", f"/v2/{NAME}/blobs/uploads/").headers["Location"]
        big = os.urandom(4 << 20)
        digest = "sha256:" + hashlib.sha256(big).hexdigest()
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limit[1]))  # Python ignores SIGXFSZ: write() fails
        try:
            answer = served.send("PUT", f"{location}?digest={digest}", big)
            status, body = served.api("InitiateLayerUpload", repositoryName=NAME)
            assert status == 200
            upload = body["uploadId"]
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        assert refused(answer) == (507, "UNKNOWN")
        assert served.send("GET", location).headers["Range"] == "0-0"
        assert served.send("GET", f"/v2/{NAME}/manifests/v1").data == app.raw
        assert served.send("PUT", f"{location}?digest={digest}", big).status == 201
        assert upload
        assert served.push(image("other"), "v2").status == 201


def test_a_full_disk_opens_no_upload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(tmp_path) as served:
        served.create()

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patched:
            patched.setattr(blobs.Blobs, "start", full)
            assert refused(served.send("POST", f"/v2/{NAME}/blobs/uploads/")) == (507, "UNKNOWN")
            status, body = served.api("InitiateLayerUpload", repositoryName=NAME)
            assert (status, body["__type"]) == (500, "ServerException")
            assert "No space left on device" in body["message"]
        assert served.push(image("app"), "v1").status == 201
