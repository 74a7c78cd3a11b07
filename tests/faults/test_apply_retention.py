"""Runs of apply_retention that die at any call: the next run finishes their work, and announces everything once."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support.fakes.ports import CRASH_STEPS, Crash, CrashAfter, listed
from support.fakes.retention import ENFORCED, RetentionStack
from support.images.builders import DEV, multi_arch, signature
from tallyman.domain.history.facts import Kind
from tallyman.domain.names import Digest
from tallyman.domain.usage import Use
from tallyman.state import marks as mark_items

HINT = json.dumps({"repository": str(DEV)})


def runs(digest: Digest) -> Use:
    """Let a task run the digest."""
    return Use("ecs task", "web/1", DEV.at(digest), DEV.registry, DEV, None, digest)


def crashed_runs(system: Callable[[], RetentionStack], step: int = 1) -> Iterator[RetentionStack]:
    """Yield stacks in which a run died at its first, second, … last call, before or after the call, and the next run
    finished. `step`: 2 for every second call."""
    uncrashed = CrashAfter()
    system().worker(uncrashed).handle(HINT)
    assert uncrashed.count > 20
    for number in range(1, uncrashed.count + 1, step):
        for when in ("before", "after"):
            made = system()
            with pytest.raises(Crash):
                made.worker(CrashAfter(number, when)).handle(HINT)
            made.clock.advance(seconds=90)  # the dead worker's leases expire
            made.run()
            yield made


def test_a_run_that_dies_at_any_call_is_completed_by_the_next() -> None:
    pushed: list[Digest] = []

    def system() -> RetentionStack:
        made = RetentionStack()
        pushed[:] = made.versions(3)
        return made

    for made in crashed_runs(system):
        old, *kept = pushed
        assert made.present() == set(kept)
        assert made.proof(old)["digest"] == old
        assert listed(made.state, mark_items.partition(DEV)) == []


def image_graph(system: RetentionStack) -> tuple[Digest, set[Digest]]:
    """An old index of two platforms with attestations, signed, and two versions that stay: (the index, what stays)."""
    built = multi_arch("old", attested=True)
    system.push("v1.0.0", built)
    system.push(None, signature(built))
    kept = {system.push("v2.0.0"), system.push("v2.1.0")}
    system.clock.advance(days=1)
    return built.digest, kept


@CRASH_STEPS
@pytest.mark.parametrize("untagged", ["", "untagged: {remove_after: 300d}, "])
def test_an_image_graph_removed_in_part_is_completed_by_the_next_run(
    untagged: str, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tallyman.services.retention.apply_retention.BATCH", 1)
    kept: list[set[Digest]] = []

    def system() -> RetentionStack:
        made = RetentionStack(ENFORCED.replace("{keep", "{" + untagged + "keep"))
        kept.append(image_graph(made)[1])
        return made

    for made in crashed_runs(system, step):
        assert made.present() == kept[-1]
        assert len(made.facts(Kind.REMOVED)) == 6
        assert made.facts(Kind.UNMARKED) == []
        assert listed(made.state, mark_items.partition(DEV)) == []


def partly_removed_graph(monkeypatch: pytest.MonkeyPatch) -> tuple[RetentionStack, set[Digest], set[Digest]]:
    """A run died after it removed only the index: (the rest of its image graph, what stays)."""
    monkeypatch.setattr("tallyman.services.retention.apply_retention.BATCH", 1)
    system = RetentionStack()
    index, kept = image_graph(system)
    hold = system.remover.remove

    def dies(repository: Any, digests: Any) -> Any:
        if system.remover.calls:
            raise Crash("in the second batch")
        return hold(repository, digests)

    monkeypatch.setattr(system.remover, "remove", dies)
    with pytest.raises(Crash):
        system.run()
    monkeypatch.setattr(system.remover, "remove", hold)
    system.clock.advance(seconds=90)
    assert index not in system.present()
    return system, system.present() - kept, kept


def test_the_rest_of_an_image_graph_is_in_the_next_plan_and_its_proof_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    system, left, _ = partly_removed_graph(monkeypatch)
    plan = system.plan()
    assert {plan.inventory.digest(row) for row in plan.removed} == left
    system.run()
    assert {system.proof(digest)["reason"] for digest in left} == {"what it was marked with is removed already"}


def test_the_rest_of_an_image_graph_stays_if_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    system, left, kept = partly_removed_graph(monkeypatch)
    used = sorted(left)[0]
    system.usage.uses.append(runs(used))
    system.run()
    assert system.present() == {used, *kept}


def test_the_rest_of_an_image_graph_stays_if_a_kept_index_lists_it_now(monkeypatch: pytest.MonkeyPatch) -> None:
    system, left, _ = partly_removed_graph(monkeypatch)
    again = system.push("v3.0.0", multi_arch("old", attested=True))
    system.run()
    assert {again, *(left & set(multi_arch("old", attested=True).manifests))} <= system.present()


def test_children_of_an_index_that_a_person_removed_expire_by_their_own_age(monkeypatch: pytest.MonkeyPatch) -> None:
    system = RetentionStack(ENFORCED.replace("grace: 0s", "grace: 2d"))
    index, _ = image_graph(system)
    system.clock.advance(days=9)
    system.run()
    assert len(system.facts(Kind.MARKED)) == 6
    system.registries.delete(DEV, index)
    system.clock.advance(days=3)
    before = system.present()
    system.run()
    assert system.present() == before
    assert len(system.facts(Kind.UNMARKED)) == 5


def test_a_mark_is_dropped_once_whenever_the_run_dies() -> None:
    def system() -> RetentionStack:
        made = RetentionStack(ENFORCED.replace("grace: 0s", "grace: 2d"))
        old, *_ = made.versions(3)
        made.clock.advance(days=9)
        made.run()
        made.usage.uses.append(runs(old))
        return made

    for made in crashed_runs(system):
        assert len(made.facts(Kind.UNMARKED)) == 1
        assert listed(made.state, mark_items.partition(DEV)) == []
