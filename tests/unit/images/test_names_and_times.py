"""Names of images and points in time, as people and other systems write them."""

import re
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from tallyman.domain.names import ImageName
from tallyman.domain.times import format_time, parse_time, sort_time
from tallyman.errors import BadInput, BadName

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize("text", ["dev/app:", f"dev/app:@{DIGEST}", "dev/", "dev", "dev/app@", "dev/a:b/c"])
def test_an_image_with_an_empty_part_is_refused(text: str) -> None:
    with pytest.raises(BadName):
        ImageName.parse_any(text)


@pytest.mark.parametrize(
    ("parse", "text", "expected"),
    [
        (ImageName.parse, "dev", "is not an image: expected ENVIRONMENT/REPOSITORY:TAG"),
        (ImageName.parse_any, "dev/app:", "is not an image: expected ENVIRONMENT/REPOSITORY:TAG"),
        (ImageName.parse_any, "dev", "is not a repository: expected ENVIRONMENT/REPOSITORY (such as"),
    ],
)
def test_the_message_names_what_the_argument_is(parse: Callable[[str], ImageName], text: str, expected: str) -> None:
    with pytest.raises(BadName, match=re.escape(expected)):
        parse(text)


@pytest.mark.parametrize("text", ["", "yesterday", "9999-12-31T23:59:59-01:00", "0001-01-01T00:00:00+01:00"])
def test_a_text_without_a_time_in_utc_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="is not a time"):
        parse_time(text)


@pytest.mark.parametrize(
    ("moment", "shown", "sorted_by"),
    [
        (datetime(2026, 11, 16, 1, 54, 34, tzinfo=UTC), "2026-11-16T01:54:34Z", "2026-11-16T01:54:34.000Z"),
        (datetime(2026, 11, 16, 1, 54, 34, 120_999, UTC), "2026-11-16T01:54:34.120Z", "2026-11-16T01:54:34.120Z"),
        (datetime(5, 1, 2, tzinfo=UTC), "0005-01-02T00:00:00Z", "0005-01-02T00:00:00.000Z"),
    ],
)
def test_a_time_is_written_with_four_digits_of_the_year(moment: datetime, shown: str, sorted_by: str) -> None:
    assert (format_time(moment), sort_time(moment)) == (shown, sorted_by)
    assert parse_time(shown) == moment.replace(microsecond=moment.microsecond // 1000 * 1000)
