"""Laws of versions: parsing never raises, the order is total and that of semver 2.0.0, ranges agree with it."""

from itertools import zip_longest

from hypothesis import given
from hypothesis import strategies as st

from tallyman.domain.images.versions import BadRange, Version, VersionKind, VersionRange, parse_version

numbers = st.integers(0, 12)
identifiers = st.one_of(
    st.integers(0, 120).map(str), st.from_regex(r"[0-9]{0,2}[A-Za-z-][0-9A-Za-z-]{0,3}", fullmatch=True)
)
triples = st.tuples(numbers, numbers, numbers)
commits = st.from_regex(r"[0-9a-f]{6,40}", fullmatch=True)


@st.composite
def texts(draw: st.DrawFn) -> str:
    text = draw(st.sampled_from(["", "v"])) + ".".join(map(str, draw(triples)))
    end = draw(st.sampled_from(["", "prerelease", "commit"]))
    if end == "prerelease":
        text += "-" + ".".join(draw(st.lists(identifiers, min_size=1, max_size=3)))
    return text + "-" + draw(commits) if end == "commit" else text


def parsed(text: str) -> Version:
    version = parse_version(text)
    assert version is not None
    return version


versions = texts().map(parsed)


@given(st.text(max_size=200))
def test_parsing_never_raises(text: str) -> None:
    version = parse_version(text)
    assert version is None or version.text == text


@given(st.from_regex(r"v?([0-9]{1,3}\.){2}[0-9]{1,3}(-[0-9A-Za-z.-]{0,12})?(\+[0-9A-Za-z.-]{0,6})?", fullmatch=True))
def test_parsing_what_looks_like_a_version_never_raises(text: str) -> None:
    version = parse_version(text)
    assert version is None or version.text == text


@given(triples, commits, st.sampled_from(["", "v"]))
def test_a_release_with_a_commit_is_never_a_pre_release(triple: tuple[int, int, int], commit: str, v: str) -> None:
    text = v + ".".join(map(str, triple))
    built = parsed(f"{text}-{commit}")
    assert built.kind is VersionKind.SEMVER_COMMIT
    assert built.precedence == parsed(text).precedence


@given(versions, versions, versions)
def test_the_order_is_total(a: Version, b: Version, c: Version) -> None:
    assert (a < b) + (b < a) + (a.precedence == b.precedence) == 1
    assert (a <= b) is not (b < a)
    assert (a >= b) is (b <= a)
    assert (a > b) is (b < a)
    if a <= b and b <= c:
        assert a <= c


def by_the_specification(a: Version, b: Version) -> int:
    """semver 2.0.0 §11, clause by clause; -1, 0 or 1."""
    for mine, other in zip(a.release, b.release, strict=True):  # 11.2
        if mine != other:
            return -1 if mine < other else 1
    if bool(a.prerelease) != bool(b.prerelease):  # 11.3
        return -1 if a.prerelease else 1
    for left, right in zip_longest(a.prerelease, b.prerelease):  # 11.4
        if left is None or right is None:  # 11.4.4
            return -1 if left is None else 1
        if left == right:
            continue
        if left.isdigit() and right.isdigit():  # 11.4.1
            return -1 if int(left) < int(right) else 1
        if left.isdigit() != right.isdigit():  # 11.4.3
            return -1 if left.isdigit() else 1
        return -1 if left.encode("ascii") < right.encode("ascii") else 1  # 11.4.2
    return 0


@given(versions, versions)
def test_precedence_follows_the_specification(a: Version, b: Version) -> None:
    assert by_the_specification(a, b) == (a.precedence > b.precedence) - (a.precedence < b.precedence)


@given(versions, triples)
def test_ranges_agree_with_the_order(version: Version, triple: tuple[int, int, int]) -> None:
    text = ".".join(map(str, triple))
    end = parsed(text)
    holds = {op: VersionRange.parse(op + text).holds(version) for op in ("<", "<=", ">", ">=", "=", "!=")}
    assert holds[">="] is (version >= end)
    assert holds[">"] is (version > end)
    assert holds["="] is (version.precedence == end.precedence)
    assert holds["!="] is not holds["="]
    assert holds["<="] is (version <= end)
    # `<` also excludes pre-releases of the upper bound.
    assert holds["<"] is (version < end and version.release != end.release)


@given(versions, triples, triples)
def test_parts_of_a_range_must_all_hold(
    version: Version, low: tuple[int, int, int], high: tuple[int, int, int]
) -> None:
    parts = [f">={'.'.join(map(str, low))}", f"<{'.'.join(map(str, high))}"]
    each = [VersionRange.parse(part).holds(version) for part in parts]
    assert VersionRange.parse(" ".join(parts)).holds(version) is all(each)
    assert VersionRange.parse(",".join(parts)).holds(version) is all(each)


@given(st.text(alphabet="<>=!^~ ,.0123456789vabx-", max_size=30))
def test_a_range_parses_or_is_a_policy_problem(text: str) -> None:
    try:
        parts = VersionRange.parse(text).bounds
    except BadRange:
        return
    assert parts
