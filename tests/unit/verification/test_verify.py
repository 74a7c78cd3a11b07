"""Verification without a registry: verdicts, configurations, platforms."""

import json

import pytest

from tallyman.domain.images.manifest import Platform
from tallyman.domain.images.verification import Check, ImageConfig, check, missing_platforms, same_platform
from tallyman.domain.plain import plain
from tallyman.errors import BadManifest

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")


def test_a_failure_outweighs_a_doubt_and_a_doubt_a_pass() -> None:
    assert check("a", ["no"], ["maybe"], "yes") == Check("a", "failed", "no")
    assert check("a", [], ["maybe"], "yes") == Check("a", "unknown", "maybe")
    assert plain(check("a", [], [], "yes")) == {"name": "a", "verdict": "passed", "reason": "yes"}


def test_many_reasons_are_counted_and_equal_ones_listed_once() -> None:
    reasons = [f"layer {i}" for i in range(8)]
    assert check("a", [*reasons, *reasons], [], "").reason == "; ".join(reasons[:5]) + "; and 3 more"


def test_a_configuration_has_platform_and_labels() -> None:
    raw = {"os": "linux", "architecture": "arm", "variant": "v7", "config": {"Labels": {"a": "b"}}, "created": "x"}
    config = ImageConfig.parse(json.dumps(raw).encode())
    assert config.platform == Platform("linux", "arm", "v7")
    assert config.labels == {"a": "b"}
    assert config.created == "x"


def test_a_configuration_without_platform_or_labels_has_none() -> None:
    assert ImageConfig.parse(b'{"os": "", "architecture": "", "config": null}') == ImageConfig(None)
    assert ImageConfig.parse(b'{"config": {"Labels": null}}') == ImageConfig(None)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"PK\x03\x04", "configuration: not JSON"),
        (b"[]", "configuration: expected a JSON object, found a list"),
        (b'{"os": 1}', "os: expected a string, found a number"),
        (b'{"config": []}', "config: expected an object, found a list"),
        (b'{"config": {"Labels": {"a": null}}}', "config.Labels['a']: expected a string, found nothing"),
        (b'{"os": "linux", "os": "windows"}', "configuration: an object has the key 'os' twice"),
    ],
)
def test_an_invalid_configuration_is_refused_with_the_path_of_the_error(raw: bytes, words: str) -> None:
    with pytest.raises(BadManifest) as caught:
        ImageConfig.parse(raw)
    assert words in str(caught.value)


def test_variants_differ_only_if_both_are_named() -> None:
    assert same_platform(ARM64, Platform("linux", "arm64", "v8"))
    assert not same_platform(Platform("linux", "arm", "v6"), Platform("linux", "arm", "v7"))
    assert not same_platform(ARM64, AMD64)


def test_missing_platforms_are_named_in_the_order_of_the_policy() -> None:
    assert missing_platforms(["linux/s390x", "linux/arm64", "linux/arm/v7"], [ARM64]) == [
        "linux/s390x",
        "linux/arm/v7",
    ]
    assert missing_platforms([], []) == []
