"""What one more event costs does not grow with what was before it: counted on fakes after small and large histories."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from support.fakes.flows import Flow, Spent
from support.images.builders import DEV, child_of, fact, image, index, pushed, scan_event
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.names import Digest
from tallyman.state import images, tags
from tallyman.state.images import IMAGES, HeldImage
from tallyman.state.tags import TAGS, Tag

SHARED = image("shared", architecture="amd64")
PARENTS = (1, 100, 400)


def over(parents: int) -> Flow:
    """A hub with so many indexes over one shared image, each promoted under a tag of its own, long ago."""
    flow = Flow()
    flow.push(SHARED)
    flow.work()
    flow.released(image("before"), "v0.1.0")
    for number in range(parents):
        built = index(SHARED, image(f"own {number}", architecture="arm64"))
        tag = f"v1.{number}.0"
        at = flow.clock() - timedelta(days=30)
        flow.registries.push(DEV, built, tag)
        listed = [{"digest": c.digest, "platform": str(c.platform), "index": False} for c in built.root.children]
        flow.ledger.append(pushed(built.digest, tag, at=at, seen=at, index=True, platforms=listed))
        first = datetime.fromtimestamp(0, UTC)
        flow.ledger.append(child_of(SHARED.digest, built.digest, at=first, seen=at))
        entry = TAGS.read(flow.state, tags.key(DEV, tag))
        flow.state.put(entry.write(Tag(built.digest, at)))
        detail: dict[str, Any] = {
            "to": "prod",
            "from": "dev",
            "name": DEV.name,
            "tags": [tag],
            "tagging": [],
            "stays": None,
        }
        detail |= {"policy": flow.policy.digest, "left_out": {}}
        detail["registries"] = [str(r) for r in flow.policy.environment("prod").registries]
        later = flow.clock() - timedelta(days=29)
        flow.ledger.append(fact(Kind.PROMOTED, built.digest, at=later, seen=later, **detail))
    flow.told = len(flow.registries.pushes)
    return flow


def again(flow: Flow) -> Spent:
    """One more push of the shared image, recorded and verified."""
    begun = flow.counted()
    flow.registries.push(DEV, SHARED)
    flow.tell()
    flow.work()
    return flow.spent(begun)


def test_one_more_push_of_a_shared_image_decides_nothing_about_the_indexes_above() -> None:
    spent = [again(over(parents)) for parents in PARENTS]
    assert len({(s.invocations, s.calls["query"], s.writes, s.index, s.ecr) for s in spent}) == 1
    # the partition of the image names the indexes above it: each time that it is read, a unit for about seven of them
    assert spent[2].reads <= spent[0].reads + 400 / 6 * spent[2].calls["query"]


def scanned(flow: Flow) -> Spent:
    """The first scan of the shared image, and a second that says the same."""
    for _ in range(2):
        flow.clock.advance(hours=25)
        begun = flow.counted()
        flow.registries.set_scan(DEV, SHARED.digest, "complete")
        flow.queue.append((flow.clock(), "scan", json.dumps(scan_event(DEV, SHARED.digest, at=flow.clock()))))
        flow.work()
    return flow.spent(begun)


def test_a_scan_of_a_shared_image_costs_a_bounded_number_of_reads_for_each_index_above() -> None:
    """It may change what is decided about each of them. One invocation, one reading of what they share."""
    few, many = scanned(over(1)), scanned(over(100))
    assert few.invocations == many.invocations == 1
    assert many.ecr == few.ecr
    assert (many.reads - few.reads) / 99 <= 8
    assert (many.calls["query"] - few.calls["query"]) / 99 <= 2


@pytest.mark.parametrize("before", [10, 5000])
def test_a_repository_of_any_size_costs_the_same_an_image(before: int) -> None:
    flow = Flow()
    flow.released(image("before"), "v0.1.0")
    at = flow.clock() - timedelta(days=30)
    for number in range(before):
        digest = Digest.of(f"old {number}".encode())
        tag = f"v0.0.{number}"
        flow.ledger.append(pushed(digest, tag, at=at, seen=at, id=f"{number:016x}"))
        flow.state.put(IMAGES.read(flow.state, images.key(DEV, digest)).write(HeldImage(True, False)))
        flow.state.put(TAGS.read(flow.state, tags.key(DEV, tag)).write(Tag(digest, at)))
    spent = flow.released(image("one more"), "v1.0.0")
    assert (spent.invocations, spent.reads, spent.ecr) == (6, 117, 61)


@pytest.mark.parametrize("before", [1, 1000])
def test_releases_and_promotions_before_it_cost_nothing(before: int) -> None:
    flow = Flow()
    flow.released(image("before"), "v0.1.0")
    release = flow.facts(Kind.RELEASED)[-1]
    promoted = flow.facts(Kind.PROMOTED)[-1]
    for number in range(before):
        digest = Digest.of(f"old {number}".encode())
        flow.ledger.append(again_of(promoted, digest, number))
        flow.ledger.append(again_of(release, digest, number))
    spent = flow.released(image("one more"), "v1.0.0")
    assert (spent.invocations, spent.reads, spent.ecr) == (6, 117, 61)


def again_of(told: Fact, digest: Digest, number: int) -> Fact:
    """The same fact of another image."""
    return replace(told, digest=digest, id=f"{number:016x}")


def one_more_index(flow: Flow) -> Spent:
    """One more index over the shared image, pushed, recorded and verified."""
    built = index(SHARED, image("new", architecture="arm64"))
    begun = flow.counted()
    flow.push(built, "v2.0.0")
    flow.work()
    return flow.spent(begun)


def test_one_more_index_over_a_shared_image_asks_nothing_of_the_others() -> None:
    spent = [one_more_index(over(parents)) for parents in PARENTS]
    assert len({(s.invocations, s.calls["query"], s.writes, s.ecr) for s in spent}) == 1
