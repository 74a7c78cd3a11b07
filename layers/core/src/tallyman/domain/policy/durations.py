"""Durations and dates in a policy."""

import re
from datetime import UTC, date, datetime, time, timedelta

from tallyman.domain.policy.reading import found_text
from tallyman.errors import BadInput

_DURATION = re.compile(r"([0-9]{1,6})([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
DURATION_PATTERN = r"^[0-9]{1,6}[smhdw]$"
LONGEST = timedelta(days=365_000)
"""The longest duration: a time plus a much longer one would lie after the year 9999, which `datetime` lacks."""
DURATION_EXPECTED = "a duration such as 24h (a whole number with s, m, h, d or w)"


class BadDuration(BadInput, ValueError):
    """Text that is not a duration."""


def parse_duration(text: str) -> timedelta:
    """Parse `24h` and the like: a whole number (at most six digits) with s, m, h, d or w, at most LONGEST. Raises
    BadDuration."""
    found = _DURATION.fullmatch(text)
    if not found:
        raise BadDuration(f"expected {DURATION_EXPECTED}, found {found_text(text)}")
    duration = timedelta(seconds=int(found[1]) * _SECONDS[found[2]])
    if duration > LONGEST:
        raise BadDuration(f"expected a duration of at most {LONGEST.days}d, found {found_text(text)}")
    return duration


def format_duration(duration: timedelta) -> str:
    """Text that `parse_duration` parses as this duration, in the largest unit that divides it; but one day is `24h`,
    and weeks are days. Fractions of a second are dropped.
    """
    seconds = int(duration.total_seconds())
    unit = next((u for u in "dhm" if seconds and seconds % _SECONDS[u] == 0 and (u, seconds) != ("d", 86400)), "s")
    return f"{seconds // _SECONDS[unit]}{unit}"


def end_of_day(day: date) -> datetime:
    """The first instant after the day, in UTC: a policy's `until` includes its day."""
    if day == date.max:
        return datetime.max.replace(tzinfo=UTC)
    return datetime.combine(day, time.min, UTC) + timedelta(days=1)
