"""Runs under a seeded scheduler: `make faults` runs more of them, and `-m heavy` the systematic ones."""

from itertools import islice
from unittest.mock import patch

import pytest

from support.schedules import chains, scenarios
from support.schedules.guards import GUARDS
from support.schedules.scenarios import Meanwhile
from support.schedules.workers import Act
from tallyman.domain.names import Repository
from tallyman.services.copying.target_copy import Staged
from tallyman.services.promotion.replicas import Replicas

FEW = 10
"""Schedules in `make test`."""


@pytest.mark.parametrize("profile", range(len(scenarios.PROFILES)))
def test_no_schedule_breaks_a_law(profile: int) -> None:
    for seed in range(profile, FEW, len(scenarios.PROFILES)):
        result = scenarios.run(seed)
        assert result.broken is None, f"seed {seed}: {result.broken}\n" + "\n".join(result.log)


@pytest.mark.parametrize("profile", range(len(scenarios.PROFILES)))
def test_no_schedule_breaks_a_law_with_native_replication(profile: int) -> None:
    for seed in range(profile, FEW, len(scenarios.PROFILES)):
        result = scenarios.run(seed, native=True)
        assert result.broken is None, f"seed {seed}: {result.broken}\n" + "\n".join(result.log)


def test_tags_that_do_not_wait_for_native_replication_break_a_law() -> None:
    def believing(self: Replicas, graph: object, refused: object, place: Repository) -> Staged:
        return Staged(place)

    with patch.object(Replicas, "_ask", believing):
        assert any(scenarios.run(seed, native=True).broken for seed in range(FEW, 3 * FEW))


def test_a_run_is_repeated_by_its_seed_and_by_its_choices() -> None:
    first = scenarios.run(1)
    assert scenarios.run(1).log == first.log
    assert scenarios.run(1, first.made).log == first.log


def test_a_failing_run_is_shortened_and_still_fails() -> None:
    with GUARDS["announcing a release whose worker died"]():
        result = next(r for r in map(scenarios.run, range(40)) if r.broken)
        shortest = scenarios.shortened(result, tries=12)
    assert shortest.broken
    assert sum(map(bool, shortest.made)) <= sum(map(bool, result.made))


@pytest.mark.heavy
@pytest.mark.parametrize("guard", GUARDS)
def test_a_guard_that_is_switched_off_breaks_a_law(guard: str) -> None:
    with GUARDS[guard]():
        assert any(chains.missed(seeds=200))


@pytest.mark.heavy
@pytest.mark.parametrize("act", [None, Act.CRASH_BEFORE, Act.CRASH_AFTER, Act.FAIL_AFTER], ids=str)
def test_a_worker_may_sleep_die_or_lose_an_answer_at_each_of_its_calls(act: Act | None) -> None:
    assert scenarios.story({})[0].broken is None
    for place, result in scenarios.systematic(act):
        assert result.broken is None, f"worker, call {place}: {result.broken}\n" + "\n".join(result.log)


@pytest.mark.parametrize("meanwhile", [Meanwhile.BAD_SCAN, Meanwhile.HAND_TAG, Meanwhile.NEWER], ids=str)
def test_a_paused_promotion_respects_what_people_did_meanwhile(meanwhile: Meanwhile) -> None:
    for call, result in scenarios.asleep(scenarios.PROMOTION, scenarios.WAKEFUL[8:], meanwhile):
        assert result.broken is None, f"asleep at its call {call}: {result.broken}\n" + "\n".join(result.log)


@pytest.mark.parametrize("during", chains.During, ids=str)
@pytest.mark.heavy
def test_paused_retention_removes_nothing_that_became_needed(during: chains.During) -> None:
    broken, calls = chains.retention(None, during)
    assert broken is None
    for call in range(1, calls):
        broken, _ = chains.retention(call, during)
        assert broken is None, f"asleep at its call {call}: {broken}"


def test_images_reach_the_end_of_a_chain_whatever_people_do() -> None:
    for seed in range(2):
        result = chains.run(seed)
        assert result.broken is None, f"seed {seed}: {result.broken}\n" + "\n".join(result.log)


@pytest.mark.heavy
@pytest.mark.parametrize("first", range(0, 60, 10))
def test_no_schedule_of_a_chain_breaks_a_law(first: int) -> None:
    for seed in range(first, first + 10):
        result = chains.run(seed)
        assert result.broken is None, f"seed {seed}: {result.broken}\n" + "\n".join(result.log)


def test_a_reaction_may_sleep_through_a_whole_promotion() -> None:
    """The first reaction to a push is paused at each of its calls until the image is in production."""
    for place, result in islice(scenarios.systematic(None), 4, 16, 2):
        assert result.broken is None, f"worker, call {place}: {result.broken}\n" + "\n".join(result.log)


def test_without_fencing_a_paused_promotion_moves_the_release_to_an_older_version() -> None:
    with GUARDS["the fencing token in the write that moves the release"]():
        found = [r.broken for _, r in scenarios.asleep(scenarios.PROMOTION, scenarios.WAKEFUL[10:14], Meanwhile.NEWER)]
    assert "prod went back from v2.0.0 to v1.0.0 by itself" in found


def test_a_recall_without_a_decision_yet_prevents_the_release() -> None:
    calls = range(28, 34)
    assert [result.broken for _, result in scenarios.recalled_undecided(calls)] == [None] * len(calls)
    with GUARDS["recall and freeze in the write that moves the release"]():
        broken = [result.broken or "" for _, result in scenarios.recalled_undecided(calls)]
    assert all("was released after its recall was recorded" in each for each in broken)


def test_without_markers_that_pause_breaks_a_law() -> None:
    with GUARDS["revisions that never begin again"]():
        assert any(result.broken for _, result in islice(scenarios.systematic(None), 10, 16))
