"""The cost of one more event does not grow with the history: counted on fakes after small and large histories."""

import json
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from math import ceil
from typing import Any

import pytest

from support.fakes.flows import Flow, Spent
from support.images.builders import DEV, child_of, fact, image, index, pushed, scan_event
from tallyman.domain.history.facts import BEFORE_ALL, NO_TIME, Fact, Kind
from tallyman.domain.images.details import ScanReport
from tallyman.domain.names import Digest
from tallyman.services.deciding.evaluator import PAGE
from tallyman.state import images, noncompliant, tags
from tallyman.state.images import IMAGES, HeldImage
from tallyman.state.noncompliant import NONCOMPLIANT
from tallyman.state.tags import TAGS, Tag

SHARED = image("shared", architecture="amd64")
PARENTS = (1, 100, 400)
RELEASED = (6, 119, 61)
"""Invocations, read units and calls of ECR of an image of one platform, from its push to its release."""


def over(parents: int) -> Flow:
    """A hub with so many indexes over one shared image, each promoted under its own tag, long ago."""
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
        flow.ledger.append(child_of(SHARED.digest, built.digest, at=BEFORE_ALL, seen=at))
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
    flow.delivered = len(flow.registries.pushes)
    return flow


def again(flow: Flow) -> Spent:
    """Push the shared image once more, record and verify it."""
    begun = flow.counted()
    flow.registries.push(DEV, SHARED)
    flow.tell()
    flow.work()
    return flow.spent(begun)


def test_the_cost_of_pushing_a_shared_image_is_independent_of_its_indexes() -> None:
    spent = [again(over(parents)) for parents in PARENTS]
    assert spent[0] == spent[1] == spent[2]


def scanned(flow: Flow, critical: int) -> Spent:
    """Scan the shared image once more, and process everything that follows."""
    flow.clock.advance(hours=25)
    begun = flow.counted()
    flow.each.clear()
    report = ScanReport("complete", {"critical": critical} if critical else {}, completed_at=flow.clock())
    flow.registries.set_scan(DEV, SHARED.digest, report)
    flow.queue.append((flow.clock(), "scan", json.dumps(scan_event(DEV, SHARED.digest, at=flow.clock()))))
    flow.work()
    return flow.spent(begun)


def test_the_cost_of_an_unchanged_scan_is_independent_of_the_indexes() -> None:
    costs = []
    for parents in PARENTS:
        flow = over(parents)
        scanned(flow, 0)
        costs.append(scanned(flow, 0))
    assert costs[0] == costs[1] == costs[2]


def test_a_changed_scan_is_processed_in_runs_of_bounded_cost() -> None:
    """It may change the decisions about each index above. A run handles PAGE of them and hands on the rest."""
    for parents in PARENTS:
        flow = over(parents)
        scanned(flow, 0)
        spent = scanned(flow, 1)
        assert spent.invocations == ceil(parents / PAGE)
        assert spent.ecr == 1
        for run in flow.each:
            assert run.reads <= 10 * PAGE
            assert run.calls["query"] <= 3 * PAGE + 10
            assert run.read_bytes <= 8_000 * PAGE
            assert run.writes <= 10 * PAGE
        listed = list(NONCOMPLIANT.list(flow.state, noncompliant.partition("prod")))
        assert sum("1 critical finding" in str(entry.value.gates) for entry in listed) == parents


def test_indexes_recorded_by_an_earlier_version_are_evaluated_too() -> None:
    flow = over(3 * PAGE)
    indexes = {f.detail["index"] for f in flow.ledger.indexes_of(SHARED.digest)}
    for number in range(3 * PAGE):
        built = index(SHARED, image(f"old {number}", architecture="arm64"))
        flow.registries.push(DEV, built, f"v2.{number}.0")
        listed = [{"digest": c.digest, "platform": str(c.platform), "index": False} for c in built.root.children]
        flow.ledger.append(pushed(built.digest, f"v2.{number}.0", at=flow.clock(), index=True, platforms=listed))
        flow.ledger.append(child_of(SHARED.digest, built.digest, at=NO_TIME, seen=flow.clock()))
        entry = TAGS.read(flow.state, tags.key(DEV, f"v2.{number}.0"))
        flow.state.put(entry.write(Tag(built.digest, flow.clock())))
        indexes.add(built.digest)
    flow.delivered = len(flow.registries.pushes)
    scanned(flow, 1)
    assert {f.digest for f in flow.facts(Kind.DECIDED)} >= indexes


def test_indexes_released_over_one_image_leave_few_facts_with_it() -> None:
    """A client may push the shared image again with each index: each push is a fact, and nothing else is."""
    flow = Flow()
    for number in range(8):
        flow.clock.advance(minutes=5)
        flow.released(index(SHARED, image(f"own {number}", architecture="arm64")), f"v1.{number}.0")
    kinds = Counter(fact.kind for fact in flow.ledger.of_digest(SHARED.digest))
    assert (kinds[Kind.VERIFIED], kinds[Kind.INTENDED]) == (1, 1)
    assert set(kinds) == {Kind.PUSHED, Kind.SCANNED, Kind.VERIFIED, Kind.INTENDED}


@pytest.mark.parametrize("before", [10, 5000])
def test_the_cost_per_image_is_independent_of_the_repositorys_size(before: int) -> None:
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
    assert (spent.invocations, spent.reads, spent.ecr) == RELEASED


@pytest.mark.parametrize("before", [1, 1000])
def test_earlier_releases_and_promotions_cost_nothing(before: int) -> None:
    flow = Flow()
    flow.released(image("before"), "v0.1.0")
    release = flow.facts(Kind.RELEASED)[-1]
    promoted = flow.facts(Kind.PROMOTED)[-1]
    for number in range(before):
        digest = Digest.of(f"old {number}".encode())
        flow.ledger.append(again_of(promoted, digest, number))
        flow.ledger.append(again_of(release, digest, number))
    spent = flow.released(image("one more"), "v1.0.0")
    assert (spent.invocations, spent.reads, spent.ecr) == RELEASED


def again_of(result: Fact, digest: Digest, number: int) -> Fact:
    """The same fact about another image."""
    return replace(result, digest=digest, id=f"{number:016x}")


def one_more_index(flow: Flow) -> Spent:
    """Push, record and verify one more index over the shared image."""
    built = index(SHARED, image("new", architecture="arm64"))
    begun = flow.counted()
    flow.push(built, "v2.0.0")
    flow.work()
    return flow.spent(begun)


def test_a_new_index_over_a_shared_image_does_not_read_the_others() -> None:
    spent = [one_more_index(over(parents)) for parents in PARENTS]
    assert len({(s.invocations, s.calls["query"], s.writes, s.ecr) for s in spent}) == 1
