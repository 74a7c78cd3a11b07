"""Keeps pauses between requests (of scans, verifications, notices) that are repeated, but not in every run."""

from contextlib import suppress
from datetime import timedelta

from tallyman.errors import RevisionConflict
from tallyman.ports.clocks import Clock
from tallyman.ports.records import State
from tallyman.state import asked
from tallyman.state.asked import ASKED, Asked
from tallyman.values import value


@value
class Pauses:
    """Remembers in the state table when something was last requested."""

    state: State
    clock: Clock

    def is_over(self, key: str, pause: timedelta) -> bool:
        """Whether `begin` was last called for this key at least `pause` ago, or never. One GetItem."""
        last = ASKED.get(self.state, asked.key(key))
        return last is None or self.clock() - last.at >= pause

    def begin(self, key: str, pause: timedelta) -> None:
        """Record that something was requested now. Called after the request: a crash in between requests it twice."""
        entry, now = ASKED.read(self.state, asked.key(key)), self.clock()
        with suppress(RevisionConflict):  # another run has just requested it
            self.state.put(entry.write(Asked(now), now + 2 * pause))
