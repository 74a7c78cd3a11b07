"""A target's repository is created in two calls, settings and policy: a crash between them leaves none half-made."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from support.fakes.ports import Crash, listed
from support.fakes.promotion import Harbour
from support.fakes.recording import World, policy
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
    """prod's repositories: one account may pull, nobody but promotions push."""
    made = policy(verified=True)
    wanted = {"push": Push.TALLYMAN_ONLY, "pull": PULL, **more}
    rules = tuple(replace(rule, create=replace(rule.create, **wanted)) for rule in made.repositories)
    return replace(made, repositories=rules)


def harbour_without_prod() -> tuple[Harbour, dict[str, Any]]:
    """An image that wants into prod, where the first registry lacks the repository; the hint to promote it."""
    harbour = Harbour(policy=guarded_policy())
    harbour.registries.drop(PROD)
    harbour.push(image("app"), "v1.0.0")
    ((_, body, _),) = harbour.hints.take("promote")
    return harbour, body


def dies_between(harbour: Harbour, body: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker dies after CreateRepository and before SetRepositoryPolicy."""

    def half(settings: RepositorySettings, *_: Any) -> None:
        harbour.registries.add(settings.repository)
        raise Crash("between CreateRepository and SetRepositoryPolicy")

    with monkeypatch.context() as patched:
        patched.setattr(harbour.registries, "create", half)
        with pytest.raises(Crash):
            harbour.handle(body)
    assert harbour.registries.held(PROD).push is None


def creating(harbour: Harbour) -> list[str]:
    return [item.sk for item in listed(harbour.state, creation_items.PARTITION)]


def test_the_next_promotion_sets_the_policy_that_the_one_before_did_not_come_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    harbour, body = harbour_without_prod()
    dies_between(harbour, body, monkeypatch)
    harbour.hints.send("promote", body)  # the queue offers it again
    harbour.work()
    held = harbour.registries.held(PROD)
    assert (held.push, held.pull) == ((), PULL)
    assert harbour.tags("v1.0.0") == [Digest(body["digest"])] * 2
    assert creating(harbour) == []


def test_a_policy_that_a_person_has_set_meanwhile_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    harbour, body = harbour_without_prod()
    dies_between(harbour, body, monkeypatch)
    harbour.registries.held(PROD).push = ("role/owner",)
    harbour.registries.held(PROD).pull = ("444444444444",)
    harbour.hints.send("promote", body)
    harbour.work()
    held = harbour.registries.held(PROD)
    assert (held.push, held.pull) == (("role/owner",), ("444444444444",))
    assert creating(harbour) == []


def test_a_policy_that_a_person_removed_from_a_finished_repository_stays_removed() -> None:
    harbour, body = harbour_without_prod()
    harbour.hints.send("promote", body)
    harbour.work()
    harbour.registries.held(PROD).push, harbour.registries.held(PROD).pull = None, ()
    harbour.push(image("next"), "v1.1.0")
    harbour.work()
    assert (harbour.registries.held(PROD).push, harbour.registries.held(PROD).pull) == (None, ())


def test_a_crash_anywhere_around_the_creation_is_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    harbour, body = harbour_without_prod()
    put = harbour.state.put
    dead: list[str] = []

    def dies(change: StateChange) -> None:
        if change.pk == creation_items.PARTITION and change.removed and not dead:
            dead.append(change.pk)
            raise Crash("after the policy, before the note is gone")
        put(change)

    monkeypatch.setattr(harbour.state, "put", dies)
    with pytest.raises(Crash):
        harbour.handle(body)
    assert creating(harbour) == [str(PROD)]
    harbour.hints.send("promote", body)
    harbour.work()
    assert creating(harbour) == []


def test_without_anything_to_say_in_a_policy_nothing_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    harbour, body = harbour_without_prod()
    harbour.policy = guarded_policy(push=Push.ANYONE, pull=())
    written: list[StateChange] = []
    put = harbour.state.put

    def noted(change: StateChange) -> None:
        written.append(change)
        put(change)

    monkeypatch.setattr(harbour.state, "put", noted)
    harbour.hints.send("promote", body)
    harbour.work()
    assert harbour.tags("v1.0.0") == [Digest(body["digest"])] * 2
    assert creation_items.PARTITION not in {change.pk for change in written}


def test_what_no_promotion_takes_up_again_is_finished_by_reconciles_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    harbour, body = harbour_without_prod()
    dies_between(harbour, body, monkeypatch)
    world = World(policy=harbour.policy, clock=harbour.clock, state=harbour.state)
    world.reconcile({"repositories": ["prod/*"]})
    assert world.hints.take("promote") == []  # its worker may still be at it
    harbour.clock.advance(minutes=6)
    for _ in range(2):
        world.reconcile({"repositories": ["prod/*"]})
    ((_, hint, _),) = world.hints.take("promote")
    assert hint == {"create": str(PROD)}
    harbour.handle(hint)
    assert (harbour.registries.held(PROD).push, harbour.registries.held(PROD).pull) == ((), PULL)
    assert creating(harbour) == []
    assert harbour.handle(hint) == "nothing to do: it was finished"


def test_a_repository_that_was_removed_meanwhile_is_not_created_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    harbour, body = harbour_without_prod()
    dies_between(harbour, body, monkeypatch)
    harbour.registries.drop(PROD)
    assert harbour.handle({"create": str(PROD)}) == "nothing to do: there is no such repository"
    assert creating(harbour) == []
    assert harbour.registries.settings(PROD) is None


def test_a_hint_to_create_that_names_no_repository_is_a_bad_message() -> None:
    harbour = Harbour(policy=guarded_policy())
    harbour.handle({"create": "prod"})
    assert [type(error) for error in harbour.refused] == [BadMessage]


def test_two_that_create_at_once_leave_nothing_behind() -> None:
    harbour = Harbour(policy=guarded_policy())
    harbour.registries.drop(PROD)
    creations = harbour.worker().promotions.targets.creations
    create = harbour.registries.create

    def meanwhile(
        settings: RepositorySettings,
        pull: Sequence[str] = (),
        push: Sequence[str] | None = None,
        functions: bool = False,
    ) -> None:
        harbour.registries.create = create  # type: ignore[method-assign]
        harbour.clock.advance(seconds=1)
        creations.create(PROD, "prod", DEV.name)
        create(settings, pull, push, functions)

    harbour.registries.create = meanwhile  # type: ignore[method-assign]
    creations.create(PROD, "prod", DEV.name)
    assert creating(harbour) == []
    assert harbour.clock() - harbour.registries.held(PROD).settings.created_at <= timedelta(seconds=1)  # type: ignore[operator]
