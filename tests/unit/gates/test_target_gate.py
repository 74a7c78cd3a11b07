"""The gate `target`: the last observation of the registries for the tags of a promotion."""

from datetime import timedelta

import pytest

from support.fakes.gate_cases import APP, LATER, NAME, case_of, judged, target_seen
from support.images.builders import DEV, PROD, fact
from tallyman.domain.gates import FAILED, PASSED, WAITING, judge_all
from tallyman.domain.history.facts import Kind
from tallyman.domain.names import Repository


def test_a_tag_that_was_not_looked_up_in_the_registries_is_left_out() -> None:
    """The image got it after the last look: whether it is free there is unknown."""
    asked = case_of(target_seen())
    later = case_of(target_seen(), tags=("v1.0.0", "v1.0.1"))
    assert judge_all(asked)[-1].verdict == PASSED
    gate = judge_all(later)[-1]
    assert (gate.name, gate.verdict) == ("target", WAITING)
    assert gate.reason == "the registries of prod have not been asked about v1.0.1 yet"
    assert not gate.held  # the promotion asks them itself: no notice is needed


@pytest.mark.parametrize(
    ("kind", "place", "after", "verdict"),
    [
        (Kind.PUSHED, DEV, 1, WAITING),
        (Kind.REPLICATED, DEV, 1, WAITING),  # a source may be filled by ECR's replication
        (Kind.PUSHED, DEV, -1, FAILED),
        (Kind.PUSHED, PROD, 1, FAILED),
    ],
)
def test_only_a_later_push_to_the_source_restarts_an_abandoned_promotion(
    kind: Kind, place: Repository, after: int, verdict: str
) -> None:
    given_up = fact(Kind.PARKED, APP, to="prod", name=NAME, reason="it is not there", at=LATER)
    push = fact(kind, APP, place, tag="v1.0.0", at=LATER + timedelta(minutes=after))
    assert judged("target", case_of(target_seen(), given_up, push)).verdict == verdict


def test_an_observation_after_the_restarting_push_counts() -> None:
    given_up = fact(Kind.PARKED, APP, to="prod", name=NAME, reason="it is not there", at=LATER)
    push = fact(Kind.PUSHED, APP, DEV, tag="v1.0.0", at=LATER + timedelta(minutes=1))
    seen = target_seen(at=LATER + timedelta(minutes=2))
    assert judged("target", case_of(given_up, push, seen)).verdict == PASSED
