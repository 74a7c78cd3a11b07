"""The gate `window`: promotions happen only on these days, between these times, in a time zone."""

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from tallyman.domain.gates.case import PASSED, WAITING, Case, Gate, GateResult
from tallyman.domain.policy.gates import GateConfig
from tallyman.domain.policy.reading import Node
from tallyman.domain.policy.shapes import Day, Key, ListOf, Record, Schema, String
from tallyman.domain.text import counted
from tallyman.domain.times import format_time, text_or_none
from tallyman.values import value

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY = f"(?:{'|'.join(DAYS)})"
_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_AHEAD = 400
"""The number of days that are searched for the next opening, besides the holidays."""
_DAY_LONG = timedelta(days=1)


@value
class WindowGate(GateConfig):
    """Open from `start` to `end` in `timezone` on `days` (0: Monday), except on `holidays`.

    An end that is not after the start is on the next day; the window then belongs to the day on which it starts.
    """

    days: frozenset[int]
    start: time
    end: time
    timezone: str
    holidays: frozenset[date] = frozenset()

    @property
    def words(self) -> Mapping[str, Any]:
        return {
            "days": [DAYS[day] for day in sorted(self.days)],
            "between": f"{self.start:%H:%M}-{self.end:%H:%M}",
            "timezone": self.timezone,
            "holidays": sorted(day.isoformat() for day in self.holidays),
        }

    def __str__(self) -> str:
        days = ",".join(DAYS[day] for day in sorted(self.days))
        number = len(self.holidays)
        but = f" but {counted(number, 'holiday')}" if number else ""
        return f"window ({days} {self.start:%H:%M}-{self.end:%H:%M} {self.timezone}{but})"

    def is_open(self, moment: datetime, zone: tzinfo) -> bool:
        """Whether the window is open at this moment, by the local clock: an hour that is skipped in spring never comes,
        one that is repeated in autumn comes twice."""
        local = moment.astimezone(zone)
        today, clock = local.date(), local.time()
        if self.start < self.end:
            return self._counts(today) and self.start <= clock < self.end
        return (self._counts(today) and clock >= self.start) or (self._counts(today - _DAY_LONG) and clock < self.end)

    def next_opening(self, moment: datetime, zone: tzinfo) -> datetime | None:
        """The first moment from this one on at which the window is open; None: not within about a year."""
        if self.is_open(moment, zone):
            return moment
        return next((at for at in self._openings(moment, zone) if at > moment and self.is_open(at, zone)), None)

    def next_closing(self, moment: datetime, zone: tzinfo) -> datetime | None:
        """The first whole minute after this moment at which the window is closed; None: not within two days."""
        at = moment.replace(second=0, microsecond=0)
        for _ in range(2 * 24 * 60):
            at += timedelta(minutes=1)
            if not self.is_open(at, zone):
                return at
        return None

    def _counts(self, day: date) -> bool:
        return day.weekday() in self.days and day not in self.holidays

    def _openings(self, moment: datetime, zone: tzinfo) -> Iterator[datetime]:
        """The moments at which the window may open, in order: the start on each day that counts; where the clock skips
        the start, the first moment after the gap."""
        first = moment.astimezone(zone).date() - _DAY_LONG
        for ahead in range(_AHEAD + len(self.holidays)):
            day = first + ahead * _DAY_LONG
            if not self._counts(day):
                continue
            naive = datetime.combine(day, self.start, zone)
            early, late = sorted(naive.replace(fold=fold).astimezone(UTC) for fold in (0, 1))
            if early.astimezone(zone).replace(tzinfo=None) == naive.replace(tzinfo=None):
                yield from dict.fromkeys((early, late))
            else:
                yield from _after_gap(early, late, zone)


def _after_gap(before: datetime, after: datetime, zone: tzinfo) -> Iterator[datetime]:
    """The moment between these two at which the clock is set forward, to the second; then `after`."""
    low, high, offset = before, after, before.astimezone(zone).utcoffset()
    while high - low > timedelta(seconds=1):
        middle = (low + (high - low) / 2).replace(microsecond=0)
        low, high = (middle, high) if middle.astimezone(zone).utcoffset() == offset else (low, middle)
    yield high
    yield after


def judge(config: WindowGate, case: Case) -> GateResult:
    """Passed where the window is open; else waiting until the next opening. Also waiting where this machine has no data
    for the time zone."""
    evidence = config.words
    zone = zone_of(config.timezone)
    if zone is None:
        reason = (
            f"this machine has no data for the time zone {config.timezone}: it is not known whether the window is open"
        )
        return GateResult("window", WAITING, reason, evidence, held=True)
    local = case.now.astimezone(zone)
    if config.is_open(case.now, zone):
        closes = config.next_closing(case.now, zone)
        facts = {**evidence, "closes": text_or_none(closes)}
        return GateResult("window", PASSED, "the window is open", facts)
    opens = config.next_opening(case.now, zone)
    facts = {**evidence, "opens": text_or_none(opens)}
    when = f"it opens at {format_time(opens)}" if opens else "it does not open within a year"
    why = ", a holiday" if local.date() in config.holidays else ""
    # the reason names no time but the opening, so that a longer wait is no new decision
    return GateResult("window", WAITING, f"the window is closed{why}: {when}", facts, opens, held=True)


def zone_of(name: str) -> ZoneInfo | None:
    """The time zone, from the system's data or from the package tzdata; None where neither has it."""
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError):  # in turn: no such zone, a folder of zones, not a possible name
        return None


def _days(text: str) -> frozenset[int]:
    """Parse `mon-fri,sun` to numbers; `fri-mon` includes the weekend."""
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        at, end = DAYS.index(first), DAYS.index(last or first)
        found.add(at)
        while at != end:
            at = (at + 1) % 7
            found.add(at)
    return frozenset(found)


def _between(text: str) -> tuple[time, time]:
    start, _, end = text.partition("-")
    return time.fromisoformat(start), time.fromisoformat(end)


def _window(
    days: frozenset[int], between: tuple[time, time], timezone: str, holidays: frozenset[date] = frozenset()
) -> WindowGate:
    return WindowGate(days, *between, timezone, holidays)


class _Zone:
    """The name of a time zone; one that is unknown on this machine is allowed, with a warning."""

    _text = String(r"[A-Za-z_+-]+(?:/[A-Za-z0-9_+-]+)*", "a time zone such as America/Sao_Paulo")

    def read(self, node: Node) -> str:
        name: str = self._text.read(node)
        if zone_of(name) is None:
            why = "no such time zone is known" if zone_of("America/New_York") else "there is no time-zone data"
            node.warn(f"{why} on this machine ({name}): where that is so, the window stays closed")
        return name

    def schema(self) -> Schema:
        return self._text.schema()


GATE: Gate = Gate(
    Record(
        {
            "days": Key(
                String(rf"{_DAY}(?:-{_DAY})?(?:,{_DAY}(?:-{_DAY})?)*", "days such as mon-fri or mon,wed", _days),
                "The days on which promotions happen.",
                required=True,
            ),
            "between": Key(
                String(rf"{_TIME}-{_TIME}", "times such as 09:00-17:00", _between),
                "The start and end of the window; an end that is not after the start is on the next day.",
                required=True,
            ),
            "timezone": Key(_Zone(), "The time zone of these times.", required=True),
            "holidays": Key(ListOf(Day(), build=frozenset), "Dates on which the window stays closed."),
        },
        _window,
        expected="a window, as in {days: mon-fri, between: '09:00-17:00', timezone: America/Sao_Paulo}",
    ),
    "When promotions happen: days, hours, time zone, holidays.",
    judge,
)
