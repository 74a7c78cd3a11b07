"""Values as text for people: ages, sizes, short digests, names."""

from datetime import datetime

from tallyman.domain.people import person_of
from tallyman.domain.times import parse_time
from tallyman_cli.shared import output

_STEPS = ((60, "s", 1), (3600, "min", 60), (86_400, "h", 3600), (86_400 * 60, "d", 86_400))


def duration(seconds: float) -> str:
    """`40 s`, `12 min`, `5 h`, `3 d`, `4 months`, `2 years`."""
    seconds = abs(seconds)
    for below, unit, size in _STEPS:
        if seconds < below:
            return f"{int(seconds // size)} {unit}"
    months = seconds / (86_400 * 30.44)
    return f"{int(months)} months" if months < 24 else f"{int(months // 12)} years"


def ago(moment: str | None, now: datetime) -> str:
    """How long ago a time was (`5 h ago`), or how far ahead it is (`in 5 h`)."""
    if not moment:
        return ""
    seconds = (now - parse_time(moment)).total_seconds()
    if abs(seconds) < 1:
        return "now"
    return f"{duration(seconds)} ago" if seconds > 0 else f"in {duration(seconds)}"


def size(count: int | None) -> str:
    """Bytes in a decimal unit, as `output.size`."""
    return "unknown" if count is None else f"{'−' if count < 0 else ''}{output.size(abs(count))}"


def delta(count: int | None) -> str:
    """A difference of bytes, with its sign."""
    return "unknown" if count is None else f"+{size(count)}" if count > 0 else size(count)


def short(digest: str | None) -> str:
    """Twelve digits of a digest."""
    return (digest or "").removeprefix("sha256:")[:12]


def named(image: str) -> str:
    """An image's name with the digest cut short."""
    name, at, digest = image.partition("@")
    return f"{name}@{short(digest)}" if at else image


def usd(amount: float | None) -> str:
    """Dollars a month."""
    if amount is None:
        return "unknown"
    return f"{amount:,.2f}" if amount >= 0.01 or amount == 0 else "< 0.01"


def person(actor: str | None) -> str:
    """The name in CloudTrail's ARN or SQS's SenderId of a person or role."""
    return person_of(actor or "")


def words(name: str | None) -> str:
    """`rolled_back` → `rolled back`."""
    return (name or "").replace("_", " ")


def clock(moment: str | None) -> str:
    """`2026-11-16 01:54:34 UTC`."""
    return parse_time(moment).strftime("%Y-%m-%d %H:%M:%S UTC") if moment else ""
