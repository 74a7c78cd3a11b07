"""The reads of a first view: the same for 5,000 images as for 50, and for 500 repositories as for 50."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest

from support.fakes.cli_stack import FakeStack
from support.fakes.ports import CrashAfter
from support.images.builders import DEV, digest_of, pushed
from tallyman.domain.names import Repository
from tallyman.domain.times import format_time
from tallyman.state import releases, sweeps, tags
from tallyman.state.items import StateChange
from tallyman_cli.shared import addresses
from tallyman_cli.views.board import board
from tallyman_cli.views.repository import Cursor, repository


class Counted:
    """A stack with every read counted: calls of a port, and items taken from iterators."""

    def __init__(self, system: FakeStack) -> None:
        self.counter = CrashAfter()
        ledger, state = self.counter.wrap(system.ledger), self.counter.wrap(system.state)
        self.stack = replace(system.stack, ledger=ledger, state=state)

    def take(self) -> tuple[int, int]:
        """Calls and items since the previous `take`."""
        calls = Counter("item" if name.endswith(": next") else "call" for name in self.counter.calls)
        self.counter.calls.clear()
        return calls["call"], calls["item"]


def images(system: FakeStack, count: int, apart: timedelta = timedelta(minutes=1)) -> None:
    """Push this many images, one after the other."""
    for number in range(count):
        at = system.clock() - apart * (count - number)
        digest = digest_of(str(number))
        fact = replace(
            pushed(digest, f"v1.{number}.0"), at=at, seen=at, id=f"{number:032x}", detail={"current": digest}
        )
        system.ledger.append(
            fact, StateChange(*tags.key(DEV, f"v1.{number}.0"), 0, {"digest": digest, "at": format_time(at)})
        )


def repositories(system: FakeStack, count: int) -> None:
    """Fill this many repositories, each with a release and a pending image."""
    for number in range(count):
        name, digest = f"rocketseat/app-{number:03}", digest_of(str(number))
        place = Repository(DEV.registry, name)
        at = format_time(system.clock())
        system.state.put(StateChange(*sweeps.key(place), 0, {"swept": at, "images": 9, "bytes": 10_000}))
        released = {"digest": digest, "tags": ["v1.0.0"], "at": at, "id": "x", "previous": None, "announced": True}
        system.state.put(StateChange(*releases.key("prod", name), 0, {**released, "policy": digest}))
        fact = pushed(digest, "v1.0.0", place)
        system.ledger.append(replace(fact, at=system.clock(), seen=system.clock(), id=f"{number:032x}"))


@pytest.mark.parametrize("at", [None, timedelta(minutes=1)])
def test_a_repository_of_5000_images_reads_no_more_than_one_of_400(system: FakeStack, at: timedelta | None) -> None:
    moment = system.clock() - at if at else None
    read = {}
    for count in (400, 5_000):
        system.ledger.items.clear()
        system.state.items.clear()
        images(system, count)
        counted = Counted(system)
        found = repository(counted.stack, addresses.anywhere(system.policy, f"dev/{DEV.name}"), moment)
        assert len(found["images"]) == 25
        assert found["before"] is not None
        read[count] = counted.take()
    assert read[5_000] == read[400]
    calls, items = read[5_000]
    assert calls < 60
    assert items < 400


@pytest.mark.parametrize("within", [timedelta(minutes=1), timedelta(0)], ids=["apart", "in one second"])
def test_each_page_continues_after_the_previous_one(system: FakeStack, within: timedelta) -> None:
    images(system, 60, within)
    again = replace(pushed(digest_of("3"), "again"), at=system.clock(), seen=system.clock(), id="f" * 32)
    system.ledger.append(
        again, StateChange(*tags.key(DEV, "again"), 0, {"digest": digest_of("3"), "at": "2026-11-16T00:00:00Z"})
    )
    named = addresses.anywhere(system.policy, f"dev/{DEV.name}")
    shown, before = [], None
    while True:
        found = repository(system.stack, named, before=before)
        shown += [image["tags"][0] for image in found["images"]]
        if found["before"] is None:
            break
        before = Cursor.parse(found["before"])
    assert shown == ["v1.3.0", *(f"v1.{number}.0" for number in reversed(range(60)) if number != 3)]


def test_a_board_of_500_repositories_makes_no_more_calls_than_one_of_50(system: FakeStack) -> None:
    read = {}
    for count in (50, 500):
        system.ledger.items.clear()
        system.state.items.clear()
        repositories(system, count)
        counted = Counted(system)
        found = board(counted.stack)
        assert (len(found["rows"]), found["total"]) == (20, count)
        read[count] = counted.take()
    assert read[500][0] == read[50][0] < 60
    assert read[500][1] < 3 * 500 + 200  # two short items of each repository: a Query for some thousands
