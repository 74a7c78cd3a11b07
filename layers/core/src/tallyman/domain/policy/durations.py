"""Durations and dates as a policy writes them."""

import re
from datetime import UTC, date, datetime, time, timedelta

from tallyman.errors import BadInput

_DURATION = re.compile(r"([0-9]{1,6})([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
DURATION_PATTERN = r"^[0-9]{1,6}[smhdw]$"
DURATION_EXPECTED = "a duration such as 24h (a whole number with s, m, h, d or w)"


class BadDuration(BadInput, ValueError):
    """A text that is not a duration."""


def parse_duration(text: str) -> timedelta:
    """`24h` → 24 hours. A whole number (at most six digits) with s, m, h, d or w; raises BadDuration."""
    found = _DURATION.fullmatch(text)
    if not found:
        raise BadDuration(f'expected {DURATION_EXPECTED}, found "{text}"')
    return timedelta(seconds=int(found[1]) * _SECONDS[found[2]])


def format_duration(duration: timedelta) -> str:
    """A text that `parse_duration` reads as this duration: in the largest unit that divides it, except that a day is
    24h and weeks are days, as people say them. Parts of a second are dropped.
    """
    seconds = int(duration.total_seconds())
    unit = next((u for u in "dhm" if seconds and seconds % _SECONDS[u] == 0 and (u, seconds) != ("d", 86400)), "s")
    return f"{seconds // _SECONDS[unit]}{unit}"


def end_of_day(day: date) -> datetime:
    """The first instant after the day, in UTC: what a policy says holds `until` a day holds before it."""
    if day == date.max:
        return datetime.max.replace(tzinfo=UTC)
    return datetime.combine(day, time.min, UTC) + timedelta(days=1)
