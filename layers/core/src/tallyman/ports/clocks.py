"""The time, as services are given it."""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # copying needs a deadline only, and its start is made of imports
    from datetime import datetime

Clock = Callable[[], "datetime"]
"""The time now, aware, UTC."""

Deadline = Callable[[], float]
"""Seconds that are left of this run (infinite where there is no limit)."""
