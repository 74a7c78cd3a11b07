"""What a policy can say about each gate: its configuration as a value, and how that is read.

A new gate is a configuration class, a shape, and one line in `GATES`; how it judges is in `domain/gates/`. A gate that
is read but that no code judges yet (`judged=False`) is refused: unknown means closed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple

from tallyman.domain.policy.durations import end_of_day, format_duration
from tallyman.domain.policy.shapes import (
    Choice,
    Day,
    Duration,
    Flag,
    Key,
    ListOf,
    Record,
    Shape,
    Text,
    Whole,
    role_name,
)


class GateConfig:
    """What a policy asks of one gate; each gate has a frozen dataclass of its own."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class VerifiedGate(GateConfig):
    """The image was verified and passed. `required` False: the gate passes whatever verification said."""

    required: bool = True

    def __str__(self) -> str:
        return "verified" if self.required else "verified or not"


class Unscannable(StrEnum):
    """What happens to an image that the scanner can't scan at all."""

    REFUSE = "refuse"
    APPROVE = "approve"
    PASS = "pass"


SEVERITIES = (
    "critical",
    "high",
    "medium",
    "low",
    "informational",
    "undefined",
)  # worst first, as ECR names them


@dataclass(frozen=True, slots=True)
class Ignore:
    """A finding that does not count, through the day `until` (UTC)."""

    id: str
    until: date
    because: str | None = None

    def holds(self, now: datetime) -> bool:
        """Whether the finding is still ignored."""
        return now < end_of_day(self.until)


@dataclass(frozen=True, slots=True)
class ScanGate(GateConfig):
    """A completed scan has at most `max` findings of each severity; one that is not named has no maximum.

    `max_age`: how old a scan may be; None: any age.
    """

    max: Mapping[str, int] = field(default_factory=dict)
    unscannable: Unscannable = Unscannable.REFUSE
    ignore: tuple[Ignore, ...] = ()
    max_age: timedelta | None = None

    def __str__(self) -> str:
        maxima = " and ".join(f"at most {most} {severity}" for severity, most in self.max.items())
        parts = [maxima or "any findings"]
        parts += [f"not older than {format_duration(self.max_age)}"] if self.max_age is not None else []
        parts += [f"{entry.id} ignored until {entry.until}" for entry in self.ignore]
        parts += [f"unscannable: {self.unscannable}"] if self.unscannable is not Unscannable.REFUSE else []
        return f"scan ({'; '.join(parts)})"

    def ignored(self, now: datetime) -> frozenset[str]:
        """The ids of the findings that don't count now."""
        return frozenset(entry.id for entry in self.ignore if entry.holds(now))


@dataclass(frozen=True, slots=True)
class SoakGate(GateConfig):
    """The digest has been in the source environment for `duration`."""

    duration: timedelta

    def __str__(self) -> str:
        return f"soak {format_duration(self.duration)}"


_SCAN = Record(
    {
        "max": Key(
            Record(
                {s: Key(Whole(minimum=0), f"The largest number of {s} findings that passes.") for s in SEVERITIES},
                lambda **maxima: MappingProxyType(maxima),
                expected="a number for each severity, as in {critical: 0, high: 0}",
            ),
            "The largest number of findings of each severity that passes; a severity that is not named has no maximum.",
        ),
        "unscannable": Key(
            Choice(Unscannable),
            "What happens to an image that can't be scanned at all (scratch, a new distribution): refuse (default), "
            "approve (wait for an approval), or pass.",
        ),
        "ignore": Key(
            ListOf(
                Record(
                    {
                        "id": Key(Text(), "The finding's id, such as CVE-2026-1234.", required=True),
                        "until": Key(Day(), "The last day, in UTC, on which it is ignored.", required=True),
                        "because": Key(Text(), "Why it does not matter here."),
                    },
                    lambda id, until, because=None: Ignore(id, until, because),
                    expected="a finding, as in {id: CVE-2026-1234, until: 2027-01-31, because: not reachable}",
                )
            ),
            "Findings that do not count, each until a day.",
        ),
        "max_age": Key(Duration(), "How old the scan may be, such as 7d; without it, any age."),
    },
    ScanGate,
    expected="what a scan may show, as in {max: {critical: 0}}",
)

# Gates whose shape is fixed, and that nothing judges yet; their configuration gets a class together with its judge.
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY = f"(?:{'|'.join(DAYS)})"
_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]"

_APPROVALS = Record(
    {
        "count": Key(Whole(minimum=1), "How many different people must approve.", required=True),
        "from": Key(ListOf(role_name(), least=1), "The roles whose holders may approve.", required=True),
    },
    dict,
    expected='approvals, as in {count: 1, from: ["role/release-managers"]}',
)

_WINDOW = Record(
    {
        "days": Key(
            Text(rf"{_DAY}(?:-{_DAY})?(?:,{_DAY}(?:-{_DAY})?)*", "days such as mon-fri or mon,wed"),
            "The days on which promotions happen.",
            required=True,
        ),
        "between": Key(Text(rf"{_TIME}-{_TIME}", "times such as 09:00-17:00"), "From when to when.", required=True),
        "timezone": Key(
            Text(r"[A-Za-z_+-]+(?:/[A-Za-z0-9_+-]+)*", "a time zone such as America/Sao_Paulo"),
            "Whose clock it is.",
            required=True,
        ),
    },
    dict,
    expected="a window, as in {days: mon-fri, between: '09:00-17:00', timezone: America/Sao_Paulo}",
)


class GateKind(NamedTuple):
    """How a gate is read from a policy. `judged` False: its shape is known, but nothing judges it yet."""

    shape: Shape[Any]
    description: str
    judged: bool = True


GATES: Mapping[str, GateKind] = {
    "verified": GateKind(Flag(VerifiedGate), "The image was verified (see `verify`) and passed."),
    "scan": GateKind(_SCAN, "What the vulnerability scan may show."),
    "soak": GateKind(Duration(SoakGate), "How long the image has been in the source environment, such as 24h."),
    "approvals": GateKind(_APPROVALS, "How many people of which roles must approve.", judged=False),
    "window": GateKind(_WINDOW, "When promotions happen.", judged=False),
}
