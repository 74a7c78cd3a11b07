"""The gate `target`: what the last look at the registries says of the tags that go."""

from support.fakes.gate_cases import case_of, target_seen
from tallyman.domain.gates import PASSED, WAITING, judge_all


def test_a_tag_that_no_registry_was_asked_about_stays_outside_until_they_are() -> None:
    """It came to the image after the last look: that it is free there is not known."""
    asked = case_of(target_seen())
    later = case_of(target_seen(), tags=("v1.0.0", "v1.0.1"))
    assert judge_all(asked)[-1].verdict == PASSED
    gate = judge_all(later)[-1]
    assert (gate.name, gate.verdict) == ("target", WAITING)
    assert gate.reason == "the registries of prod have not been asked about v1.0.1 yet"
    assert not gate.held  # the promotion asks them itself: nothing to tell people
