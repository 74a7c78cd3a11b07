"""Leases: one worker at a time, for as long as it lives, with a fencing token for what it writes in the end.

A lease is an item of the state table, sk what is worked on, data {owner, until}. Its revision is the fencing token: it
only ever grows (an ended lease is kept, and DynamoDB removes it a day later), and what must not be written by a worker
that has lost its lease is written in one transaction with the lease's own next revision.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import field
from datetime import datetime, timedelta

from tallyman.domain.times import format_time, parse_time
from tallyman.errors import LeaseHeld, RevisionConflict, TransientError
from tallyman.ports.clocks import Clock
from tallyman.ports.records import State, StateChange
from tallyman.values import value

LENGTH = timedelta(seconds=4)
"""How long a lease is good for without being renewed. Short: work whose worker was killed goes on when it ends."""
RENEWED = 1.0
"""Seconds between renewals."""
KEPT = timedelta(days=1)


def lease_partition(environment: str) -> str:
    """The partition of the state table with an environment's leases: sk `<repository>` while tags and release are
    set, `<repository>@<digest>` while content is staged."""
    return f"L#{environment}"


class Lease:
    """A lease that is held. `check` costs nothing; `guard` gives the change that a last write is to carry."""

    def __init__(self, state: State, pk: str, sk: str, owner: str, revision: int, until: datetime, clock: Clock):
        self._state, self._pk, self._sk, self._owner, self._clock = state, pk, sk, owner, clock
        self._revision, self._until = revision, until
        self._lost = False
        self._lock = threading.Lock()

    def check(self) -> None:
        """Raises RevisionConflict where the lease is lost, or might be."""
        if self._lost or self._clock() >= self._until:
            raise RevisionConflict(f"the lease of {self._sk} in {self._pk[2:]} was lost: somebody else is at it")

    def renew(self) -> None:
        """One write. Raises RevisionConflict where somebody else has taken the lease over."""

        def put(change: StateChange) -> bool:
            self._state.put(change)
            return True

        self.guard(put)

    def guard(self, write: Callable[[StateChange], bool]) -> None:
        """Calls `write` with the change that renews the lease, to be written in one transaction with what it guards;
        it returns whether that was written. RevisionConflict, which it may raise, is taken for the loss of the
        lease."""
        with self._lock:
            until = self._clock() + LENGTH
            try:
                written = write(self._change(until))
            except RevisionConflict:
                self._lost = True
                raise
            if written:
                self._revision, self._until = self._revision + 1, until

    def end(self) -> None:
        """Lets the next one in at once."""
        with self._lock, suppress(TransientError):  # it ends by itself in a moment
            if not self._lost:
                self._state.put(self._change(self._clock()))

    def _change(self, until: datetime) -> StateChange:
        data = {"owner": self._owner, "until": format_time(until)}
        return StateChange(self._pk, self._sk, self._revision, data, until + KEPT)


@value
class Leases:
    """Gives out leases. `patience`: seconds that `hold` waits for another worker to be done."""

    state: State
    clock: Clock
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)

    @contextmanager
    def hold(self, environment: str, what: str, owner: str, patience: float = 0) -> Iterator[Lease]:
        """The lease, renewed by a thread while it is held, and ended in the end; if the process dies, it ends by
        itself within LENGTH. Raises LeaseHeld where another worker has it. Two writes, and one a second."""
        lease = self._take(environment, what, owner, patience)
        over = threading.Event()

        def keep() -> None:
            while not over.wait(RENEWED):
                try:
                    lease.renew()
                except RevisionConflict:
                    return  # lost: `check` says so
                except TransientError:
                    continue  # tried again in a second; meanwhile `check` knows when it ends

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
        pk, now = lease_partition(environment), self.clock()
        item = self.state.get(pk, what)
        if item is not None and (until := parse_time(item.data["until"])) > now:
            text = f"{what} for {environment} is worked on by {item.data['owner']}"
            raise LeaseHeld(text, (until - now).total_seconds())
        lease = Lease(self.state, pk, what, owner, item.revision if item else 0, now, self.clock)
        lease.renew()
        return lease
