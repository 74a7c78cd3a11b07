"""Versions in tags: kinds, order, ranges (docs/policy.md; semver.org 2.0.0)."""

import pytest

from tallyman.domain.images.versions import BadRange, VersionKind, VersionRange, parse_version


@pytest.mark.parametrize(
    ("tag", "kind"),
    [
        ("1.0.0", VersionKind.SEMVER),
        ("v1.0.0", VersionKind.SEMVER),
        ("v1.0.0-rc.1", VersionKind.SEMVER),
        ("1.0.0-alpha", VersionKind.SEMVER),
        ("1.0.0-x-y-z.4", VersionKind.SEMVER),
        ("1.0.0-0a.b", VersionKind.SEMVER),
        ("1.0.0+build.7", VersionKind.SEMVER),
        ("1.0.0-12345", VersionKind.SEMVER),
        ("v1.0.0-abc123", VersionKind.SEMVER_COMMIT),
        ("v1.0.0-abc1234", VersionKind.SEMVER_COMMIT),
        ("v0.1.0-0000001", VersionKind.SEMVER_COMMIT),
        ("1.0.0-" + "a" * 40, VersionKind.SEMVER_COMMIT),
        ("1.0.0-" + "a" * 41, VersionKind.SEMVER),
        ("1.0.0-20261121", VersionKind.SEMVER_COMMIT),
    ],
)
def test_a_version_has_a_kind_and_a_commit_wins_over_a_pre_release(tag: str, kind: VersionKind) -> None:
    version = parse_version(tag)
    assert version is not None
    assert version.kind is kind


@pytest.mark.parametrize(
    "tag",
    [
        "",
        "latest",
        "v1",
        "1.0",
        "01.0.0",
        "1.0.0-",
        "1.0.0-01",
        "1.0.0-a..b",
        "V1.0.0",
        "1.0.0 ",
        "1.0.0\n",
        "vv1.0.0",
        "-1.0.0",
        "1.0.0-é",
        "١.0.0",
        "1.0.0+",
        "9" * 200 + ".0.0",
        "1.0.0-abc1234-dirty.",
    ],
)
def test_an_invalid_version_is_none(tag: str) -> None:
    assert parse_version(tag) is None


def test_the_order_is_that_of_the_specification() -> None:
    # semver.org 2.0.0, 11.2 to 11.4
    ordered = ["1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11"]
    ordered += ["1.0.0-rc.1", "1.0.0", "2.0.0", "2.1.0", "2.1.1", "10.0.0"]
    versions = [parse_version(text) for text in ordered]
    shuffled = [*versions[1::2], *versions[::2]]
    assert sorted(shuffled, key=lambda v: v.precedence) == versions  # type: ignore[union-attr]


def test_a_version_with_a_commit_orders_as_its_release() -> None:
    built, release, candidate = (parse_version(t) for t in ("v1.0.0-abc1234", "1.0.0", "1.0.0-rc.1"))
    assert built is not None
    assert release is not None
    assert candidate is not None
    assert built.precedence == release.precedence
    assert candidate < built
    assert built.commit == "abc1234"


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        (">=1.0.0", ["1.0.0", "v1.0.0-abc1234", "1.0.1-rc.1", "2.0.0"], ["0.9.9", "1.0.0-rc.1"]),
        (">1.0.0", ["1.0.1", "1.0.1-rc.1"], ["1.0.0", "v1.0.0-abc1234"]),
        (">1.2", ["1.3.0"], ["1.2.0", "1.2.9"]),
        ("<2", ["1.9.9", "0.0.1", "1.0.0-rc.1"], ["2.0.0", "2.0.0-rc.1", "v2.0.0-abc1234"]),
        ("<2.0.0-rc.2", ["2.0.0-rc.1", "1.0.0"], ["2.0.0-rc.2", "2.0.0"]),
        ("<=1.2", ["1.2.9", "1.1.0"], ["1.3.0", "1.3.0-rc.1"]),
        ("<=1.2.3", ["1.2.3", "v1.2.3-abc1234"], ["1.2.4", "1.2.4-rc.1"]),
        ("=1.2.3", ["1.2.3", "v1.2.3-abc1234"], ["1.2.4", "1.2.3-rc.1"]),
        ("=1.2", ["1.2.0", "1.2.7"], ["1.3.0", "1.1.9"]),
        ("=1.2.3-rc.1", ["1.2.3-rc.1"], ["1.2.3", "1.2.3-rc.1.0", "1.2.3-rc.2"]),
        ("!=1.2.3", ["1.2.2", "1.2.4", "1.2.3-rc.1"], ["1.2.3", "v1.2.3-abc1234"]),
        ("!=1", ["0.9.0", "2.0.0"], ["1.0.0", "1.9.9"]),
        ("^1.2.3", ["1.2.3", "1.9.0"], ["1.2.2", "2.0.0", "2.0.0-rc.1"]),
        ("^0.2.3", ["0.2.3", "0.2.9"], ["0.3.0", "0.2.2"]),
        ("^0.0.3", ["0.0.3"], ["0.0.4", "0.0.2"]),
        ("^0", ["0.0.1", "0.9.0"], ["1.0.0"]),
        ("^0.0", ["0.0.9"], ["0.1.0"]),
        ("^1", ["1.0.0", "1.9.9"], ["2.0.0", "0.9.9"]),
        ("~1.2.3", ["1.2.3", "1.2.9"], ["1.3.0", "1.2.2", "1.3.0-rc.1"]),
        ("~1.2", ["1.2.0", "1.2.9"], ["1.3.0"]),
        ("~1", ["1.0.0", "1.9.9"], ["2.0.0"]),
        (">=1.2 <2", ["1.2.0", "1.9.9"], ["1.1.9", "2.0.0"]),
        (">= 1.2, < 2, != 1.5.0", ["1.2.0", "1.5.1"], ["1.5.0", "2.0.0"]),
        (">=v1.0.0", ["1.0.0"], ["0.9.0"]),
        (">=1.0.0-abc1234", ["1.0.0", "v1.0.0-fff0000"], ["1.0.0-rc.1"]),
    ],
)
def test_a_range_holds_by_precedence(text: str, inside: list[str], outside: list[str]) -> None:
    held = VersionRange.parse(text)
    for tag in [*inside, *outside]:
        version = parse_version(tag)
        assert version is not None
        assert held.holds(version) is (tag in inside), tag


@pytest.mark.parametrize(
    "text",
    [
        ">=1.0.0.0",
        ">=x",
        "",
        ">=",
        ">>1",
        "1.0.0",
        ">=1.0.0 foo",
        ">=1.0.0||<2",
        "=>1",
        ">=1.0.0-01",
        ">=1.x",
        ">1\n<2",
        ">=" + "9" * 5000,
    ],
)
def test_a_bad_range_is_refused(text: str) -> None:
    with pytest.raises(BadRange, match="is not a range of versions"):
        VersionRange.parse(text)
