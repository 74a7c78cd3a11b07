"""Choices of a run: drawn from a seed and written down, so that a run can be repeated, and made shorter."""

import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Choices:
    """Draws numbers; with `script`, repeats these, and 0 (the calmest choice) when they are used up."""

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
        """True in one of `number` draws; 0 is no."""
        return self.below(number) == number - 1

    def of(self, options: Sequence[T]) -> T:
        """One of them; 0 is the first."""
        return options[self.below(len(options))]
