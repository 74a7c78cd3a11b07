"""Chaos: deliver events as badly as EventBridge's contract allows, in a repeatable way."""

import random
from dataclasses import dataclass
from typing import Any

SPREAD = 0.5  # seconds within which events are reordered where there is no longer delay


@dataclass(frozen=True, slots=True)
class Settings:
    """`lose` and `double`: probabilities. `delay`: seconds. The same `seed` makes the same choices."""

    lose: float = 0.0
    double: float = 0.0
    reorder: bool = False
    delay: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, probability in (("lose", self.lose), ("double", self.double)):
            if not 0 <= probability <= 1:
                raise ValueError(f"{name} {probability}: expected a probability from 0 to 1")
        if not 0 <= self.delay <= 3600:
            raise ValueError(f"delay {self.delay} s: expected 0 to 3600 s")

    @classmethod
    def of(cls, fields: dict[str, Any]) -> "Settings":
        """The settings in a request's JSON. Raises ValueError for an invalid value or an unknown field."""
        if unknown := set(fields) - set(cls.__dataclass_fields__):
            raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
        return cls(
            lose=float(fields.get("lose", 0)),
            double=float(fields.get("double", 0)),
            reorder=bool(fields.get("reorder", False)),
            delay=float(fields.get("delay", 0)),
            seed=int(fields.get("seed", 0)),
        )


class Chaos:
    """Decides for each event, in order, how often and after how many seconds it is delivered.

    It draws four random numbers for each event, whatever the settings, so that the result for an event depends only on
    the seed and on the number of events before it.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._random = random.Random(settings.seed)

    def deliveries(self) -> list[float]:
        """Delays in seconds, one for each delivery of the next event; none: it is lost."""
        lost, doubled, first, second = (self._random.random() for _ in range(4))
        settings = self.settings
        if lost < settings.lose:
            return []
        spread = max(settings.delay, SPREAD) if settings.reorder else 0.0
        times = [settings.delay + spread * first]
        if doubled < settings.double:
            times.append(settings.delay + spread * second)
        return times
