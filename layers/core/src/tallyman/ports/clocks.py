"""The clock and the deadline that services get."""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # copying needs only the deadline, and imports dominate its start
    from datetime import datetime

Clock = Callable[[], "datetime"]
"""Returns the present time, aware, in UTC."""

Deadline = Callable[[], float]
"""Returns the seconds that are left of this run (infinity where there is no limit)."""


def no_limit() -> float:
    """The deadline of work that may take any time."""
    return float("inf")
