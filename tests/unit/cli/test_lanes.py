"""The chart of a history: a lane per tag, a bar per image."""

from datetime import UTC, datetime, timedelta

from support.images.builders import DEV, digest_of
from tallyman.domain.history.facts import Kind, Via
from tallyman.domain.history.fold import Row
from tallyman.domain.names import Digest
from tallyman_cli.registry.lanes import picture

BEGAN = datetime(2026, 11, 16, tzinfo=UTC)
ONE, TWO = digest_of("one"), digest_of("two")


def row(hours: float, tag: str | None, digest: Digest, kind: Kind = Kind.PUSHED) -> Row:
    at = BEGAN + timedelta(hours=hours)
    return Row(
        at=at, seen=at, kind=kind, repository=DEV, tag=tag, digest=digest, actor=None, via=Via.EVENT, commit=None
    )


def drawn(*rows: Row, width: int = 60) -> list[str]:
    return picture(rows, BEGAN + timedelta(hours=10), width)


def test_moved_tags_come_first_and_each_lane_ends_with_its_current_image() -> None:
    lines = drawn(row(0, "v1.0.0", ONE), row(0, "latest", ONE), row(5, "latest", TWO), row(5, "v1.1.0", TWO))
    assert [line.split()[0] for line in lines] == ["latest", "v1.1.0", "v1.0.0"]
    assert lines[0].endswith(f"▶ {TWO.hex[:7]}")
    assert lines[2].endswith(f"▶ {ONE.hex[:7]}")
    assert lines[0].count("●") == 2
    assert lines[0].index("●", 10) == lines[1].index("●")  # the same moment is in the same column
    assert {len(line) for line in lines} == {60}


def test_the_lane_of_a_removed_tag_ends_at_its_removal() -> None:
    lines = drawn(row(0, "a", ONE), row(0, "b", TWO), row(5, None, ONE, Kind.DELETED), row(5, "b", TWO, Kind.UNTAGGED))
    assert all(line.endswith("×") for line in lines)
    assert len({line.index("×") for line in lines}) == 1


def test_close_events_are_drawn_side_by_side() -> None:
    digests = [digest_of(str(n)) for n in range(5)]
    (line,) = drawn(*(row(9 + n / 3600, "latest", digest) for n, digest in enumerate(digests)))
    assert line.count("●") == 5


def test_one_push_or_no_room_gives_no_chart() -> None:
    assert drawn(row(0, "v1.0.0", ONE)) == []
    assert drawn(row(0, "a", ONE), row(1, "a", TWO), width=30) == []
    assert drawn(row(0, "a", ONE), row(1, "a", TWO), width=0) == []


def test_more_tags_than_lanes_are_counted() -> None:
    lines = drawn(*(row(n / 10, f"v1.{n}.0", ONE) for n in range(20)))
    assert lines[-1].strip() == "and 8 more tags"
