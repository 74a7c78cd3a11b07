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
from support.fakes.retention import RetentionStack
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
    """Try once with a crash before each call, then twice without one; `begin` returns the attempt and what counts the
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
        system = RetentionStack()
        system.versions(3)
        system.usage.error = "throttled"

        def attempt(crash: CrashAfter) -> None:
            system.worker(crash).handle(json.dumps({"repository": str(DEV)}))

        return attempt, lambda: len(system.notices.published)

    notices_by_crash(begin)


def test_a_refused_image_whose_policy_changes() -> None:
    def begin() -> tuple[Attempt, Callable[[], int]]:
        system = RecordingStack(policy(scan={"max": {"critical": 0}}))
        digest = system.registries.push(DEV, image("a"), "v1.0.0")
        system.ledger.append(scanned(digest, {"critical": 1}, at=system.clock()))
        system.ledger.append(fact(Kind.PUSHED, digest, DEV, at=system.clock(), tag="v1.0.0"))
        system.deliver(push_event(DEV, digest, "v1.0.0", at=system.clock()))
        before = len(system.notices.published)
        system.policy = policy(scan={"max": {"critical": 0}}, built={"branch": ["main"]})  # refuses it by two gates

        def attempt(crash: CrashAfter) -> None:
            system.policy = replace(system.policy, raw=system.policy.raw + b"\n")
            system.process(crash).evaluator.digest(digest)

        return attempt, lambda: len(system.notices.published) - before

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
        system = PromotionStack(policy=parsed({"environments": registries, "repositories": [rules]}))
        digest = system.push(image("a"), "v1.0.0")
        system.work()
        command(system, "recall", digest)
        outside.uses = (Use("ecs task", "prod/web", PROD.at(digest), PROD.registry, PROD, None, digest),)
        for place in (DEV, *PLACES):
            system.state.put(StateChange(sweeps.PARTITION, str(place), 0, {}))

        def attempt(crash: CrashAfter) -> None:
            system.clock.advance(minutes=15)
            made = services(replace(system.ports(), guards=outside, usage_readings=outside).crashing(crash))
            if kind == "unguarded":
                made.released.push_protection.all(lambda place: True, Counter(), [], lambda: 900.0)
            else:
                _, todo = made.released.watched(lambda place: True, Counter(), [], False)
                made.released.carry_out(todo, [], lambda: 900.0)

        return attempt, lambda: sum(given["kind"] == kind for _, _, given in system.notices.published)

    notices_by_crash(begin)
