"""Servers that several contract tests use: the local ECR, other registries, and a home folder for each test."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.servers.ecr import Served, serve
from support.servers.oci import OciServer, oci_server
from tallyman.domain.names import Repository


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One local ECR for all tests of a module."""
    with serve(tmp_path_factory.mktemp("ecr")) as served:
        yield served


@pytest.fixture
def served(running: Served) -> Served:
    """The module's local ECR, reset: without a repository."""
    running.reset()
    return running


@pytest.fixture
def repository(served: Served) -> Repository:
    """The first repository of `served`: NAME in DEV."""
    return served.create()


@pytest.fixture
def client(served: Served, repository: Repository) -> Any:
    """boto3's client of DEV, which has one repository."""
    return served.client()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder for the test: logins and uploads of the person who runs it are not found."""
    monkeypatch.delenv("DOCKER_CONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def ecr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A local ECR for this test only; the environment points to it."""
    with serve(tmp_path / "ecr") as served:
        for name, value in served.environment().items():
            monkeypatch.setenv(name, value)
        yield served


@pytest.fixture
def source() -> Iterator[OciServer]:
    """An empty OCI registry."""
    with oci_server() as registry:
        yield registry


@pytest.fixture
def target() -> Iterator[OciServer]:
    """A second empty OCI registry."""
    with oci_server() as registry:
        yield registry
