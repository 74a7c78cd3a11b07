"""Works through long lists over several runs: each run continues where the last one ran out of time."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

from tallyman.errors import OutOfTime, RevisionConflict, TallymanError
from tallyman.ports.clocks import Clock, Deadline
from tallyman.ports.records import State
from tallyman.services.copying.blobs import enough_time
from tallyman.state.items import Key
from tallyman.state.positions import POSITIONS, Position
from tallyman.values import value

T = TypeVar("T")

Items = Iterable[tuple[tuple[str, ...], T]]
"""Items to work through, each with the key that gives its place in the list."""


def share(left: Deadline, part: float) -> Deadline:
    """The deadline of one part of a run: `part` (0 to 1) of the time that is left now."""
    kept = left() * (1 - part)
    return lambda: left() - kept


@contextmanager
def isolated(what: str, problems: list[str], *ending: type[TallymanError]) -> Iterator[None]:
    """Add an error of one item to `problems`, so that it does not stop the others. OutOfTime and the errors `ending`
    are raised: they end the work."""
    try:
        yield
    except TallymanError as error:
        if isinstance(error, (OutOfTime, *ending)):
            raise
        problems.append(f"{what}: {error}")


@value
class Turns:
    """Works through lists; the position in each is an item of the state table."""

    state: State
    clock: Clock

    def each(
        self,
        position: Key,
        items: Items[T],
        step: Callable[[T], None],
        left: Deadline,
        what: str,
    ) -> None:
        """Call `step` for each item in the order of the keys, from where the last run stopped to the end of the list.
        Raises OutOfTime (which `step` may raise too) after writing the position. Cost: a read; a write where the time
        runs out, and one at the end of the list."""
        found = POSITIONS.get(self.state, position)
        last = found.after if found else ()
        begun = last
        try:
            for key, item in sorted(((k, i) for k, i in items if k > last), key=lambda pair: pair[0]):
                enough_time(left, what)
                step(item)
                last = key
        except OutOfTime:
            if last != begun:
                self._remember(position, last)
            raise
        if found is not None:
            self._remember(position, None)

    def _remember(self, position: Key, after: tuple[str, ...] | None) -> None:
        entry = POSITIONS.read(self.state, position)
        with suppress(RevisionConflict):  # another run works through the same list
            if after is not None:
                self.state.put(entry.write(Position(after)))
            elif entry.found is not None:
                self.state.put(entry.remove(self.clock()))
