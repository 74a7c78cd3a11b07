"""Waits for something that the stack does: looks again after growing pauses."""

from collections.abc import Callable
from typing import TypeVar

from tallyman_cli.shared.context import Stack

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0
"""Seconds; each pause is half as long again as the one before."""

T = TypeVar("T")


def wait_for(stack: Stack, look: Callable[[], T | None], timeout: float) -> T | None:
    """Call `look` until it returns something, `timeout` seconds at most, at least once and once at the end. Return
    that; None: it found nothing."""
    end = stack.monotonic() + timeout
    pause = FIRST_PAUSE
    while True:
        found = look()
        left = end - stack.monotonic()
        if found is not None or left <= 0:
            return found
        stack.sleep(min(pause, left))
        pause = min(pause * 1.5, LONGEST_PAUSE)
