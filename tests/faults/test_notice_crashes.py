"""A notice is sent at least once whatever call a worker dies at, and twice only where it died around its sending."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

import pytest

from support.fakes.policies import parsed
from support.fakes.ports import Crash, CrashAfter
from support.fakes.promotion import PLACES, PromotionStack, command
from support.fakes.recording import RecordingStack, policy
from support.fakes.retention import Retaining
from support.fakes.wiring import services
from support.images.builders import DEV, PROD, fact, image, push_event, scanned
from tallyman.domain.history.facts import Kind
from tallyman.domain.names import EcrRegistry, Repository
from tallyman.domain.policy import UsageRules
from tallyman.domain.push_protection import Flaw, Problem
from tallyman.domain.usage import Reading, Use
from tallyman.state import sweeps
from tallyman.state.items import StateChange

Attempt = Callable[[CrashAfter], None]


def notices_by_crash(begin: Callable[[], tuple[Attempt, Callable[[], int]]]) -> None:
    """Tries once with a crash before each call, then twice without one; `begin` returns the attempt and what counts the
    notices."""
    attempt, sent = begin()
    counted = CrashAfter()
    attempt(counted)
    attempt(CrashAfter())
    assert sent() == 1
    for number in range(1, counted.count + 2):  # before each call, and after the last
        attempt, sent = begin()
        with suppress(Crash):
            attempt(CrashAfter(number))
        unknown = sent() == 1
        for _ in range(2):
            attempt(CrashAfter())
        assert 1 <= sent() <= 1 + unknown, (number, counted.calls[number - 2 : number])


def test_a_refused_retention() -> None:
    def begin() -> tuple[Attempt, Callable[[], int]]:
        world = Retaining()
        world.versions(3)
        world.usage.error = "throttled"

        def attempt(crash: CrashAfter) -> None:
            world.worker(crash).handle(json.dumps({"repository": str(DEV)}))

        return attempt, lambda: len(world.notices.published)

    notices_by_crash(begin)


def test_a_refused_image_whose_policy_changes() -> None:
    def begin() -> tuple[Attempt, Callable[[], int]]:
        world = RecordingStack(policy(scan={"max": {"critical": 0}}))
        digest = world.registries.push(DEV, image("a"), "v1.0.0")
        world.ledger.append(scanned(digest, {"critical": 1}, at=world.clock()))
        world.ledger.append(fact(Kind.PUSHED, digest, DEV, at=world.clock(), tag="v1.0.0"))
        world.told(push_event(DEV, digest, "v1.0.0", at=world.clock()))
        before = len(world.notices.published)
        world.policy = policy(scan={"max": {"critical": 0}}, built={"branch": ["main"]})  # refuses it by two gates

        def attempt(crash: CrashAfter) -> None:
            world.policy = replace(world.policy, raw=world.policy.raw + b"\n")
            world.at_work(crash).evaluator.digest(digest)

        return attempt, lambda: len(world.notices.published) - before

    notices_by_crash(begin)


class Open:
    """`Guards` and `UsageReadings`: a repository without a policy, and a task that runs a recalled image."""

    uses: tuple[Use, ...] = ()

    def problem(self, repository: Repository, others: Sequence[str]) -> Problem | None:
        return Problem(Flaw.NO_POLICY, "no policy") if repository == PROD else None

    def policy(self, repository: Repository) -> str | None:
        return None

    def readings(self, registry: EcrRegistry, at: datetime, rules: UsageRules) -> list[Reading]:
        return [Reading("ECS", registry, at, self.uses if registry == PROD.registry else (), error=None)]


@pytest.mark.parametrize("kind", ["unguarded", "recalled_in_use"])
def test_a_repository_that_is_open_to_pushes_and_what_runs_a_recalled_image(kind: str) -> None:
    def begin() -> tuple[Attempt, Callable[[], int]]:
        outside = Open()
        create = {"push": "tallyman-only"}
        rules = {"match": "rocketseat/*", "promotions": [{"from": "dev", "to": "prod"}], "create": create}
        environments = {"dev": [DEV], "prod": PLACES}
        registries = {name: {"registries": [str(p.registry) for p in places]} for name, places in environments.items()}
        world = PromotionStack(policy=parsed({"environments": registries, "repositories": [rules]}))
        digest = world.push(image("a"), "v1.0.0")
        world.work()
        command(world, "recall", digest)
        outside.uses = (Use("ecs task", "prod/web", PROD.at(digest), PROD.registry, PROD, None, digest),)
        for place in (DEV, *PLACES):
            world.state.put(StateChange(sweeps.PARTITION, str(place), 0, {}))

        def attempt(crash: CrashAfter) -> None:
            world.clock.advance(minutes=15)
            made = services(replace(world.ports(), guards=outside, usage_readings=outside).crashing(crash))
            if kind == "unguarded":
                made.released.push_protection.all(lambda place: True, Counter(), [], lambda: 900.0)
            else:
                _, todo = made.released.watched(lambda place: True, Counter(), [], False)
                made.released.carry_out(todo, [], lambda: 900.0)

        return attempt, lambda: sum(given["kind"] == kind for _, _, given in world.notices.published)

    notices_by_crash(begin)
