"""Repeats a write for which another worker was faster."""

from collections.abc import Callable
from typing import TypeVar

from tallyman.errors import RevisionConflict

TRIES = 8

T = TypeVar("T")


def until_written(write: Callable[[], T], failure: str) -> T:
    """Call `write`, which reads the items that it changes, until it raises no RevisionConflict; return its result.
    After TRIES calls raises RevisionConflict with the text `failure`."""
    for _ in range(TRIES):
        try:
            return write()
        except RevisionConflict:
            continue
    raise RevisionConflict(failure)
