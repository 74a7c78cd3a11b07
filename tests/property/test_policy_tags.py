"""Laws of tag lists: the meaning of a list, and the relations that are reported between two lists."""

from fnmatch import fnmatchcase

from hypothesis import example, given
from hypothesis import strategies as st

from tallyman.domain.images.versions import VersionKind, parse_version
from tallyman.domain.policy import TagRule, format_duration, parse_duration
from tallyman.domain.policy.tags import glob_covers

tags = st.one_of(
    st.from_regex(r"v?[0-3]\.[0-3]\.[0-3](-(rc\.[0-3]|beta|abc1234|0000001))?", fullmatch=True),
    st.sampled_from(["latest", "stable-1", "edge", "v1", "stable-"]),
)
entries = st.sampled_from(
    [
        "semver",
        "semver-commit",
        "latest",
        "edge",
        "stable-*",
        "v*",
        "v1.*",
        "*-rc.?",
        "*",
        "1.0.0",
        ">=1.0.0",
        "<2",
        ">=1.0.0 <1.2",
        "^0.2",
        "!=1.1.1",
        ">2.1",
        "=3.0.0-rc.1",
        "1.?.0",
        "^1.2.3",
        "2.*-rc.*",
        "*.1-abc*",
        "v?.?.?",
        "v*.*-???????",
        "*-beta*",
    ]
)
rules = st.lists(entries, max_size=4).map(TagRule.parse)


@given(rules, tags)
def test_kinds_names_and_globs_are_alternatives_and_each_range_must_hold(rule: TagRule, tag: str) -> None:
    version = parse_version(tag)
    alternatives = [
        *(version is not None and version.kind is kind for kind in rule.kinds),
        *(tag == name for name in rule.names),
        *(fnmatchcase(tag, glob) for glob in rule.globs),
    ]
    ranges = [version is not None and held.holds(version) for held in rule.ranges]
    expected = (any(alternatives) or (not alternatives and bool(ranges))) and all(ranges)
    assert rule.allows(tag) is expected


@given(rules, rules)
def test_a_common_tag_is_allowed_by_both(first: TagRule, second: TagRule) -> None:
    tag = first.common_tag(second)
    assert tag is None or (first.allows(tag) and second.allows(tag))


@example(TagRule.parse(["*-rc.?"]), TagRule.parse([">=1.0.0"]), "2.0.0-rc.0")
@example(TagRule.parse(["1.?.0", ">=1.2.2"]), TagRule.parse(["*"]), "1.3.0")
@example(TagRule.parse(["2.*-rc.*", ">=2.2.0"]), TagRule.parse(["*"]), "2.2.1-rc.0")
@example(TagRule.parse(["v1.*"]), TagRule.parse(["semver-commit"]), "v1.0.0-abc1234")
@example(TagRule.parse(["*.1-abc*"]), TagRule.parse(["semver-commit", "<1.0.2"]), "0.1.1-abc1234")
@given(rules, rules, tags)
def test_two_lists_that_allow_a_tag_have_a_common_tag(first: TagRule, second: TagRule, tag: str) -> None:
    if first.allows(tag) and second.allows(tag):
        assert first.common_tag(second) is not None


@given(st.text("ab*?/", max_size=6), st.text("ab*?/", max_size=6), st.text("ab/", max_size=6))
def test_a_glob_that_covers_another_matches_all_that_it_matches(wide: str, narrow: str, text: str) -> None:
    if glob_covers(wide, narrow) and fnmatchcase(text, narrow):
        assert fnmatchcase(text, wide)


@given(st.integers(0, 52_142), st.sampled_from("smhdw"))
def test_a_duration_is_read_back_as_it_is_written(count: int, unit: str) -> None:
    duration = parse_duration(f"{count}{unit}")
    assert parse_duration(format_duration(duration)) == duration


def test_every_kind_is_valid_in_a_list() -> None:
    assert TagRule.parse([str(kind) for kind in VersionKind]).kinds == tuple(VersionKind)
