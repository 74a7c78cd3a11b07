"""A target's repository is created in two calls, settings and policy: a crash between them leaves no unprotected
repository."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from support.fakes.ports import Crash, listed
from support.fakes.promotion import PromotionStack
from support.fakes.recording import RecordingStack, policy
from support.images.builders import DEV, PROD, image
from tallyman.domain.images.details import RepositorySettings
from tallyman.domain.names import Digest
from tallyman.domain.policy import Policy
from tallyman.domain.policy.create import Push
from tallyman.errors import BadMessage
from tallyman.state import creations as creation_items
from tallyman.state.items import StateChange

PULL = ("333333333333",)


def guarded_policy(**more: Any) -> Policy:
    """prod's repositories: one account may pull, only promotions push."""
    made = policy(verified=True)
    wanted = {"push": Push.TALLYMAN_ONLY, "pull": PULL, **more}
    rules = tuple(replace(rule, create=replace(rule.create, **wanted)) for rule in made.repositories)
    return replace(made, repositories=rules)


def stack_without_repository() -> tuple[PromotionStack, dict[str, Any]]:
    """A stack whose first registry in prod lacks the repository, and the hint to promote an image there."""
    stack = PromotionStack(policy=guarded_policy())
    stack.registries.drop(PROD)
    stack.push(image("app"), "v1.0.0")
    ((_, body, _),) = stack.hints.take("promote")
    return stack, body


def dies_between(stack: PromotionStack, body: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Kill the worker after CreateRepository and before SetRepositoryPolicy."""

    def half(settings: RepositorySettings, *_: Any) -> None:
        stack.registries.add(settings.repository)
        raise Crash("between CreateRepository and SetRepositoryPolicy")

    with monkeypatch.context() as patched:
        patched.setattr(stack.registries, "create", half)
        with pytest.raises(Crash):
            stack.handle(body)
    assert stack.registries.held(PROD).push is None


def creating(stack: PromotionStack) -> list[str]:
    return [item.sk for item in listed(stack.state, creation_items.PARTITION)]


def test_the_next_promotion_sets_the_policy_that_the_crashed_one_did_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stack, body = stack_without_repository()
    dies_between(stack, body, monkeypatch)
    stack.hints.send("promote", body)  # the queue delivers it again
    stack.work()
    held = stack.registries.held(PROD)
    assert (held.push, held.pull) == ((), PULL)
    assert stack.tags("v1.0.0") == [Digest(body["digest"])] * 2
    assert creating(stack) == []


def test_a_policy_set_by_a_person_meanwhile_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    stack, body = stack_without_repository()
    dies_between(stack, body, monkeypatch)
    stack.registries.held(PROD).push = ("role/owner",)
    stack.registries.held(PROD).pull = ("444444444444",)
    stack.hints.send("promote", body)
    stack.work()
    held = stack.registries.held(PROD)
    assert (held.push, held.pull) == (("role/owner",), ("444444444444",))
    assert creating(stack) == []


def test_a_policy_removed_by_a_person_from_a_finished_repository_stays_removed() -> None:
    stack, body = stack_without_repository()
    stack.hints.send("promote", body)
    stack.work()
    stack.registries.held(PROD).push, stack.registries.held(PROD).pull = None, ()
    stack.push(image("next"), "v1.1.0")
    stack.work()
    assert (stack.registries.held(PROD).push, stack.registries.held(PROD).pull) == (None, ())


def test_a_creation_that_crashed_anywhere_is_completed(monkeypatch: pytest.MonkeyPatch) -> None:
    stack, body = stack_without_repository()
    put = stack.state.put
    dead: list[str] = []

    def dies(change: StateChange) -> None:
        if change.pk == creation_items.PARTITION and change.removed and not dead:
            dead.append(change.pk)
            raise Crash("after the policy, before the note is gone")
        put(change)

    monkeypatch.setattr(stack.state, "put", dies)
    with pytest.raises(Crash):
        stack.handle(body)
    assert creating(stack) == [str(PROD)]
    stack.hints.send("promote", body)
    stack.work()
    assert creating(stack) == []


def test_without_a_repository_policy_no_creation_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    stack, body = stack_without_repository()
    stack.policy = guarded_policy(push=Push.ANYONE, pull=())
    written: list[StateChange] = []
    put = stack.state.put

    def noted(change: StateChange) -> None:
        written.append(change)
        put(change)

    monkeypatch.setattr(stack.state, "put", noted)
    stack.hints.send("promote", body)
    stack.work()
    assert stack.tags("v1.0.0") == [Digest(body["digest"])] * 2
    assert creation_items.PARTITION not in {change.pk for change in written}


def test_a_creation_that_no_promotion_resumes_is_completed_by_reconciles_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    stack, body = stack_without_repository()
    dies_between(stack, body, monkeypatch)
    system = RecordingStack(policy=stack.policy, clock=stack.clock, state=stack.state)
    system.reconcile({"repositories": ["prod/*"]})
    assert system.hints.take("promote") == []  # its worker may still be running
    stack.clock.advance(minutes=6)
    for _ in range(2):
        system.reconcile({"repositories": ["prod/*"]})
    ((_, hint, _),) = system.hints.take("promote")
    assert hint == {"create": str(PROD)}
    stack.handle(hint)
    assert (stack.registries.held(PROD).push, stack.registries.held(PROD).pull) == ((), PULL)
    assert creating(stack) == []
    assert stack.handle(hint) == "nothing to do: it was finished"


def test_a_repository_that_was_deleted_meanwhile_is_not_created_again(monkeypatch: pytest.MonkeyPatch) -> None:
    stack, body = stack_without_repository()
    dies_between(stack, body, monkeypatch)
    stack.registries.drop(PROD)
    assert stack.handle({"create": str(PROD)}) == "nothing to do: there is no such repository"
    assert creating(stack) == []
    assert stack.registries.settings(PROD) is None


def test_a_hint_to_create_that_names_no_repository_is_a_bad_message() -> None:
    stack = PromotionStack(policy=guarded_policy())
    stack.handle({"create": "prod"})
    assert [type(error) for error in stack.refused] == [BadMessage]


def test_two_concurrent_creations_leave_no_unfinished_state() -> None:
    stack = PromotionStack(policy=guarded_policy())
    stack.registries.drop(PROD)
    creations = stack.worker().promotions.targets.creations
    create = stack.registries.create

    def meanwhile(
        settings: RepositorySettings,
        pull: Sequence[str] = (),
        push: Sequence[str] | None = None,
        functions: bool = False,
    ) -> None:
        stack.registries.create = create  # type: ignore[method-assign]
        stack.clock.advance(seconds=1)
        creations.create(PROD, "prod", DEV.name)
        create(settings, pull, push, functions)

    stack.registries.create = meanwhile  # type: ignore[method-assign]
    creations.create(PROD, "prod", DEV.name)
    assert creating(stack) == []
    assert stack.clock() - stack.registries.held(PROD).created_at <= timedelta(seconds=1)
