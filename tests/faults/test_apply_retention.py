"""Runs of apply_retention that die at any call: the next run finishes their work, and announces everything once."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support.fakes.ports import Crash, CrashAfter, listed
from support.fakes.retention import ENFORCED, Retaining
from support.images.builders import DEV, multi_arch, signature
from tallyman.domain.history.facts import Kind
from tallyman.domain.names import Digest
from tallyman.domain.usage import Use
from tallyman.state import marks as mark_items

HINT = json.dumps({"repository": str(DEV)})


def runs(digest: Digest) -> Use:
    """Let a task run the digest."""
    return Use("ecs task", "web/1", DEV.at(digest), DEV.registry, DEV, None, digest)


def dies_anywhere(world: Callable[[], Retaining]) -> Iterator[Retaining]:
    """Yield stacks in which a run died at its first, second, … last call, before or after the call, and the next run
    finished."""
    whole = CrashAfter()
    world().worker(whole).handle(HINT)
    assert whole.count > 20
    for number in range(1, whole.count + 1):
        for when in ("before", "after"):
            made = world()
            with pytest.raises(Crash):
                made.worker(CrashAfter(number, when)).handle(HINT)
            made.clock.advance(seconds=90)  # the dead worker's leases expire
            made.run()
            yield made


def test_a_run_that_dies_at_any_call_is_completed_by_the_next() -> None:
    pushed: list[Digest] = []

    def world() -> Retaining:
        made = Retaining()
        pushed[:] = made.versions(3)
        return made

    for made in dies_anywhere(world):
        old, *kept = pushed
        assert made.there() == set(kept)
        assert made.proof(old)["digest"] == old
        assert listed(made.state, mark_items.partition(DEV)) == []


def family(world: Retaining) -> tuple[Digest, set[Digest]]:
    """An old index of two platforms with attestations, signed, and two versions that stay: (the index, what stays)."""
    built = multi_arch("old", attested=True)
    world.push("v1.0.0", built)
    world.push(None, signature(built))
    kept = {world.push("v2.0.0"), world.push("v2.1.0")}
    world.clock.advance(days=1)
    return built.digest, kept


@pytest.mark.parametrize("untagged", ["", "untagged: {remove_after: 300d}, "])
def test_an_image_graph_removed_in_part_is_completed_by_the_next_run(
    untagged: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tallyman.services.retention.apply_retention.BATCH", 1)
    kept: list[set[Digest]] = []

    def world() -> Retaining:
        made = Retaining(ENFORCED.replace("{keep", "{" + untagged + "keep"))
        kept.append(family(made)[1])
        return made

    for made in dies_anywhere(world):
        assert made.there() == kept[-1]
        assert len(made.facts(Kind.REMOVED)) == 6
        assert made.facts(Kind.UNMARKED) == []
        assert listed(made.state, mark_items.partition(DEV)) == []


def part_of_a_family(monkeypatch: pytest.MonkeyPatch) -> tuple[Retaining, set[Digest], set[Digest]]:
    """A run died after it removed only the index: (the rest of its image graph, what stays)."""
    monkeypatch.setattr("tallyman.services.retention.apply_retention.BATCH", 1)
    world = Retaining()
    index, kept = family(world)
    hold = world.remover.remove

    def dies(repository: Any, digests: Any) -> Any:
        if world.remover.calls:
            raise Crash("in the second batch")
        return hold(repository, digests)

    monkeypatch.setattr(world.remover, "remove", dies)
    with pytest.raises(Crash):
        world.run()
    monkeypatch.setattr(world.remover, "remove", hold)
    world.clock.advance(seconds=90)
    assert index not in world.there()
    return world, world.there() - kept, kept


def test_the_rest_of_an_image_graph_is_in_the_next_plan_and_its_proof_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    world, left, _ = part_of_a_family(monkeypatch)
    plan = world.plan()
    assert {plan.inventory.digest(row) for row in plan.removed} == left
    world.run()
    assert {world.proof(digest)["reason"] for digest in left} == {"what it was marked with is removed already"}


def test_the_rest_of_an_image_graph_stays_if_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    world, left, kept = part_of_a_family(monkeypatch)
    used = sorted(left)[0]
    world.usage.uses.append(runs(used))
    world.run()
    assert world.there() == {used, *kept}


def test_the_rest_of_an_image_graph_stays_if_a_kept_index_lists_it_now(monkeypatch: pytest.MonkeyPatch) -> None:
    world, left, _ = part_of_a_family(monkeypatch)
    again = world.push("v3.0.0", multi_arch("old", attested=True))
    world.run()
    assert {again, *(left & set(multi_arch("old", attested=True).manifests))} <= world.there()


def test_children_of_an_index_that_a_person_removed_expire_by_their_own_age(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Retaining(ENFORCED.replace("grace: 0s", "grace: 2d"))
    index, _ = family(world)
    world.clock.advance(days=9)
    world.run()
    assert len(world.facts(Kind.MARKED)) == 6
    world.registries.delete(DEV, index)
    world.clock.advance(days=3)
    before = world.there()
    world.run()
    assert world.there() == before
    assert len(world.facts(Kind.UNMARKED)) == 5


def test_a_mark_is_dropped_once_whenever_the_run_dies() -> None:
    def world() -> Retaining:
        made = Retaining(ENFORCED.replace("grace: 0s", "grace: 2d"))
        old, *_ = made.versions(3)
        made.clock.advance(days=9)
        made.run()
        made.usage.uses.append(runs(old))
        return made

    for made in dies_anywhere(world):
        assert len(made.facts(Kind.UNMARKED)) == 1
        assert listed(made.state, mark_items.partition(DEV)) == []
