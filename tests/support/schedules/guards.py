"""The guards behind the laws. Each can be switched off; then some run must break a law.

A guard that no run needs is either unnecessary or untested.
"""

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any
from unittest.mock import patch

from support.fakes.ports import FakeLedger, FakeState
from tallyman.ports.records import Appended
from tallyman.services.copying.stage import stage
from tallyman.services.promotion import run as promotion
from tallyman.services.promotion.run import PromotionRun
from tallyman.services.releases.pointer import Releases
from tallyman.services.retention.plan_retention import Look
from tallyman.services.sealing import seal_ledger
from tallyman.services.shared.lease import Lease
from tallyman.state.items import StateChange
from tallyman.state.leases import LeaseState


def _replaced(owner: object, name: str, new: Any) -> Callable[[], AbstractContextManager[Any]]:
    return lambda: patch.object(owner, name, new)


@contextmanager
def _no_markers() -> Iterator[None]:
    """A removed item leaves no marker, so that its revision restarts."""
    put, append = FakeState.put, FakeLedger.append

    def put_and_drop(self: FakeState, change: Any) -> None:
        put(self, change)
        if change.removed:
            self.items.pop((change.pk, change.sk), None)

    def append_and_drop(self: FakeLedger, fact: Any, change: Any = None, *more: Any) -> Appended:
        done = append(self, fact, change, *more)
        for each in (change, *more) if done is Appended.WRITTEN else ():
            if getattr(each, "removed", False):
                self.state.items.pop((each.pk, each.sk), None)
        return done

    with ExitStack() as stack:
        stack.enter_context(patch.object(FakeState, "put", put_and_drop))
        stack.enter_context(patch.object(FakeLedger, "append", append_and_drop))
        yield


def _first_only(stage: Callable[..., Mapping[Any, Any]]) -> Callable[..., Mapping[Any, Any]]:
    def staged(source: Any, origin: Any, target: Any, places: Sequence[Any], *more: Any, **named: Any) -> Any:
        done = dict(stage(source, origin, target, places[:1], *more, **named))
        return done | dict.fromkeys(places[1:], next(iter(done.values())))

    return staged


def _unfenced(self: Lease, write: Callable[[StateChange], bool]) -> None:
    """The write that moves the release has no condition on the lease; a renewal still has one."""
    if getattr(write, "__name__", "") == "put":
        _GUARD(self, write)
        return
    entry = self._entry
    write(
        replace(entry.write(LeaseState(self._owner, self._clock())), pk="UNFENCED", sk=secrets.token_hex(8), revision=0)
    )


_GUARD = Lease.guard

GUARDS: Mapping[str, Callable[[], AbstractContextManager[Any]]] = {
    "conditions of writes": _replaced(FakeState, "would_take", lambda self, change: True),
    "revisions that never begin again": _no_markers,
    "recall and freeze in the write that moves the release": _replaced(PromotionRun, "read_stops", lambda self: None),
    "the decision on record in the write that moves the release": _replaced(
        PromotionRun, "_on_record", lambda self: self.stops[0]
    ),
    "the fencing token in the write that moves the release": _replaced(Lease, "guard", _unfenced),
    "leases before each tag": _replaced(Lease, "check", lambda self: None),
    "the second look at targets before the tags": _replaced(PromotionRun, "look_again", lambda self: None),
    "the intent before the push": _replaced(PromotionRun, "intend", lambda self: None),
    "content in every registry before the tags": _replaced(promotion, "stage", _first_only(stage)),
    "the seal's look back for late entries": _replaced(seal_ledger, "LATE", timedelta(0)),
    "retention's second look": _replaced(Look, "again", lambda self, *args: self),
    "announcing a release whose worker died": _replaced(Releases, "announce", lambda self, *where: None),
}
"""What each is, and how it is switched off."""
