"""Leases: let one worker at a time work on something while it lives, with a fencing token for its last write.

A lease is an item of the state table (`tallyman.state.leases`). Its revision is the fencing token: it only grows (an
ended lease is kept, and DynamoDB removes it a day later). What a worker without its lease must not write is written in
one transaction with the lease's next revision.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import field
from datetime import timedelta

from tallyman.errors import LeaseHeld, RevisionConflict, TransientError
from tallyman.ports.clocks import Clock
from tallyman.ports.records import State
from tallyman.state.items import Entry, StateChange
from tallyman.state.leases import KEPT, LEASES, LeaseState, key
from tallyman.values import value

LENGTH = timedelta(seconds=4)
"""How long a lease is valid without renewal. Short, because the work of a killed worker continues when it ends."""
RENEWED = 1.0
"""Seconds between renewals."""


class Lease:
    """A lease that is held. `check` costs nothing; `guard` binds a write to the lease."""

    def __init__(self, state: State, entry: Entry[LeaseState], what: str, owner: str, clock: Clock):
        self._state, self._entry, self._what, self._owner, self._clock = state, entry, what, owner, clock
        self._until = clock()
        self._lost = False
        self._lock = threading.Lock()

    def check(self) -> None:
        """Raise RevisionConflict where the lease is lost or may be lost."""
        if self._lost or self._clock() >= self._until:
            raise RevisionConflict(f"the lease of {self._what} was lost: another operation is in progress")

    def renew(self) -> None:
        """Renew the lease: one write. Raises RevisionConflict where another worker has taken it."""

        def put(change: StateChange) -> bool:
            self._state.put(change)
            return True

        self.guard(put)

    def guard(self, write: Callable[[StateChange], bool]) -> None:
        """Call `write` with the change that renews the lease. `write` has to write it in one transaction with what the
        lease guards, and to return whether it wrote; its RevisionConflict counts as the loss of the lease."""
        with self._lock:
            until = self._clock() + LENGTH
            lease = LeaseState(self._owner, until)
            try:
                written = write(self._entry.write(lease, until + KEPT))
            except RevisionConflict:
                self._lost = True
                raise
            if written:
                self._entry, self._until = self._entry.written(lease), until

    def end(self) -> None:
        """End the lease, so that the next worker need not wait."""
        with self._lock, suppress(TransientError):  # it expires by itself in a moment
            if not self._lost:
                now = self._clock()
                self._state.put(self._entry.write(LeaseState(self._owner, now), now + KEPT))


@value
class Leases:
    """Takes leases. `patience`: the seconds that `hold` waits for another worker."""

    state: State
    clock: Clock
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)

    @contextmanager
    def hold(self, environment: str, what: str, owner: str, patience: float = 0) -> Iterator[Lease]:
        """Hold the lease for the block; a thread renews it. If the process dies, it expires within LENGTH. Raises
        LeaseHeld where another worker has it. Cost: two writes, and one a second."""
        lease = self._take(environment, what, owner, patience)
        over = threading.Event()

        def keep() -> None:
            while not over.wait(RENEWED):
                try:
                    lease.renew()
                except RevisionConflict:
                    return  # lost: `check` says so
                except TransientError:
                    continue  # tried again in a second; `check` knows when it expires

        keeper = threading.Thread(target=keep, name=f"lease-{what}", daemon=True)
        keeper.start()
        try:
            yield lease
        except Exception:
            over.set()
            lease.end()
            raise
        finally:
            over.set()
        lease.end()

    def _take(self, environment: str, what: str, owner: str, patience: float) -> Lease:
        waited = 0.0
        while True:
            try:
                return self._try(environment, what, owner)
            except LeaseHeld:
                if waited >= patience:
                    raise
            except RevisionConflict as moved:
                if waited >= patience:
                    raise LeaseHeld(str(moved), LENGTH.total_seconds()) from moved
            waited += 0.1
            self.sleep(0.1)

    def _try(self, environment: str, what: str, owner: str) -> Lease:
        now, entry = self.clock(), LEASES.read(self.state, key(environment, what))
        if entry.found is not None and entry.found.until > now:
            text = f"{what} for {environment} is worked on by {entry.found.owner}"
            raise LeaseHeld(text, (entry.found.until - now).total_seconds())
        lease = Lease(self.state, entry, f"{what} in {environment}", owner, self.clock)
        lease.renew()
        return lease
