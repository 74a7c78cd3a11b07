"""`tallyman policy trust-roots` against a TUF repository that the test serves."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer

from support.fakes.cli_stack import FakeStack
from support.images.signing import Sigstore
from tallyman.adapters.files.signatures import OriginSignatures

ROLES = ("root", "targets", "snapshot", "timestamp")


@dataclass
class Repository:
    """A TUF repository in a folder: one key per role, consistent snapshots."""

    folder: Path
    keys: dict[str, CryptoSigner] = field(default_factory=lambda: {r: CryptoSigner.generate_ecdsa() for r in ROLES})
    version: int = 0

    def publish(self, raw: bytes, days: int = 30, name: str = "trusted_root.json") -> None:
        self.version += 1
        expires = datetime.now(UTC) + timedelta(days=days)
        if self.version == 1:
            root = Root(expires=datetime.now(UTC) + timedelta(days=30))
            for role, signer in self.keys.items():
                root.add_key(signer.public_key, role)
            self._put("root", root, "1.root.json")
        target = TargetFile.from_data(name, raw, ["sha256"])
        (self.folder / "targets").mkdir(exist_ok=True)
        (self.folder / "targets" / f"{target.hashes['sha256']}.{name}").write_bytes(raw)
        self._put("targets", Targets(self.version, expires=expires, targets={name: target}))
        self._put("snapshot", Snapshot(self.version, expires=expires, meta={"targets.json": MetaFile(self.version)}))
        meta = MetaFile(self.version)
        self._put("timestamp", Timestamp(self.version, expires=expires, snapshot_meta=meta), "timestamp.json")

    def _put(self, role: str, signed: Any, name: str | None = None) -> None:
        made = Metadata(signed)
        made.sign(self.keys[role])
        made.to_file(str(self.folder / (name or f"{self.version}.{role}.json")), JSONSerializer())


@dataclass
class Served:
    """A repository, its address, and the command that reads it."""

    system: FakeStack
    repository: Repository
    url: str
    file: Path

    def ask(self, root: Path | None = None, *more: str) -> Any:
        trusted = root or self.repository.folder / "1.root.json"
        options = ("--mirror", self.url, "--root", str(trusted), "--out", str(self.file), *more)
        return self.system.run("policy", "trust-roots", *options)


class _Silent(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


def _served(system: FakeStack, tmp_path: Path, name: str = "repository") -> Iterator[Served]:
    folder = tmp_path / name
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Silent, directory=str(folder)))
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield Served(
            system, Repository(folder), f"http://127.0.0.1:{server.server_port}", tmp_path / "trusted_root.json"
        )
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def served(system: FakeStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield from _served(system, tmp_path)


def roots() -> bytes:
    return json.dumps(Sigstore().roots).encode()


def test_the_roots_are_fetched_verified_and_written_and_a_second_time_unchanged(served: Served) -> None:
    raw = roots()
    served.repository.publish(raw)
    done = served.ask(None, "--json")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert served.file.read_bytes() == raw
    assert said == {
        "file": str(served.file),
        "digest": OriginSignatures(served.file.parent).roots,
        "changed": True,
        "authorities": 1,
        "logs": 1,
    }
    again = served.ask()
    assert (again.exit_code, "unchanged" in again.stdout) == (0, True)
    fresh = roots()
    served.repository.publish(fresh)
    assert "deploy it with the policy" in served.ask().stdout
    assert served.file.read_bytes() == fresh


@pytest.mark.parametrize("home", ["a file", "none"])
def test_without_a_folder_for_the_tuf_state_it_is_bad_input(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: str
) -> None:
    served.repository.publish(roots())
    if home == "a file":
        (tmp_path / "file").touch()
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    else:
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    done = served.ask()
    assert (done.exit_code, "can't be created" in done.stderr) == (2, True), done.output
    assert not served.file.exists()


def _tampered(repository: Repository) -> None:
    (file,) = (repository.folder / "targets").iterdir()
    file.write_bytes(file.read_bytes().replace(b"x", b"y"))


def _stolen(repository: Repository) -> None:
    repository.keys["targets"] = CryptoSigner.generate_ecdsa()
    repository.publish(roots())


def _gone(repository: Repository) -> None:
    (repository.folder / "timestamp.json").unlink()


def _nonsense(repository: Repository) -> None:
    repository.publish(b'{"certificateAuthorities": [{}]}')


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_tampered, "not to be trusted"),
        (_stolen, "not to be trusted"),
        (_gone, "can't be read"),
        (lambda repository: repository.publish(roots(), days=-1), "not to be trusted"),
        (lambda repository: repository.publish(roots(), name="other.json"), "has no trusted_root.json"),
        (_nonsense, "an authority of the trust roots has no certificate"),
    ],
)
def test_untrusted_metadata_is_refused_and_the_file_stays(served: Served, change: Any, why: str) -> None:
    served.repository.publish(roots())
    change(served.repository)
    served.file.write_text("old")
    done = served.ask()
    assert done.exit_code != 0
    assert why in done.output
    assert served.file.read_text() == "old"
    assert [p.name for p in served.file.parent.iterdir() if p.name.startswith(".")] == []


def test_a_rollback_of_the_repository_is_refused(served: Served) -> None:
    served.repository.publish(roots())
    first = (served.repository.folder / "timestamp.json").read_bytes()
    served.repository.publish(roots())
    assert served.ask().exit_code == 0
    (served.repository.folder / "timestamp.json").write_bytes(first)
    done = served.ask()
    assert (done.exit_code, "not to be trusted" in done.output) == (1, True)


def test_another_root_than_the_repositorys_is_refused(served: Served, tmp_path: Path) -> None:
    served.repository.publish(roots())
    other = tmp_path / "other"
    other.mkdir()
    Repository(other).publish(roots())
    assert served.ask(other / "1.root.json").exit_code == 1
    for root in (tmp_path / "nowhere.json", served.repository.folder / "timestamp.json"):
        assert served.ask(root).exit_code != 0
    assert not served.file.exists()


@pytest.mark.parametrize("mirror", ["http://[x", "https://", "ftp://mirror.test", "mirror.test"])
def test_an_invalid_mirror_address_is_refused(served: Served, mirror: str) -> None:
    served.url = mirror
    done = served.ask()
    assert (done.exit_code, "expected a URL such as" in done.output) == (2, True)
