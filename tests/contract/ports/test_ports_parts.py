"""`LayerUploads` on the local ECR: parts, lost answers, expired uploads."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.images.builders import DEV, big_layer, digest_of
from support.servers.ecr import Served, serve
from tallyman.adapters.ecr.layer_uploads import EcrLayerUploads
from tallyman.domain.names import Digest, EcrRegistry, Repository
from tallyman.errors import DigestMismatch, NotFound, UploadExpired

MIB = 1024 * 1024
RAW = big_layer(6 * MIB).raw
DIGEST = Digest.of(RAW)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serve(tmp_path, (DEV.registry,)) as running:
        running.create(DEV.registry, DEV.name)
        yield running


@pytest.fixture
def uploads(served: Served) -> EcrLayerUploads:
    class Clients:
        def get(self, service: str, registry: EcrRegistry | None = None, power: str = "read") -> Any:
            assert (service, power) == ("ecr", "push")
            return served.client(registry or DEV.registry)

    clients: Any = Clients()
    return EcrLayerUploads(clients)


def test_parts_are_combined_to_the_layer(served: Served, uploads: EcrLayerUploads) -> None:
    session = uploads.begin(DEV, DIGEST)
    assert uploads.send_part(DEV, session, 0, RAW[: 5 * MIB]) == 5 * MIB
    assert uploads.send_part(DEV, session, 5 * MIB, RAW[5 * MIB :]) == len(RAW)
    uploads.complete(DEV, session, DIGEST)
    found = served.client().batch_check_layer_availability(repositoryName=DEV.name, layerDigests=[DIGEST])
    assert found["layers"][0]["layerAvailability"] == "AVAILABLE"


def test_ecr_reports_the_offset_of_an_upload(uploads: EcrLayerUploads) -> None:
    session = uploads.begin(DEV, DIGEST)
    uploads.send_part(DEV, session, 0, RAW[: 5 * MIB])
    assert uploads.send_part(DEV, session, 0, RAW[: 5 * MIB]) == 5 * MIB  # the answer was lost
    other = uploads.begin(DEV, DIGEST)
    assert uploads.send_part(DEV, other, 5 * MIB, RAW[5 * MIB :]) == 0


def test_an_unknown_upload_session_has_expired(uploads: EcrLayerUploads) -> None:
    with pytest.raises(UploadExpired):
        uploads.send_part(DEV, str(uuid.uuid4()), 0, RAW[: 5 * MIB])
    with pytest.raises(UploadExpired):
        uploads.complete(DEV, str(uuid.uuid4()), DIGEST)
    session = uploads.begin(DEV, DIGEST)
    with pytest.raises(UploadExpired):  # nothing was received: there is nothing to complete
        uploads.complete(DEV, session, DIGEST)


def test_wrong_bytes_are_a_mismatch(uploads: EcrLayerUploads) -> None:
    session = uploads.begin(DEV, DIGEST)
    uploads.send_part(DEV, session, 0, RAW)
    with pytest.raises(DigestMismatch):
        uploads.complete(DEV, session, digest_of("other"))


def test_an_existing_layer_is_no_error(uploads: EcrLayerUploads) -> None:
    for _ in range(2):
        session = uploads.begin(DEV, DIGEST)
        uploads.send_part(DEV, session, 0, RAW)
        uploads.complete(DEV, session, DIGEST)


def test_a_missing_repository_is_not_found(uploads: EcrLayerUploads) -> None:
    with pytest.raises(NotFound):
        uploads.begin(Repository(DEV.registry, "nobody/knows"), DIGEST)
