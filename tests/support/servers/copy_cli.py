"""`tallyman copy --json` in this process, and a test registry's copy of an image afterwards."""

import json
from typing import Any

import pytest

from support.images.builders import Built
from support.servers.oci import OciServer
from tallyman_cli.copy.copy import run


def copied(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> dict[str, Any]:
    """The JSON of a run that ends with this status."""
    capsys.readouterr()
    found = run([*arguments, "--json"])
    said = capsys.readouterr()
    assert found == status, said.err or said.out
    document: dict[str, Any] = json.loads(said.out)
    return document


def holds(registry: OciServer, name: str, built: Built, tag: str) -> bool:
    repo = registry.repo(name)
    return (
        repo.tags.get(tag) == built.digest
        and all(repo.manifests[str(d)][0] == m.raw for d, m in built.manifests.items())
        and all(repo.blobs[str(d)] == raw for d, raw in built.blobs.items())
    )


def holding(built: Built) -> Any:
    """A fixture `source`, for a module whose source holds this image as `team/app:v1`."""

    @pytest.fixture
    def source(source: OciServer) -> OciServer:
        source.push("team/app", built, "v1")
        return source

    return source
