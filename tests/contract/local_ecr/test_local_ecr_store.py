"""The local ECR's store: acknowledged writes survive a killed process, layers stream, threads do not interfere."""

import hashlib
import http.client
import io
import os
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support.images.builders import image, multi_arch
from support.servers.ecr import DEV, NAME, PROD, Served, serve
from tallyman_local.ecr import EcrError
from tallyman_local.ecr.store.blobs import Blobs
from tallyman_local.ecr.store.tables import Store

CHILD = """
import os, signal, sys
from pathlib import Path
from support.images.builders import image
from support.servers.ecr import NAME, serve
from tallyman_local.ecr.store.blobs import Blobs, Upload
from tallyman_local.ecr.store.database import Database
from tallyman_local.ecr.store.tables import Store

point = sys.argv[2]

def die(*args, **more):
    os.kill(os.getpid(), signal.SIGKILL)

with serve(Path(sys.argv[1])) as served:
    served.create()
    app = image("first")
    served.push(app, "v1")
    print(app.digest, flush=True)
    if point == "while a layer comes":
        Upload.digest = die
    elif point == "before the layer is renamed":
        Blobs.keep = die
    elif point == "after the layer is renamed":
        Store.add_layer = die
    elif point == "before the manifest is committed":
        Store.tag = die
    elif point == "after the manifest is committed":
        served.ecr._parts.images._events.image = die
    served.push(image("second"), "v2")
"""


@pytest.mark.parametrize(
    ("point", "second"),
    [
        ("while a layer comes", False),
        ("before the layer is renamed", False),
        ("after the layer is renamed", False),
        ("before the manifest is committed", False),
        ("after the manifest is committed", True),
    ],
)
def test_a_killed_process_leaves_no_partial_push(tmp_path: Path, point: str, second: bool) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path), point], capture_output=True, text=True, env=environment, timeout=60
    )
    assert child.returncode == -signal.SIGKILL, child.stderr
    first = child.stdout.strip()
    with serve(tmp_path) as served:
        tags = {i["imageTag"] for i in served.client().list_images(repositoryName=NAME)["imageIds"]}
        assert tags == ({"v1", "v2"} if second else {"v1"})
        assert served.send("GET", f"/v2/{NAME}/manifests/{first}").data == image("first").raw
        assert list((tmp_path / "uploads").iterdir()) == []
        for registry, digest in served.ecr.store.blobs.all():
            assert registry == DEV
            assert served.ecr.store.layer_size(1, digest) is not None, "a blob that belongs to nothing"
            path = served.ecr.store.blobs.path(registry, digest)
            assert "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest() == digest
        assert served.push(image("second"), "v2").status == 201


def test_a_store_opened_again_is_the_same_and_its_tokens_still_hold(tmp_path: Path) -> None:
    both = multi_arch()
    with serve(tmp_path) as served:
        served.create()
        served.push(both, "v1")
        token, before = served.token(), served.api("DescribeImages", repositoryName=NAME)
    with serve(tmp_path) as served:
        assert served.api("DescribeImages", repositoryName=NAME) == before
        answer = served.send("GET", f"/v2/{NAME}/manifests/v1", Authorization=token)
        assert answer.data == both.raw


def test_a_damaged_layer_differs_in_one_byte_in_its_own_registry_only(tmp_path: Path) -> None:
    with serve(tmp_path) as served:
        raw = b"0123456789" * 100
        for registry in (DEV, PROD):
            served.create(registry)
            digest = served.upload(raw, registry)

        def served_bytes(registry: object) -> bytes:
            address = served.send("GET", f"/v2/{NAME}/blobs/{digest}", registry=registry).headers["Location"]  # type: ignore[arg-type]
            return bytes(served.send("GET", address, Authorization="").data)

        served.ecr.damage(DEV, NAME, digest)
        damaged = served_bytes(DEV)
        assert (len(damaged), sum(a != b for a, b in zip(damaged, raw, strict=True))) == (len(raw), 1)
        assert served_bytes(PROD) == raw
        served.ecr.damage(DEV, NAME, digest)
        assert served_bytes(DEV) == raw
        with pytest.raises(EcrError, match="do not exist"):
            served.ecr.damage(DEV, NAME, "sha256:" + "0" * 64)


def test_deleting_a_repository_deletes_layers_that_no_other_has(tmp_path: Path) -> None:
    with serve(tmp_path) as served:
        for name in (NAME, "team/other"):
            served.create(name=name)
            shared = served.upload(b"shared", name=name)
        served.upload(b"own")
        served.api("DeleteRepository", repositoryName=NAME, force=True)
        assert [digest for _, digest in served.ecr.store.blobs.all()] == [shared]


BLOCK = bytes(range(256)) * 4096  # 1 MiB
BLOCKS = 64


def blocks() -> Iterator[bytes]:
    for number in range(BLOCKS):
        yield number.to_bytes(8, "big") + BLOCK[8:]


def test_a_large_layer_streams_up_and_down_without_being_held_in_memory(tmp_path: Path) -> None:
    sha256 = hashlib.sha256()
    for block in blocks():
        sha256.update(block)
    digest, size = "sha256:" + sha256.hexdigest(), BLOCKS * len(BLOCK)
    with serve(tmp_path) as served:
        served.create()
        location = served.send("POST", f"/v2/{NAME}/blobs/uploads/").headers["Location"]
        token = served.token()
        tracemalloc.start()
        try:
            assert put(served, f"{location}?digest={digest}", size, token) == 201
            address = served.send("GET", f"/v2/{NAME}/blobs/{digest}").headers["Location"]
            assert fetch(served, address) == digest
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 16 * 1024 * 1024


def put(served: Served, location: str, size: int, token: str) -> int:
    """Send the blocks with a Content-Length; return the status."""
    connection = http.client.HTTPConnection("localhost", served.ports[DEV])
    path = location.partition(f":{served.ports[DEV]}")[2]
    connection.request("PUT", path, blocks(), {"Authorization": token, "Content-Length": str(size)})
    status = connection.getresponse().status
    connection.close()
    return status


def fetch(served: Served, address: str) -> str:
    """Read in small chunks; return the digest of the content."""
    connection = http.client.HTTPConnection("127.0.0.1", served.ports[DEV])
    connection.request("GET", address.partition(f":{served.ports[DEV]}")[2])
    answer, sha256 = connection.getresponse(), hashlib.sha256()
    while piece := answer.read(1 << 16):
        sha256.update(piece)
    connection.close()
    return "sha256:" + sha256.hexdigest()


def test_one_of_many_concurrent_pushes_of_an_immutable_tag_wins(tmp_path: Path) -> None:
    with serve(tmp_path) as served:
        served.create(imageTagMutability="IMMUTABLE")
        apps = [image(f"app {number}") for number in range(8)]
        for app in apps:
            served.push(app)
        with ThreadPoolExecutor(8) as pool:
            statuses = list(pool.map(lambda app: served.put(app.raw, "v1", app.media_type).status, apps))
        assert sorted(statuses) == [201] + [400] * 7
        winner = apps[statuses.index(201)]
        assert served.send("GET", f"/v2/{NAME}/manifests/v1").data == winner.raw


def test_many_layers_are_uploaded_concurrently(tmp_path: Path) -> None:
    with serve(tmp_path) as served:
        served.create()
        layers = [bytes([number]) * 300_000 for number in range(16)] * 2
        with ThreadPoolExecutor(8) as pool:
            digests = set(pool.map(served.upload, layers))
        assert {digest for _, digest in served.ecr.store.blobs.all()} == digests


def test_a_repository_deleted_during_a_push_is_unknown_not_an_internal_error(tmp_path: Path) -> None:
    """The outcome of each race is random; none may be an internal error or leave a blob without a repository."""
    with serve(tmp_path) as served:
        app = image("app")

        def push(turn: int) -> set[int]:
            statuses = {
                served.send("POST", f"/v2/{NAME}/blobs/uploads/?mount={d}&from=team/other").status for d in app.blobs
            }
            for digest, raw in app.blobs.items():
                started = served.send("POST", f"/v2/{NAME}/blobs/uploads/")
                if started.status == 202:
                    location = started.headers["Location"]
                    statuses.add(served.send("PUT", f"{location}?digest={digest}", raw).status)
            return statuses | {served.put(app.raw, f"v{turn}", app.media_type).status}

        def churn(turn: int) -> set[int]:
            found = {
                served.api("CreateRepository", repositoryName=NAME, imageScanningConfiguration={"scanOnPush": True})[0]
            }
            return found | {served.api("DeleteRepository", repositoryName=NAME, force=True)[0]}

        served.create(name="team/other")
        for raw in app.blobs.values():
            served.upload(raw, name="team/other")
        with ThreadPoolExecutor(6) as pool:
            turns = [pool.submit(work, turn) for turn in range(30) for work in (push, churn)]
            statuses = set().union(*(turn.result() for turn in turns))
        assert statuses <= {200, 201, 202, 400, 404}
        assert {digest for _, digest in served.ecr.store.blobs.all()} >= set(app.blobs)


def test_an_upload_belongs_to_its_repository(tmp_path: Path) -> None:
    with serve(tmp_path) as served:
        served.create()
        served.create(name="team/other")
        location = served.send("POST", f"/v2/{NAME}/blobs/uploads/").headers["Location"]
        answer = served.send("PATCH", location.replace(NAME, "team/other"), b"abc")
        assert answer.status == 404


def test_opening_a_store_removes_partial_data(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    blobs.start("some-upload").append(io.BytesIO(b"abc").read, None)
    stray = tmp_path / "blobs" / DEV.account / DEV.region / "ab" / ("ab" + "0" * 62)
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"stray")
    store = Store(tmp_path)
    assert (list((tmp_path / "uploads").iterdir()), stray.exists()) == ([], False)
    store.db.close()
