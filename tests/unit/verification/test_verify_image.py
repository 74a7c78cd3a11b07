"""Verification of images, against registries in memory."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from support.fakes.ports import FakeClock, FakeRegistries
from support.images.builders import (
    DEV,
    OCI_CONFIG,
    PROD,
    Built,
    attestation,
    big_layer,
    descriptor,
    digest_of,
    foreign_layer,
    image,
    index,
    layer,
    manifest_of,
    multi_arch,
    sbom,
    signature,
)
from tallyman.domain.images.manifest import MAX_NESTING, OCI_MANIFEST, Manifest, Platform
from tallyman.domain.images.verification import Check, Verification
from tallyman.domain.names import Digest
from tallyman.domain.plain import plain
from tallyman.errors import BadManifest, NotAllowed, NotFound, Throttled, Unreachable, Unsupported
from tallyman.services.copying.blobs import TRIES
from tallyman.services.verification.verify_image import VerifiedImage, verify

FOREVER = float("inf")


@pytest.fixture
def registries() -> FakeRegistries:
    made = FakeRegistries(FakeClock())
    made.add(DEV)
    return made


Look = Callable[..., VerifiedImage]


@pytest.fixture
def look(registries: FakeRegistries) -> Look:
    def run(built: Built | Digest, **more: object) -> VerifiedImage:
        digest = built if isinstance(built, Digest) else built.digest
        return verify(registries, DEV, digest, **{"level": "content", "deadline": lambda: FOREVER, **more})  # type: ignore[arg-type]

    return run


def checks(image: VerifiedImage) -> dict[str, Check]:
    return {check.name: check for check in image.verification.checks}


def hide(registries: FakeRegistries, built: Built) -> None:
    """The registry loses a manifest without an error."""
    registries.delete(DEV, built.digest)


def corrupt(registries: FakeRegistries, built: Built, manifest: Manifest) -> None:
    """Replace the manifest under the digest of a built image."""
    registries.held(DEV).manifests[built.digest] = manifest


def test_a_sound_image_passes_every_check(registries: FakeRegistries, look: Look) -> None:
    built = image("one", "two", architecture="arm64", labels={"a": "b"})
    registries.push(DEV, built, "v1.0.0")
    seen = look(built)
    assert seen.verification.verdict == "passed"
    assert list(checks(seen)) == [
        "manifest_digest", "manifest_size", "media_types", "children_present", "config_present",
        "layers_present", "layer_content", "referrers", "platforms_agree",
    ]  # fmt: skip
    assert [plain(p) for p in seen.platforms] == [
        {
            "os": "linux",
            "architecture": "arm64",
            "variant": None,
            "digest": built.digest,
            "size": sum(map(len, built.blobs.values())),
        }
    ]
    assert seen.size == built.root.size == sum(map(len, built.blobs.values()))
    assert f"{seen.size} bytes in all" in checks(seen)["layer_content"].reason
    assert seen.labels == {"a": "b"}
    assert seen.root is not None
    assert seen.root.raw == built.raw


def test_the_level_presence_reads_configurations_and_no_layers(registries: FakeRegistries, look: Look) -> None:
    built = multi_arch()
    registries.push(DEV, built)
    seen = look(built, level="presence")
    assert seen.verification.verdict == "passed"
    assert "layer_content" not in checks(seen)
    opened = [argument for method, _, argument in registries.requests if method == "open_blob"]
    assert len(opened) == 2
    assert set(opened) == {m.config.digest for m in built.manifests.values() if m.config}


def test_an_index_is_verified_with_all_its_images_and_attestations(registries: FakeRegistries, look: Look) -> None:
    built = multi_arch(attested=True)
    registries.push(DEV, built, "v1.0.0")
    seen = look(built, platforms=["linux/amd64", "linux/arm64"])
    assert seen.verification.verdict == "passed"
    assert [str(p.platform) for p in seen.platforms] == ["linux/amd64", "linux/arm64"]
    assert seen.size == sum(p.size or 0 for p in seen.platforms)
    read = {argument for method, _, argument in registries.requests if method in ("manifest", "manifests")}
    assert read == set(built.manifests)
    assert len(read) == 5
    size = sum(map(len, built.blobs.values()))
    assert checks(seen)["layer_content"].reason.endswith(f", {size} bytes in all")


def test_a_blob_that_several_images_share_is_hashed_once(registries: FakeRegistries, look: Look) -> None:
    built = multi_arch(attested=True)
    registries.push(DEV, built)
    look(built)
    opened = [argument for method, _, argument in registries.requests if method == "open_blob"]
    assert sorted(opened) == sorted(built.blobs)


def test_availability_of_all_blobs_is_read_in_one_call(registries: FakeRegistries, look: Look) -> None:
    built = multi_arch(attested=True)
    registries.push(DEV, built)
    look(built)
    assert [m for m, _, _ in registries.requests].count("missing_blobs") == 1


def test_docker_formats_pass(registries: FakeRegistries, look: Look) -> None:
    built = multi_arch(docker=True)
    registries.push(DEV, built)
    assert look(built).verification.verdict == "passed"


def test_nested_indexes_are_followed_to_their_images(registries: FakeRegistries, look: Look) -> None:
    inner = multi_arch("inner")
    built = index(inner, image("s390x", architecture="s390x"))
    registries.push(DEV, built)
    seen = look(built)
    assert seen.verification.verdict == "passed"
    assert [p.architecture for p in seen.platforms] == ["amd64", "arm64", "s390x"]


def nested(depth: int) -> Built:
    built = image("deep")
    for _ in range(depth):
        built = index(built)
    return built


def test_indexes_are_followed_to_the_limit_of_nesting(registries: FakeRegistries, look: Look) -> None:
    built = nested(MAX_NESTING)
    registries.push(DEV, built)
    assert look(built).verification.verdict == "passed"


def test_indexes_nested_too_deep_fail(registries: FakeRegistries, look: Look) -> None:
    built = nested(MAX_NESTING + 1)
    registries.push(DEV, built)
    seen = look(built)
    assert checks(seen)["children_present"].verdict == "failed"
    assert f"more than {MAX_NESTING} deep" in checks(seen)["children_present"].reason


class Lying(Manifest):
    """A manifest under a digest that is not its own, as a registry that does not hash could serve it."""

    @property
    def digest(self) -> Digest:
        return digest_of("loop")


def test_an_index_that_lists_itself_fails_without_a_loop(registries: FakeRegistries, look: Look) -> None:
    document = {
        "schemaVersion": 2,
        "manifests": [{"mediaType": OCI_MANIFEST, "digest": digest_of("loop"), "size": 1}],
    }
    raw = json.dumps(document).encode()
    registries.held(DEV).manifests[digest_of("loop")] = Lying(raw, "application/vnd.oci.image.index.v1+json")
    seen = look(digest_of("loop"))
    assert seen.verification.verdict == "failed"  # size and media type also differ from its descriptor
    assert [m for m, _, _ in registries.requests].count("manifest") == 1


def test_a_manifest_of_other_bytes_fails_and_names_both_digests(registries: FakeRegistries, look: Look) -> None:
    built, other = image("good"), image("evil")
    registries.push(DEV, built)
    corrupt(registries, built, other.root)
    seen = look(built, platforms=["linux/amd64"])
    assert [c.name for c in seen.verification.checks] == ["manifest_digest"]
    assert built.digest in seen.verification.checks[0].reason
    assert other.digest in seen.verification.checks[0].reason
    assert seen.root is None
    assert seen.size is None


def test_a_child_of_other_bytes_fails(registries: FakeRegistries, look: Look) -> None:
    child = image("good")
    built = index(child)
    registries.push(DEV, built)
    corrupt(registries, child, image("evil").root)
    seen = look(built)
    assert seen.verification.verdict == "failed"
    assert child.digest in checks(seen)["manifest_digest"].reason
    assert seen.size is None
    assert seen.root is not None
    assert seen.root.digest == built.digest


def test_a_missing_child_fails_and_is_named(registries: FakeRegistries, look: Look) -> None:
    gone, there = image("a", architecture="arm64"), image("b")
    built = index(there, gone)
    registries.push(DEV, built)
    hide(registries, gone)
    seen = look(built)
    assert checks(seen)["children_present"].verdict == "failed"
    assert gone.digest in checks(seen)["children_present"].reason
    assert checks(seen)["layer_content"].verdict == "passed"
    assert [p.size for p in seen.platforms] == [there.root.size, None]


def test_a_missing_attestation_fails_too(registries: FakeRegistries, look: Look) -> None:
    app = image("a")
    proof = attestation(app)
    built = index(app, proof)
    registries.push(DEV, built)
    hide(registries, proof)
    assert checks(look(built))["children_present"].verdict == "failed"


def test_a_damaged_layer_fails_with_sizes_and_digests(registries: FakeRegistries, look: Look) -> None:
    part = layer("precious")
    built = image(part, "other")
    registries.push(DEV, built)
    damaged = part.raw[:-1] + bytes([part.raw[-1] ^ 1])
    registries.damage(DEV, part.digest, damaged)
    reason = checks(look(built))["layer_content"].reason
    assert part.digest in reason
    assert Digest.of(damaged) in reason
    assert str(len(damaged)) in reason
    assert look(built, level="presence").verification.verdict == "passed"


def test_a_truncated_layer_fails(registries: FakeRegistries, look: Look) -> None:
    part = layer("precious")
    built = image(part)
    registries.push(DEV, built)
    registries.damage(DEV, part.digest, part.raw[:10])
    check = checks(look(built))["layer_content"]
    assert check.verdict == "failed"
    assert f"its 10 bytes ({len(part.raw)} stated)" in check.reason


def test_a_missing_layer_fails_at_either_level(registries: FakeRegistries, look: Look) -> None:
    part = layer("precious")
    built = image(part)
    registries.push(DEV, built)
    registries.damage(DEV, part.digest, None)
    for level in ("presence", "content"):
        seen = look(built, level=level)
        assert checks(seen)["layers_present"].verdict == "failed"
        assert part.digest in checks(seen)["layers_present"].reason


def test_a_missing_configuration_fails(registries: FakeRegistries, look: Look) -> None:
    built = image("a")
    registries.push(DEV, built)
    assert built.root.config
    registries.damage(DEV, built.root.config.digest, None)
    seen = look(built, level="presence")
    assert checks(seen)["config_present"].verdict == "failed"
    assert seen.verification.verdict == "failed"


def test_a_damaged_configuration_fails_at_presence(registries: FakeRegistries, look: Look) -> None:
    built = image("a")
    registries.push(DEV, built)
    assert built.root.config
    registries.damage(DEV, built.root.config.digest, b'{"os":"linux","architecture":"s390x"}')
    seen = look(built, level="presence")
    assert checks(seen)["config_present"].verdict == "failed"
    assert "damaged" in checks(seen)["config_present"].reason
    assert seen.platforms == ()  # bytes that are not what was pushed prove nothing


def test_an_invalid_configuration_fails(registries: FakeRegistries, look: Look) -> None:
    built = wrong_image(config=b"not json")
    registries.push(DEV, built)
    assert checks(look(built))["platforms_agree"].verdict == "failed"


def test_a_configuration_declared_over_the_limit_is_not_read(registries: FakeRegistries, look: Look) -> None:
    built = wrong_image(size=9 * 1024 * 1024)
    registries.push(DEV, built)
    check = checks(look(built))["config_present"]
    assert check.verdict == "failed"
    assert "at most 8 MiB" in check.reason
    assert ("open_blob", DEV, Digest.of(b"{}")) not in registries.requests


def wrong_image(config: bytes = b"{}", size: int | None = None) -> Built:
    part = layer("x")
    described = descriptor(config, OCI_CONFIG) | ({"size": size} if size is not None else {})
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": described,
        "layers": [descriptor(part.raw, part.media_type)],
    }
    root = manifest_of(document)
    return Built(root, {root.digest: root}, {Digest.of(config): config, part.digest: part.raw})


def test_a_blob_of_another_size_than_declared_fails(registries: FakeRegistries, look: Look) -> None:
    built = wrong_image(b"{}", size=3)
    registries.push(DEV, built)
    check = checks(look(built, level="presence"))["config_present"]
    assert check.verdict == "failed"
    assert "2 bytes; 3 are stated" in check.reason


def test_a_platform_that_contradicts_the_configuration_fails(registries: FakeRegistries, look: Look) -> None:
    built = index(replace(image("a", architecture="arm64"), platform=Platform("linux", "amd64")))
    registries.push(DEV, built)
    check = checks(look(built))["platforms_agree"]
    assert check.verdict == "failed"
    assert "linux/amd64" in check.reason
    assert "linux/arm64" in check.reason


def test_an_image_hidden_as_an_attestation_fails(registries: FakeRegistries, look: Look) -> None:
    built = index(image("good"), replace(image("evil"), platform=Platform("unknown", "unknown")))
    registries.push(DEV, built)
    assert checks(look(built))["platforms_agree"].verdict == "failed"


def test_a_variant_that_only_one_side_names_agrees(registries: FakeRegistries, look: Look) -> None:
    built = index(
        replace(image("a", architecture="arm64", variant="v8"), platform=Platform("linux", "arm64")),
        image("b", architecture="arm", variant="v7"),
    )
    registries.push(DEV, built)
    seen = look(built, platforms=["linux/arm64", "linux/arm/v7"])
    assert seen.verification.verdict == "passed"
    assert checks(look(built, platforms=["linux/arm/v6"]))["platforms_wanted"].verdict == "failed"


def test_a_missing_required_platform_fails_and_existing_ones_are_named(registries: FakeRegistries, look: Look) -> None:
    built = image("a")
    registries.push(DEV, built)
    check = checks(look(built, platforms=["linux/amd64", "linux/arm64"]))["platforms_wanted"]
    assert check == Check("platforms_wanted", "failed", "linux/arm64 is missing; there is linux/amd64")


def test_an_unreachable_child_is_not_a_missing_platform(registries: FakeRegistries, look: Look) -> None:
    built = multi_arch()
    registries.push(DEV, built)
    registries.fail(DEV.registry, Unreachable("gone for now"), methods={"open_blob"})
    seen = look(built, platforms=["linux/amd64", "linux/arm64"])
    assert seen.verification.verdict == "unknown"


def test_a_child_of_another_size_or_media_type_than_its_index_says_fails(
    registries: FakeRegistries, look: Look
) -> None:
    child = image("a", docker=True)
    listed = descriptor(child.raw, OCI_MANIFEST) | {"size": 7}
    root = manifest_of(
        {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [listed]}
    )
    built = Built(root, {**child.manifests, root.digest: root}, child.blobs)
    registries.push(DEV, built)
    seen = checks(look(built))
    assert seen["manifest_size"].verdict == "failed"
    assert seen["media_types"].verdict == "failed"


def test_an_invalid_manifest_fails_with_the_path_of_the_error(registries: FakeRegistries, look: Look) -> None:
    bad = Manifest(b'{"schemaVersion":2,"layers":{}}', OCI_MANIFEST)
    registries.held(DEV).manifests[bad.digest] = bad
    check = checks(look(bad.digest))["media_types"]
    assert check.verdict == "failed"
    assert "config: expected a descriptor" in check.reason


def test_a_manifest_that_the_adapter_refuses_to_parse_fails(registries: FakeRegistries, look: Look) -> None:
    registries.fail(DEV.registry, BadManifest("schema 1 is not known"), methods={"manifest"})
    assert "schema 1" in checks(look(digest_of("x")))["media_types"].reason


def test_a_manifest_over_four_mebibytes_fails(registries: FakeRegistries, look: Look) -> None:
    big = Manifest(b" " * (4 * 1024 * 1024 + 1), OCI_MANIFEST)
    registries.held(DEV).manifests[big.digest] = big
    check = checks(look(big.digest))["manifest_size"]
    assert check.verdict == "failed"
    assert "4194305 bytes" in check.reason


def test_foreign_layers_may_be_missing(registries: FakeRegistries, look: Look) -> None:
    built = image(foreign_layer(), "own")
    registries.push(DEV, built)
    seen = look(built)
    assert seen.verification.verdict == "passed"
    assert "1 foreign layer" in checks(seen)["layers_present"].reason


def test_existing_foreign_layers_are_hashed(registries: FakeRegistries, look: Look) -> None:
    far = foreign_layer()
    built = image(far, "own")
    registries.push(DEV, built)
    registries.damage(DEV, far.digest, b"something else")
    assert checks(look(built))["layer_content"].verdict == "failed"


def test_referrers_of_an_index_and_of_its_children_are_listed(registries: FakeRegistries, look: Look) -> None:
    child = image("a")
    built = index(child)
    registries.push(DEV, built, "v1")
    registries.push(DEV, signature(built))
    registries.push(DEV, sbom(child))
    seen = look(built)
    kinds = sorted(str(each.root.artifact_type) for each in (signature(built), sbom(child)))
    assert checks(seen)["referrers"].reason == f"2 referrers: {', '.join(kinds)}"


def test_a_referrer_can_be_verified_itself(registries: FakeRegistries, look: Look) -> None:
    built = image("a")
    signed = signature(built)
    registries.push(DEV, built)
    registries.push(DEV, signed)
    seen = look(signed)
    assert seen.verification.verdict == "passed"
    assert seen.platforms == ()
    assert seen.size == sum(map(len, signed.blobs.values()))


def test_a_registry_without_referrers_lists_none(registries: FakeRegistries, look: Look) -> None:
    built = image("a")
    registries.push(DEV, built)
    registries.fail(DEV.registry, Unsupported("405"), methods={"referrers"})
    assert checks(look(built))["referrers"] == Check("referrers", "passed", "0 referrers")


@pytest.mark.parametrize("method", ["manifest", "missing_blobs", "open_blob", "referrers"])
@pytest.mark.parametrize("error", [Unreachable("no answer"), Throttled("slow down", 3)])
def test_transient_errors_make_the_verdict_unknown(
    registries: FakeRegistries, look: Look, method: str, error: Exception
) -> None:
    built = multi_arch()
    registries.push(DEV, built)
    registries.fail(DEV.registry, error, methods={method})
    seen = look(built)
    assert seen.verification.verdict == "unknown"
    assert str(error) in " ".join(check.reason for check in seen.verification.checks if check.verdict == "unknown")


def test_a_known_failure_outweighs_what_is_unknown() -> None:
    made = Verification((Check("a", "unknown", "x"), Check("b", "failed", "y"), Check("c", "passed", "z")))
    assert made.verdict == "failed"
    assert Verification(()).verdict == "unknown"


def test_a_broken_connection_resumes(registries: FakeRegistries, look: Look) -> None:
    part = big_layer(150_000)
    built = image(part)
    registries.push(DEV, built)
    registries.fail(DEV.registry, after_bytes=80_000)
    seen = look(built)
    assert seen.verification.verdict == "passed"
    assert [d for m, _, d in registries.requests if m == "open_blob"].count(part.digest) == 3


def test_a_connection_that_always_breaks_makes_the_verdict_unknown_after_the_last_attempt(
    registries: FakeRegistries, look: Look
) -> None:
    part = big_layer(150_000)
    built = image(part)
    registries.push(DEV, built)
    registries.fail(DEV.registry, after_bytes=1_000)
    seen = look(built)
    assert checks(seen)["layer_content"].verdict == "unknown"
    assert [d for m, _, d in registries.requests if m == "open_blob"].count(part.digest) == TRIES


def test_blobs_beyond_the_deadline_are_unknown(registries: FakeRegistries, look: Look) -> None:
    built = image(big_layer(1_000_000))
    registries.push(DEV, built)
    left = iter(range(20, -1_000, -1))
    seen = look(built, deadline=lambda: float(next(left)), workers=1)
    assert seen.verification.verdict == "unknown"
    assert "no time left" in checks(seen)["layer_content"].reason


def test_a_missing_image_is_not_found(look: Look) -> None:
    with pytest.raises(NotFound, match="is not there"):
        look(digest_of("nothing"))


def test_a_missing_repository_is_not_found(registries: FakeRegistries) -> None:
    with pytest.raises(NotFound, match="does not exist"):
        verify(registries, PROD, digest_of("x"), level="content", deadline=lambda: FOREVER)


@pytest.mark.parametrize("method", ["manifest", "missing_blobs", "open_blob", "referrers"])
def test_a_refusal_gives_no_verdict(registries: FakeRegistries, look: Look, method: str) -> None:
    built = image("a")
    registries.push(DEV, built)
    registries.fail(DEV.registry, NotAllowed("not authorized to perform ecr:…"), methods={method})
    with pytest.raises(NotAllowed):
        look(built)
