"""Runs several reads at a time, and returns their results in order."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

AT_ONCE = 8
"""Reads at a time: clients of AWS keep ten connections each."""

In = TypeVar("In")
Out = TypeVar("Out")


def each(read: Callable[[In], Out], items: Iterable[In]) -> list[Out]:
    """The results of `read` in the order of `items`; the first error is raised, once the reads under way are over."""
    listed = list(items)
    if len(listed) < 2:
        return [read(item) for item in listed]
    with ThreadPoolExecutor(min(AT_ONCE, len(listed))) as pool:
        return list(pool.map(read, listed))
