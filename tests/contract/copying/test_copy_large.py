"""Large layers by `tallyman copy`: the next run resumes a killed one, for each kind of target."""

import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support.images.builders import big_layer, image
from support.servers.copy_cli import holding
from support.servers.ecr import PROD, Served
from support.servers.oci import OciServer, Trouble
from tallyman_cli.copy import large_uploads, transports
from tallyman_cli.copy.copy import run

MIB = 1024 * 1024
LAYER = big_layer(7 * MIB + 5)
BUILT = image(LAYER)
SIZE = len(LAYER.raw)
PROGRAM = (
    "import sys; from tallyman_cli.copy import large_uploads, transports; from tallyman_cli.copy.copy import run; "
    f"transports.LARGE = {MIB}; large_uploads.PART = {2 * MIB}; sys.exit(run(sys.argv[1:]))"
)

source = holding(BUILT)
pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat one mebibyte as large."""
    monkeypatch.setattr(transports, "LARGE", MIB)
    monkeypatch.setattr(large_uploads, "PART", 2 * MIB)


def kept(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache/tallyman/uploads").glob("*"))


def killed(source: OciServer, target: OciServer, part: int) -> None:
    """Run the copy and kill it in the middle of this part."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    words = [f"{source.host}/team/app:v1", f"{target.host}/team/app"]
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, *words], env=environment)

    def kill(number: int) -> None:
        if number == part:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()

    target.halfway = kill
    assert process.wait(60) == -signal.SIGKILL
    target.halfway = lambda number: None


def again(source: OciServer, target: OciServer) -> int:
    return run([f"{source.host}/team/app:v1", f"{target.host}/team/app"])


def test_a_killed_run_is_resumed_and_no_part_is_sent_or_read_twice(
    source: OciServer, target: OciServer, tmp_path: Path
) -> None:
    killed(source, target, 3)
    [file] = [f for f in kept(tmp_path) if f.suffix == ".json"]
    assert file.stat().st_mode & 0o777 == 0o600
    assert json.loads(file.read_text())["data"]["offset"] == 4 * MIB
    before = source.bytes_out
    assert again(source, target) == 0
    assert target.repo("team/app").blobs[str(LAYER.digest)] == LAYER.raw
    assert target.repo("team/app").tags == {"v1": BUILT.digest}
    assert sum(length for _, length in target.parts) == SIZE  # no byte was sent twice
    assert source.bytes_out - before < SIZE - 4 * MIB + MIB
    assert kept(tmp_path) == []


def test_an_expired_upload_session_restarts(source: OciServer, target: OciServer, tmp_path: Path) -> None:
    killed(source, target, 3)
    target.sessions.clear()
    assert again(source, target) == 0
    assert target.repo("team/app").blobs[str(LAYER.digest)] == LAYER.raw
    assert kept(tmp_path) == []


def test_a_layer_assembled_with_wrong_bytes_restarts(source: OciServer, target: OciServer, tmp_path: Path) -> None:
    killed(source, target, 2)
    [session] = [s for s, held in target.sessions.items() if held]
    target.sessions[session] = bytes(len(target.sessions[session]))
    assert again(source, target) == 0
    assert target.repo("team/app").blobs[str(LAYER.digest)] == LAYER.raw
    assert kept(tmp_path) == []


@pytest.mark.parametrize("status", [416, 404, 503])
def test_a_refused_part_is_retried_in_the_same_run(
    source: OciServer, target: OciServer, tmp_path: Path, status: int
) -> None:
    target.on("PATCH", "/blobs/uploads/", Trouble(status=status))
    assert again(source, target) == 0
    assert target.repo("team/app").blobs[str(LAYER.digest)] == LAYER.raw
    assert sum(length for _, length in target.parts) == SIZE  # uploaded in parts again, not in one piece
    assert kept(tmp_path) == []


@pytest.mark.parametrize("session", ["/v2/other/app/blobs/uploads/1", "@elsewhere.invalid/v2/team/app/blobs/uploads/1"])
def test_a_forged_upload_session_in_the_progress_file_does_not_redirect_the_upload(
    source: OciServer, target: OciServer, tmp_path: Path, session: str
) -> None:
    killed(source, target, 3)
    [file] = [f for f in kept(tmp_path) if f.suffix == ".json"]
    document = json.loads(file.read_text())
    document["data"]["session"] = session
    file.write_text(json.dumps(document))
    assert again(source, target) == 0
    assert all(path.startswith("/v2/team/app/") for _, path in target.requests)
    assert target.repo("team/app").blobs[str(LAYER.digest)] == LAYER.raw


def test_a_registry_without_chunked_uploads_gets_the_layer_in_one_request(
    source: OciServer, target: OciServer, tmp_path: Path
) -> None:
    target.on("PATCH", "/blobs/uploads/", Trouble(status=405), times=99)
    assert again(source, target) == 0
    assert target.repo("team/app").blobs[str(LAYER.digest)] == LAYER.raw
    assert target.count("PATCH") == 1
    assert kept(tmp_path) == []


def test_a_concurrent_run_uploads_in_one_request_and_does_not_touch_the_others_session(
    source: OciServer, target: OciServer, tmp_path: Path
) -> None:
    killed(source, target, 2)
    [file] = [f for f in kept(tmp_path) if f.suffix == ".json"]
    before = file.read_bytes()
    with file.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        sent = target.count("PATCH")
        assert again(source, target) == 0
    assert target.count("PATCH") == sent
    assert target.repo("team/app").blobs[str(LAYER.digest)] == LAYER.raw
    assert file.read_bytes() == before


def test_progress_older_than_a_day_is_removed(source: OciServer, target: OciServer, tmp_path: Path) -> None:
    killed(source, target, 2)
    [file] = [f for f in kept(tmp_path) if f.suffix == ".json"]
    file.write_text(json.dumps({**json.loads(file.read_text()), "expires": 1}))
    other = file.with_name("0" * 64 + ".json")
    other.write_bytes(file.read_bytes())
    dead = file.with_name("1" * 64 + ".lock")
    dead.touch()
    os.utime(dead, (1, 1))
    target.parts.clear()
    assert again(source, target) == 0
    assert target.parts[0][0] == 0
    assert kept(tmp_path) == []


def test_a_damaged_source_leaves_no_progress(source: OciServer, target: OciServer, tmp_path: Path) -> None:
    source.on("GET", f"/blobs/{LAYER.digest}", Trouble(flip=True), times=9)
    assert again(source, target) == 1
    assert str(LAYER.digest) not in target.repo("team/app").blobs
    assert kept(tmp_path) == []


def test_a_killed_run_to_ecr_is_resumed_too(
    source: OciServer, ecr: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    big = image(big_layer(20 * MIB))
    source.push("team/app", big, "big")
    ecr.create(PROD, "team/app")
    monkeypatch.setattr(transports, "LARGE", 10 * MIB)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    words = [f"{source.host}/team/app:big", f"{PROD.host}/team/app"]
    crash = (
        "import os; from tallyman.adapters.ecr.layer_uploads import EcrLayerUploads as U; send = U.send_part\n"
        "def once(self, repository, session, first, part):\n"
        "    have = send(self, repository, session, first, part)\n"
        "    if first: os.kill(os.getpid(), 9)\n"
        "    return have\n"
        "U.send_part = once\n"
    )
    program = crash + PROGRAM.replace(f"LARGE = {MIB}", f"LARGE = {10 * MIB}")
    done = subprocess.run([sys.executable, "-c", program, *words], env=environment, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    [file] = [f for f in kept(tmp_path) if f.suffix == ".json"]
    assert 8 * MIB <= json.loads(file.read_text())["data"]["offset"] < 9 * MIB
    before = source.bytes_out
    assert run(words) == 0
    assert source.bytes_out - before < 15 * MIB  # of 20 parts, plus what was in buffers
    held = ecr.client(PROD).batch_get_image(repositoryName="team/app", imageIds=[{"imageTag": "big"}])
    assert held["images"][0]["imageId"]["imageDigest"] == big.digest
    assert kept(tmp_path) == []


def test_an_ecr_under_another_name_takes_parts(
    source: OciServer, ecr: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ECR Public, or ECR behind a name of one's own: a PATCH is answered 201, with a Range that stays at the first part
    (containers-roadmap #2831)."""
    for name in [name for name in os.environ if name.startswith("TALLYMAN_REGISTRY_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(large_uploads, "PART", MIB // 2)
    ecr.client(PROD).create_repository(repositoryName="team/app")
    host = ecr.base(PROD).removeprefix("http://")
    (tmp_path / ".docker").mkdir()
    auths = {host: {"auth": ecr.token().removeprefix("Basic ")}}
    (tmp_path / ".docker/config.json").write_text(json.dumps({"auths": auths}))
    assert run([f"{source.host}/team/app:v1", f"{host}/team/app"]) == 0
    assert ecr.client(PROD).describe_images(repositoryName="team/app")["imageDetails"][0]["imageTags"] == ["v1"]
    assert kept(tmp_path) == []
