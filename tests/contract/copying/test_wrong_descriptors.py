"""`tallyman copy` of documents that describe blobs of others wrongly: they stop nothing but themselves."""

import json
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest

from support.images.builders import OCI_LAYER, Built, descriptor, foreign_layer, image, index, manifest_of, signature
from support.servers.copy_cli import copied, holding, holds
from support.servers.oci import OciServer, Trouble, oci_server

BUILT = index(image("a"), image("b", architecture="arm64"))
SHARED = max(BUILT.blobs, key=lambda digest: len(BUILT.blobs[digest]))

source = holding(BUILT)
pytestmark = pytest.mark.usefixtures("home")
Capture = pytest.CaptureFixture[str]


def naming(built: Built, layer: dict[str, Any]) -> Built:
    """The same with one more layer in its manifest."""
    document = json.loads(built.raw)
    document["layers"].append(layer)
    root = manifest_of(document)
    return replace(built, root=root, manifests={root.digest: root}, blobs={**built.blobs, SHARED: BUILT.blobs[SHARED]})


WRONG_SIZE = {**descriptor(BUILT.blobs[SHARED], OCI_LAYER), "size": 3}
MANIFEST = descriptor(BUILT.raw, OCI_LAYER)
"""The index itself as a layer, which no registry has as a blob."""


@pytest.mark.parametrize("layer", [WRONG_SIZE, MANIFEST], ids=["wrong size", "manifest as a layer"])
def test_a_referrer_that_describes_a_part_of_its_image_wrongly_is_refused_alone(
    source: OciServer, target: OciServer, layer: dict[str, Any], capsys: Capture
) -> None:
    wrong, right = naming(signature(BUILT), layer), signature(BUILT, "another")
    source.push("team/app", wrong)
    source.push("team/app", right)
    [report] = copied(capsys, f"{source.host}/team/app:v1", f"{target.host}/team/app", status=1)["targets"]
    assert holds(target, "team/app", BUILT, "v1")
    assert list(report["refused_referrers"]) == [wrong.digest]
    assert right.digest in target.repo("team/app").manifests


@pytest.mark.parametrize("subject", [None, BUILT], ids=["image", "referrer"])
def test_a_foreign_layer_that_the_target_requires_stops_only_its_image(
    source: OciServer, target: OciServer, subject: Built | None, capsys: Capture
) -> None:
    """The source need not hold it, and some registries accept no manifest without it."""
    foreign = foreign_layer("nowhere")
    windows = naming(image("here", subject=subject), descriptor(foreign.raw, foreign.media_type))
    source.push("team/app", windows, *([] if subject else ["a"]))
    words = ("--all-tags", f"{source.host}/team/app", f"{target.host}/team/app")
    [report] = copied(capsys, *words, status=1)["targets"]
    assert holds(target, "team/app", BUILT, "v1")
    assert report["tags"] == {"v1": BUILT.digest}
    refused = report["refused_referrers"][windows.digest] if subject else report["failed"]["a"]
    assert foreign.digest in refused


@pytest.mark.parametrize("status", [400, 405, 413])
@pytest.mark.parametrize("subject", [None, BUILT], ids=["image", "referrer"])
@pytest.mark.parametrize("others", [0, 1])
def test_a_layer_that_the_target_refuses_stops_only_its_image(
    source: OciServer, target: OciServer, subject: Built | None, status: int, others: int, capsys: Capture
) -> None:
    """An empty one (ECR), or one that is larger than the registry or its proxy allows."""
    large = image("large", subject=subject)
    source.push("team/app", large, *([] if subject else ["a"]))
    body = b'{"errors": [{"code": "DIGEST_INVALID"}]}' if status == 400 else b"{}"
    for digest in large.blobs:
        target.on("PUT", f"digest={quote(digest, safe='')}", Trouble(status=status, body=body), times=99)
    with oci_server() as other:
        places = [f"{host}/team/app" for host in (target.host, other.host)[: 1 + others]]
        report, *rest = copied(capsys, "--all-tags", f"{source.host}/team/app", *places, status=1)["targets"]
        assert all(each["error"] is None and not each["failed"] for each in rest)
    assert holds(target, "team/app", BUILT, "v1")
    assert report["error"] is None
    assert report["tags"] == {"v1": BUILT.digest}
    assert list(report["refused_referrers"] if subject else report["failed"]) == [large.digest if subject else "a"]


@pytest.mark.parametrize("layer", [WRONG_SIZE, MANIFEST], ids=["wrong size", "manifest as a layer"])
@pytest.mark.parametrize("tag", ["a", "z"])
def test_an_image_that_describes_a_part_of_another_wrongly_fails_alone(
    source: OciServer, target: OciServer, tag: str, layer: dict[str, Any], capsys: Capture
) -> None:
    source.push("team/app", naming(image("c"), layer), tag)
    everything = ("--all-tags", f"{source.host}/team/app", f"{target.host}/team/app")
    [report] = copied(capsys, *everything, status=1)["targets"]
    assert holds(target, "team/app", BUILT, "v1")
    assert list(report["failed"]) == [tag]
