"""Registries are staged independently: one that does not answer or refuses does not keep the others from being
staged."""

from datetime import timedelta

import pytest

from support.fakes.promotion import PLACES, PromotionStack, one
from support.images.builders import image
from tallyman.domain.decide import decide_all
from tallyman.domain.gates import WAITING
from tallyman.domain.names import Repository
from tallyman.errors import NotAllowed, OutOfTime, Throttled, Unreachable
from tallyman.services.deciding.image_facts import load_image_facts
from tallyman.services.promotion.targets import worst

ERRORS = [Unreachable("no answer"), Throttled("Rate exceeded"), NotAllowed("not authorized: ecr:DescribeRepositories")]


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("method", ["settings", "describe", "missing_blobs", "upload", "put_manifest"])
@pytest.mark.parametrize("silent", PLACES, ids=["first", "second"])
def test_the_others_are_staged_and_no_tag_is_set(silent: Repository, method: str, error: Exception) -> None:
    stack, digest = one()
    stack.registries.fail(silent.registry, error, methods={method})
    stack.work(until=timedelta(seconds=1))
    (other,) = [place for place in PLACES if place != silent]
    assert digest in stack.registries.held(other).manifests
    assert stack.tags("v1.0.0") == [None, None]
    assert stack.released() is None


def test_until_it_answers_the_gate_target_waits_and_names_it() -> None:
    stack, digest = one()
    silent = PLACES[1]
    stack.registries.fail(silent.registry, methods={"settings"})
    stack.work(until=timedelta(seconds=1))
    facts = load_image_facts(stack.ledger, stack.state, digest, stack.policy)
    (decision,) = decide_all(stack.policy, facts, stack.clock())
    gate = next(g for g in decision.gates if g.name == "target")
    assert gate.verdict == WAITING
    assert str(silent.registry) in gate.reason
    assert decision.may_stage
    assert not decision.may_tag
    stack.registries.heal()
    stack.work(until=timedelta(hours=1))
    assert stack.released() == digest


def test_unfinished_content_continues_at_once_although_another_registry_is_silent() -> None:
    failures = {PLACES[0]: OutOfTime("the rest goes on"), PLACES[1]: Unreachable("no answer")}
    assert isinstance(worst(failures), OutOfTime)  # a continuation, without a growing pause
    assert "no answer" in str(worst(failures))


def test_a_refusing_registry_is_reported_and_later_the_others_already_have_the_content() -> None:
    stack = PromotionStack()
    stack.registries.fail(PLACES[1].registry, NotAllowed("not authorized"), methods={"settings"})
    digest = stack.push(image("a"), "v1.0.0")
    stack.work()
    (pending,) = stack.pending()
    assert pending["verdict"] == "failed"
    assert "not authorized" in str(pending["reason"])
    assert digest in stack.registries.held(PLACES[0]).manifests
