"""Points in time: aware UTC datetimes in the code, RFC 3339 with `Z` in JSON and in the tables."""

from datetime import UTC, datetime

from tallyman.errors import BadInput

_YEARS = 1970, 9000


def parse_time(text: str) -> datetime:
    """Parse RFC 3339 (`2026-11-16T01:54:34Z`, with or without a fraction, any offset) as an aware UTC datetime.

    A date alone (`2026-11-16`) is its first instant in UTC. Raises BadInput.
    """
    try:
        moment = datetime.fromisoformat(text.strip())
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):  # the latter: in UTC it lies before the year 1 or after 9999
        raise BadInput(f"'{text}' is not a time: expected RFC 3339, such as 2026-11-16T01:54:34Z") from None


def parse_moment(text: str) -> datetime:
    """Parse a time as of which somebody asks, in the years 1970 to 8999: gates add days and years to it, which must not
    leave the calendar. Raises BadInput."""
    moment = parse_time(text)
    if not _YEARS[0] <= moment.year < _YEARS[1]:
        raise BadInput(f"'{text}' is out of range: expected a time in the years {_YEARS[0]} to {_YEARS[1] - 1}")
    return moment


def format_time(moment: datetime) -> str:
    """RFC 3339 in UTC, cut to milliseconds; without a fraction where they are 0 (`…:34Z`, `…:34.120Z`)."""
    return sort_time(moment).replace(".000Z", "Z")


def text_or_none(moment: datetime | None) -> str | None:
    """The time as `format_time` writes it; None for None."""
    return format_time(moment) if moment else None


def sort_time(moment: datetime) -> str:
    """RFC 3339 in UTC, always with milliseconds, so that the order of the texts is the order of time: for sort keys."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def second_of(moment: datetime) -> datetime:
    """The moment cut to a whole second. Events have whole seconds, our own facts milliseconds: the times of two facts
    within one second do not show which came first."""
    return moment.astimezone(UTC).replace(microsecond=0)


def whole_millis(moment: datetime) -> datetime:
    """The moment cut to milliseconds, as the tables store it, so that stored and fresh times compare equal."""
    return moment.astimezone(UTC).replace(microsecond=moment.microsecond // 1000 * 1000)
