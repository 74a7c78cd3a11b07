"""Manifests: what the views show, and the messages of refusals."""

import json
from typing import Any

import pytest

from support.images.builders import (
    OCI_CONFIG,
    OCI_LAYER,
    SIGNATURE,
    as_descriptor,
    attestation,
    digest_of,
    foreign_layer,
    image,
    index,
    layer,
    multi_arch,
    signature,
)
from tallyman.domain.images.manifest import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    MAX_MANIFEST_BYTES,
    OCI_ARTIFACT,
    OCI_INDEX,
    OCI_MANIFEST,
    Manifest,
    Platform,
)
from tallyman.errors import BadManifest

SOME = str(digest_of("some"))


def valid_descriptor(**more: Any) -> dict[str, Any]:
    return {"mediaType": OCI_LAYER, "digest": SOME, "size": 10, **more}


def valid(**more: Any) -> dict[str, Any]:
    return {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "digest": SOME, "size": 2},
        "layers": [valid_descriptor()],
        **more,
    }


def parse(document: object, media_type: str | None = None) -> Manifest:
    return Manifest.parse(json.dumps(document).encode(), media_type)


def test_the_digest_is_of_the_raw_bytes_whatever_their_format() -> None:
    compact, wide = json.dumps(valid()).encode(), json.dumps(valid(), indent=7).encode()
    assert Manifest.parse(compact).digest != Manifest.parse(wide).digest
    assert Manifest.parse(wide).raw is wide


def test_an_image_shows_configuration_layers_and_size() -> None:
    built = image("one", "two")
    manifest = Manifest.parse(built.raw, OCI_MANIFEST)
    assert manifest.config
    assert not manifest.is_index
    assert [x.digest for x in manifest.layers] == [layer("one").digest, layer("two").digest]
    assert {b.digest for b in manifest.blobs} == set(built.blobs)
    assert manifest.size == sum(map(len, built.blobs.values()))
    assert manifest.artifact_type == OCI_CONFIG
    assert manifest.children == ()
    assert manifest.subject is None


def test_an_index_shows_its_children_and_leaves_attestations_out_of_the_platforms() -> None:
    built = multi_arch(attested=True)
    manifest = Manifest.parse(built.raw)
    assert manifest.is_index
    assert len(manifest.children) == 4
    assert [str(c.platform) for c in manifest.platform_children] == ["linux/amd64", "linux/arm64"]
    proof = manifest.children[2]
    assert proof.is_attestation
    assert proof.annotations["vnd.docker.reference.digest"] == manifest.children[0].digest
    assert manifest.blobs == ()
    assert manifest.size is None


def test_docker_formats_are_supported() -> None:
    assert Manifest.parse(image("a", docker=True).raw, DOCKER_MANIFEST).media_type == DOCKER_MANIFEST
    assert Manifest.parse(multi_arch(docker=True).raw, DOCKER_LIST).is_index


def test_a_referrer_shows_its_subject_and_kind() -> None:
    built = image("a")
    manifest = Manifest.parse(signature(built).raw)
    assert manifest.subject
    assert manifest.subject.digest == built.digest
    assert manifest.artifact_type == SIGNATURE
    assert as_descriptor(signature(built)).artifact_type == SIGNATURE


def test_artifact_manifests_of_the_release_candidates_are_supported() -> None:
    document = {"mediaType": OCI_ARTIFACT, "artifactType": "x/y", "blobs": [valid_descriptor()], "subject": None}
    manifest = parse(document)
    assert [b.digest for b in manifest.blobs] == [SOME]
    assert manifest.config is None
    assert manifest.size == 10
    assert parse({"mediaType": OCI_ARTIFACT}).blobs == ()


def test_a_blob_listed_twice_is_one_blob() -> None:
    manifest = parse(valid(layers=[valid_descriptor(), valid_descriptor()], config=valid_descriptor()))
    assert len(manifest.blobs) == 1
    assert len(manifest.layers) == 2


def test_foreign_layers_are_not_required_blobs() -> None:
    far = foreign_layer()
    manifest = Manifest.parse(image(far, "own").raw)
    assert [b.digest for b in manifest.foreign] == [far.digest]
    assert far.digest not in {b.digest for b in manifest.blobs}
    assert manifest.layers[0].urls == far.urls


def test_urls_alone_do_not_make_a_layer_foreign() -> None:
    manifest = parse(valid(layers=[valid_descriptor(urls=["https://example.invalid/x"])]))
    assert SOME in {b.digest for b in manifest.blobs}
    assert manifest.foreign == ()


def test_a_foreign_layer_also_listed_as_ordinary_is_required() -> None:
    far = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    manifest = parse(valid(layers=[valid_descriptor(mediaType=far), valid_descriptor()]))
    assert manifest.foreign == ()
    assert [b.digest for b in manifest.blobs] == [SOME]


def test_an_empty_platform_is_none() -> None:
    document = {"schemaVersion": 2, "manifests": [valid_descriptor(platform={"os": "", "architecture": ""})]}
    assert parse(document).children[0].platform is None


def test_a_platform_is_written_as_oci_writes_it() -> None:
    assert str(Platform("linux", "arm", "v7")) == "linux/arm/v7"
    assert str(Platform("linux", "amd64")) == "linux/amd64"


def test_without_a_media_type_the_structure_decides() -> None:
    bare = {k: v for k, v in valid().items() if k != "mediaType"}
    assert parse(bare).media_type == OCI_MANIFEST
    assert parse({"schemaVersion": 2, "manifests": []}).media_type == OCI_INDEX
    assert parse(bare, "application/vnd.docker.distribution.manifest.v2+json").media_type == DOCKER_MANIFEST


def test_parameters_of_the_declared_media_type_are_dropped() -> None:
    assert parse(valid(), f"{OCI_MANIFEST}; charset=utf-8").media_type == OCI_MANIFEST


def test_the_views_of_unchecked_bytes_raise_when_used() -> None:
    manifest = Manifest(b"no manifest", OCI_MANIFEST)
    assert manifest.digest
    with pytest.raises(BadManifest):
        _ = manifest.layers


def test_nested_indexes_and_attestations_round_trip() -> None:
    built = index(multi_arch(), attestation(image("x")))
    for manifest in built.manifests.values():
        again = Manifest.parse(manifest.raw, manifest.media_type)
        assert again == manifest
        assert again.digest == manifest.digest


@pytest.mark.parametrize(
    ("document", "media_type", "words"),
    [
        ([], None, "manifest: expected a JSON object, found a list"),
        (valid(schemaVersion=1), None, "schemaVersion: expected 2, found 1"),
        (valid(schemaVersion=True), None, "schemaVersion: expected 2, found True"),
        (valid(schemaVersion=2.0), None, "schemaVersion: expected 2, found 2.0"),
        (valid(schemaVersion="2"), None, "schemaVersion: expected 2, found '2'"),
        (valid(), OCI_INDEX, f"mediaType: is '{OCI_MANIFEST}', but the registry declared '{OCI_INDEX}'"),
        (valid(mediaType="text/plain"), None, "mediaType: 'text/plain' is not a known type of manifest"),
        (valid(mediaType=7), None, "mediaType: expected a string, found a number"),
        ({}, None, "mediaType: '' is not a known type"),
        (valid(manifests=[]), None, "manifests: is not allowed in a document of type"),
        ({"schemaVersion": 2, "manifests": [], "layers": []}, OCI_INDEX, "layers: is not allowed"),
        ({"schemaVersion": 2, "manifests": [], "layers": []}, None, "mediaType: '' is not a known type"),
        (
            {"schemaVersion": 2, "mediaType": OCI_INDEX},
            None,
            "manifests: expected a list of descriptors, found nothing",
        ),
        (valid(layers=None), None, "layers: expected a list of descriptors, found nothing"),
        (valid(config=None), None, "config: expected a descriptor, found nothing"),
        (valid(layers=[1]), None, "layers[0]: expected a descriptor, found a number"),
        (
            valid(layers=[valid_descriptor(), valid_descriptor(), valid_descriptor(digest="sha256:abc")]),
            None,
            "layers[2].digest: expected sha256: and 64 hexadecimal digits, found 'sha256:abc'",
        ),
        (valid(layers=[valid_descriptor(digest=None)]), None, "layers[0].digest: expected sha256:"),
        (valid(layers=[valid_descriptor(digest="sha512:" + "a" * 128)]), None, "layers[0].digest: expected sha256:"),
        (valid(layers=[valid_descriptor(size=-1)]), None, "layers[0].size: expected a number of bytes, found -1"),
        (valid(layers=[valid_descriptor(size=True)]), None, "layers[0].size: expected a number of bytes, found True"),
        (valid(layers=[valid_descriptor(size=1.5)]), None, "layers[0].size: expected a number of bytes, found 1.5"),
        (valid(layers=[valid_descriptor(size=2**63)]), None, "layers[0].size: expected a number of bytes"),
        (valid(layers=[valid_descriptor(mediaType="")]), None, "layers[0].mediaType: expected a media type, found ''"),
        (valid(layers=[valid_descriptor(mediaType="a\nb/c")]), None, "layers[0].mediaType: expected a media type"),
        (valid(layers=[valid_descriptor(urls="x")]), None, "layers[0].urls: expected a list of strings, found 'x'"),
        (valid(layers=[valid_descriptor(platform=[])]), None, "layers[0].platform: expected an object, found a list"),
        (valid(layers=[valid_descriptor(platform={"os": 1})]), None, "layers[0].platform.os: expected a string"),
        (valid(annotations={"a": 1}), None, "annotations['a']: expected a string, found a number"),
        (valid(annotations={"a": "\ud800"}), None, "annotations['a']: holds half of a surrogate pair"),
        (valid(subject={}), None, "subject.mediaType: expected a media type, found nothing"),
        (valid(Layers=[]), None, "Layers: expected 'layers': keys are case-sensitive"),
        (valid(layers=[valid_descriptor(SIZE=1)]), None, "layers[0].SIZE: expected 'size': keys are case-sensitive"),
        (valid(layers=[valid_descriptor(**{"\u017fize": 1})]), None, "expected 'size': keys are case-sensitive"),
    ],
)
def test_an_invalid_manifest_is_refused_with_the_path_of_the_error(
    document: object, media_type: str | None, words: str
) -> None:
    with pytest.raises(BadManifest) as caught:
        parse(document, media_type)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe{\x00}\x00", "not JSON"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"schemaVersion": ' + b"9" * 10_000 + b"}", "not JSON"),
        (b'{"schemaVersion": NaN}', "NaN is not JSON"),
        (b'{"a": 1, "a": 1}', "an object has the key 'a' twice"),
        (b'{"annotations": {"x": {"a": 1, "b": 2, "a": 3}}}', "an object has the key 'a' twice"),
        (b" " * (MAX_MANIFEST_BYTES + 1), "4194305 bytes; at most 4194304 (4 MiB) are allowed"),
    ],
)
def test_bytes_that_are_no_manifest_are_refused(raw: bytes, words: str) -> None:
    with pytest.raises(BadManifest) as caught:
        Manifest.parse(raw)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_manifest_of_exactly_four_mebibytes_is_accepted() -> None:
    raw = json.dumps(valid()).encode()
    assert Manifest.parse(raw + b" " * (MAX_MANIFEST_BYTES - len(raw))).layers
