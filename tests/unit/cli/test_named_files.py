"""Files that a person names are read with a bound: an endless or unusable one is an error with a reason."""

import json
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from typer.testing import CliRunner

from support.images.builders import image
from tallyman.adapters.files import policy_file, prices, reading
from tallyman.adapters.oci.layout import LayoutStore
from tallyman.domain.locations import layout_at
from tallyman.errors import BadInput, Refused, TallymanError
from tallyman_cli.build.signing import KeyFile
from tallyman_cli.copy import docker_logins
from tallyman_cli.main import app
from tallyman_cli.retention import native
from tallyman_cli.sbom import document
from tallyman_cli.setup import preflight, trust_roots
from tallyman_cli.shared import chosen

ENDLESS = Path("/dev/zero")
READERS: dict[str, Callable[[Path], object]] = {
    "policy": policy_file.load,
    "prices": prices.load,
    "lifecycle policy": native.read,
    "SBOM": document.read,
    "signing key": KeyFile.read,
    "configuration": chosen._read,
    "logins": docker_logins._document,
    "trust roots": lambda file: trust_roots.fetch("https://tuf.example", file, file.parent),
    "beside the policy": lambda file: policy_file.beside(file.parent, file.name),
}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "PATIENCE", 0.2)


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """A named pipe that nobody writes to."""
    made = tmp_path / "pipe"
    os.mkfifo(made)
    return made


@pytest.mark.parametrize("read", READERS.values(), ids=READERS.keys())
def test_every_reader_names_the_file_and_the_reason(read: Callable[[Path], object], pipe: Path, tmp_path: Path) -> None:
    huge = tmp_path / "huge"
    with huge.open("wb") as file:
        file.truncate(200 * reading.MIB)
    for path, reason in (
        (ENDLESS, "a device, not a file"),
        (pipe, "nothing was written to this pipe"),
        (huge, "larger than"),
        (tmp_path, "Is a directory"),
    ):
        with pytest.raises(BadInput, match=reason) as found:
            read(path)
        assert str(path) in str(found.value)


def test_a_policy_that_is_no_file_is_bad_input(pipe: Path, tmp_path: Path) -> None:
    for path in (ENDLESS, pipe, tmp_path):
        found = CliRunner().invoke(app, ["policy", "check", str(path), "--json"])
        assert found.exit_code == 2, found.output
        (problem,) = json.loads(found.stdout)["problems"]
        assert problem["message"].startswith(f"{path}: can't be read: ")


def test_minus_is_no_file_and_says_what_standard_input_is_called() -> None:
    with pytest.raises(BadInput, match="standard input is /dev/stdin"):
        policy_file.load("-")


def test_a_pipe_is_read_once_somebody_writes_to_it(pipe: Path) -> None:
    def write() -> None:
        with pipe.open("w") as file:
            file.write("environments: {}")

    writer = threading.Thread(target=write)
    writer.start()
    assert reading.read(pipe) == b"environments: {}"
    writer.join()


def test_a_pipe_without_end_is_read_to_the_limit(pipe: Path) -> None:
    def write() -> None:
        with suppress(BrokenPipeError), pipe.open("wb", buffering=0) as file:
            while True:
                file.write(b"# endless\n" * 1000)

    writer = threading.Thread(target=write)
    writer.start()
    with pytest.raises(BadInput, match="larger than 1 MiB"):
        policy_file.load(pipe)
    writer.join()


def test_the_null_device_is_an_empty_file() -> None:
    assert reading.read(os.devnull) == b""


def test_text_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    file = tmp_path / "samconfig.toml"
    file.write_bytes(b'\xef\xbb\xbf[prod.global.parameters]\r\nstack_name = "ours"\r\n')
    assert preflight.configured("prod", file)["global"]["parameters"]["stack_name"] == "ours"
    file.write_bytes(b"stack = '\xff'")
    with pytest.raises(BadInput, match=r"not UTF-8 text \(byte 9\)"):
        chosen._read(file)


def test_a_local_cloud_needs_a_policy_that_can_be_read_again(pipe: Path) -> None:
    writer = threading.Thread(target=pipe.write_text, args=("environments: {}",))
    writer.start()
    found = CliRunner().invoke(app, ["local", "exec", "--policy", str(pipe), "--", "true"])
    writer.join()
    assert (found.exit_code, "not a file" in found.stderr) == (2, True), found.output


def _pipe_for(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def test_pipes_in_an_oci_layout_are_refused(tmp_path: Path) -> None:
    where = layout_at(str(tmp_path))
    store, made = LayoutStore(), image("app")
    blob = tmp_path / "blobs" / "sha256" / made.digest.hex
    blob.parent.mkdir(parents=True)
    _pipe_for(blob)
    with pytest.raises(Refused, match="not a file"), store.open_blob(where, made.digest):
        pass
    _pipe_for(tmp_path / "index.json")
    with pytest.raises(TallymanError, match="nothing was written to this pipe"):
        store.tags(where)
