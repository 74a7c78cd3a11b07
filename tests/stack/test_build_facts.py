"""The commit, build and person behind an image: from a build's push to the output of `show`, on the local cloud."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from support.stacks.deployed import Deployed, deployed
from tallyman.domain.history.facts import Kind
from tallyman.domain.images.manifest import OCI_CONFIG, OCI_MANIFEST, Manifest
from tallyman.domain.images.provenance import PREDICATE
from tallyman.domain.images.versions import parse_version
from tallyman_cli.build import building
from tallyman_cli.build.built_image import BuiltImage, attachment, in_memory, to_json
from tallyman_cli.build.checkout import Checkout
from tallyman_cli.build.invocation import here
from tallyman_cli.build.statements import IN_TOTO, SLSA, annotations, provenance
from tallyman_cli.sbom.packages import Contents
from tallyman_cli.views import contents
from tallyman_cli.views.shown import ImageView

NAME = "rocketseat/widget-server"


@pytest.fixture
def system(tmp_path: Path) -> Iterator[Deployed]:
    with deployed(tmp_path, scanner="clean") as running:
        yield running


def test_a_builds_provenance_is_recorded_and_shown(system: Deployed, tmp_path: Path) -> None:
    version = parse_version("v1.4.0")
    assert version is not None
    at = datetime(2026, 11, 16, tzinfo=UTC)
    commit = Checkout(tmp_path, "3f" * 20, "3f3f3f3", at, version, None, "main", "https://git.example/w", "Ana <a@b>")
    result = annotations(commit, "v1.4.0")
    config = in_memory(b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}', OCI_CONFIG)
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": config.descriptor(),
        "layers": [],
        "annotations": result,
    }
    made = BuiltImage(Manifest(to_json(document), OCI_MANIFEST), (config,), {}, Contents())
    by = here({"GITHUB_RUN_ID": "77", "GITHUB_REPOSITORY": "rocketseat/w", "GITHUB_ACTOR": "ana"})
    statement = provenance(NAME, made.manifest, commit, (), by)
    referrer, blobs = attachment(made.manifest, IN_TOTO, statement, {PREDICATE: SLSA, **by.annotations})

    system.create(NAME)
    place = system.place(NAME)
    building.push(system.stack, place, made.manifest, made.blobs)
    building.push(system.stack, place, referrer, blobs)
    building.tag(system.stack, place, made.manifest, ["v1.4.0-3f3f3f3"])
    system.settle()

    facts = system.facts(made.manifest.digest, Kind.PUSHED, Kind.REFERRED)
    assert {f.detail["built"]["revision"] for f in facts if f.kind is Kind.PUSHED} == {commit.commit}
    assert (
        SLSA in next(f for f in facts if f.kind is Kind.REFERRED).detail["predicates"]
    )  # the gate `attested` reads it
    inside = contents.load(system.stack, place, made.manifest.digest)
    built = ImageView(system.stack, "image", inside).as_data()["built"]
    assert (built["commit"], built["author"]) == (commit.commit, "Ana <a@b>")
    assert built["builds"] == [
        {
            "id": "77",
            "url": "https://github.com/rocketseat/w/actions/runs/77",
            "builder": "https://github.com/actions/runner",
            "person": "ana",
        }
    ]
