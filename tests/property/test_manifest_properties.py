"""The law "Bytes are the truth: a digest is the SHA-256 of the raw bytes received. Manifests are stored, compared and
sent as those bytes." The parser raises nothing but BadManifest on any bytes."""

import hashlib
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from support.images.builders import Built, attestation, image, index, signature
from tallyman.domain.images.manifest import MANIFEST_TYPES, Manifest
from tallyman.domain.images.verification import ImageConfig
from tallyman.errors import BadManifest

media_types = st.one_of(st.none(), st.sampled_from(MANIFEST_TYPES), st.text(max_size=20))
digests = st.binary(max_size=4).map(lambda raw: "sha256:" + hashlib.sha256(raw).hexdigest())
scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=10), digests)
keys = st.sampled_from(
    [
        "schemaVersion",
        "mediaType",
        "artifactType",
        "config",
        "layers",
        "blobs",
        "manifests",
        "subject",
        "annotations",
        "digest",
        "size",
        "urls",
        "platform",
        "os",
        "architecture",
        "variant",
        "Layers",
        "SIZE",
    ]
)
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys | st.text(max_size=5), inner),
    max_leaves=20,
)
descriptors = st.fixed_dictionaries(
    {"mediaType": st.sampled_from(["a/b", *MANIFEST_TYPES]), "digest": digests, "size": st.integers(0, 2**40)},
    optional={
        "platform": st.fixed_dictionaries({"os": st.text(max_size=5), "architecture": st.text(max_size=5)}),
        "annotations": st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2),
    },
)
spaces = st.sampled_from([None, 0, 3])


def survives(raw: bytes, media_type: str | None) -> Manifest | None:
    try:
        return Manifest.parse(raw, media_type)
    except BadManifest as error:
        reason = str(error)
    assert reason
    assert reason.isprintable()
    return None


@given(st.binary(max_size=200), media_types)
def test_any_bytes_are_a_manifest_or_a_bad_manifest(raw: bytes, media_type: str | None) -> None:
    survives(raw, media_type)


@given(documents, media_types)
def test_any_json_is_a_manifest_or_a_bad_manifest(document: Any, media_type: str | None) -> None:
    survives(json.dumps(document).encode(), media_type)


@given(documents, st.sampled_from(["config", "layers", "manifests", "subject", "annotations", "schemaVersion"]))
def test_a_manifest_with_one_changed_part_parses_or_is_a_bad_manifest(part: Any, key: str) -> None:
    document = json.loads(image("a").raw)
    survives(json.dumps({**document, key: part}).encode(), None)


@given(st.binary(max_size=100) | documents.map(lambda d: json.dumps(d).encode()))
def test_any_bytes_are_a_configuration_or_a_bad_manifest(raw: bytes) -> None:
    reason = "fine"
    try:
        ImageConfig.parse(raw)
    except BadManifest as error:
        reason = str(error)
    assert reason


@given(descriptors, st.lists(descriptors, max_size=5), spaces, st.booleans())
def test_views_show_what_the_bytes_say(
    config: dict[str, Any], items: list[dict[str, Any]], indent: int | None, listing: bool
) -> None:
    document: dict[str, Any] = {"schemaVersion": 2}
    document |= {"manifests": items} if listing else {"config": config, "layers": items}
    raw = json.dumps(document, indent=indent).encode()
    manifest = Manifest.parse(raw)
    assert manifest.raw == raw
    assert manifest.digest == "sha256:" + hashlib.sha256(raw).hexdigest()
    shown = manifest.children if listing else manifest.layers
    assert [(d.media_type, d.digest, d.size) for d in shown] == [
        (d["mediaType"], d["digest"], d["size"]) for d in items
    ]
    shown_platforms = [d for d in manifest.children if not (d.platform and d.platform.unknown)]
    assert list(manifest.platform_children) == shown_platforms
    blobs = [b.digest for b in manifest.blobs]
    assert len(blobs) == len(set(blobs))


@given(st.lists(st.text(max_size=3), min_size=1, max_size=3), st.booleans(), st.booleans())
def test_what_builders_build_is_valid_and_keeps_its_digest(contents: list[str], docker: bool, nested: bool) -> None:
    images = [image(c, docker=docker) for c in contents]
    made: Built = index(*images, *map(attestation, images[:1]), docker=docker)
    made = index(made) if nested else made
    for manifest in [*made.manifests.values(), signature(made).root]:
        parsed = Manifest.parse(manifest.raw, manifest.media_type)
        assert parsed.digest == manifest.digest
        assert all(child.digest in made.manifests for child in parsed.children)
