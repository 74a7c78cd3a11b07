"""What every page reads: the stack, prices, what may be changed, and usage that pages share."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from tallyman.adapters.files.prices import load as load_prices
from tallyman.domain.costs import Prices
from tallyman.domain.retention import Reading
from tallyman_cli.shared.context import Stack
from tallyman_cli.views.usage import read_usage

FRESH = 30.0
"""Seconds for which a reading of usage is shown."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended: its exit status, and what it printed."""

    status: int
    output: str
    messages: str


@dataclass
class Desk:
    """One for each server. `name`: of the stack; `run`: runs a `tallyman` command with these arguments (None: the page
    is read-only); `shared`: the page of a team, with credentials of its own, shows the command for what takes a
    person's rights.
    """

    stack: Stack
    name: str = "tallyman"
    prices: Prices = field(default_factory=load_prices)
    run: Callable[[Sequence[str]], Outcome] | None = None
    shared: bool = False
    monotonic: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._readings: tuple[float, list[Reading]] | None = None

    @property
    def allows_changes(self) -> bool:
        """Whether the page has buttons."""
        return self.run is not None

    def now(self) -> datetime:
        """The stack's clock."""
        return self.stack.clock()

    def readings(self) -> list[Reading]:
        """What every source of usage reported, at most half a minute ago."""
        with self._lock:
            now = self.monotonic()
            if self._readings is None or now - self._readings[0] > FRESH:
                self._readings = now, read_usage(self.stack)
            return self._readings[1]

    def about(self) -> Mapping[str, str]:
        """What the head of every page shows."""
        return {"stack": self.name, "hub": str(self.stack.hub)}
