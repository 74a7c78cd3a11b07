"""The choices of a run: drawn from a seed and recorded, so that a run can be replayed, and shortened."""

import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Choices:
    """Draws numbers; with `script`, replays these, then returns 0 (the calmest choice)."""

    def __init__(self, seed: int, script: Sequence[int] | None = None) -> None:
        self._random, self._script = random.Random(seed), script
        self.made: list[int] = []

    def below(self, number: int) -> int:
        """0 … number - 1."""
        if self._script is None:
            chosen = self._random.randrange(number)
        else:
            index = len(self.made)
            chosen = self._script[index] % number if index < len(self._script) else 0
        self.made.append(chosen)
        return chosen

    def one_in(self, number: int) -> bool:
        """True in one of `number` draws; a draw of 0 means no."""
        return self.below(number) == number - 1

    def of(self, options: Sequence[T]) -> T:
        """One of these values; a draw of 0 means the first."""
        return options[self.below(len(options))]
