"""Points in time: aware UTC datetimes inside, RFC 3339 with `Z` outside."""

from datetime import UTC, datetime

from tallyman.errors import BadInput


def parse_time(text: str) -> datetime:
    """RFC 3339 text (`2026-11-16T01:54:34Z`, with or without a fraction, any offset) as an aware UTC datetime.

    A date alone (`2026-11-16`) is its first instant in UTC. Raises BadInput that says what was expected.
    """
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise BadInput(f"'{text}' is not a time: expected RFC 3339, such as 2026-11-16T01:54:34Z") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


def format_time(moment: datetime) -> str:
    """RFC 3339 in UTC; milliseconds only where there are any (`…:34Z`, `…:34.120Z`)."""
    moment = moment.astimezone(UTC)
    text = moment.strftime("%Y-%m-%dT%H:%M:%S")
    millis = moment.microsecond // 1000
    return f"{text}.{millis:03d}Z" if millis else f"{text}Z"


def sort_time(moment: datetime) -> str:
    """The fixed-width form (always milliseconds) whose alphabetical order is the order of time: for sort keys."""
    moment = moment.astimezone(UTC)
    return f"{moment.strftime('%Y-%m-%dT%H:%M:%S')}.{moment.microsecond // 1000:03d}Z"


def second_of(moment: datetime) -> datetime:
    """The whole second that holds the moment. Events have whole seconds, what we record ourselves milliseconds:
    of two facts within one second their times don't say which came first."""
    return moment.astimezone(UTC).replace(microsecond=0)


def whole_millis(moment: datetime) -> datetime:
    """The moment cut to milliseconds, the precision that is stored, so that a stored and a live one compare equal."""
    return moment.astimezone(UTC).replace(microsecond=moment.microsecond // 1000 * 1000)
