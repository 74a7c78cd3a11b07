"""Scheduled supervision: releases, half-done promotions, recalls in progress, open repositories."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from support.fakes.policies import parsed
from support.fakes.ports import listed, stored
from support.fakes.promotion import PLACES, PromotionStack, command
from support.fakes.recording import policy
from support.fakes.wiring import services
from support.images.builders import DEV, PROD, PROD_SA, image, scanned
from tallyman.domain.history.facts import Kind
from tallyman.domain.images.details import ScanReport
from tallyman.domain.names import Digest, EcrRegistry, Location, Repository
from tallyman.domain.policy import UsageRules
from tallyman.domain.push_protection import Flaw, Problem, only_push, problem, repository_policy
from tallyman.domain.usage import Reading, Use
from tallyman.errors import Throttled, Unreachable
from tallyman.services.deciding.noncompliant import noncompliant_images
from tallyman.services.deciding.recall_impact import RecallImpact
from tallyman.services.reconcile.rejudge import Watched
from tallyman.state import guards, noncompliant, sweeps
from tallyman.state import releases as release_items
from tallyman.state.items import StateChange


class FoundProblems:
    """Push protection that reports these problems."""

    def __init__(self, problems: Mapping[Repository, Problem]) -> None:
        self._problems = problems

    def problem(self, repository: Repository, others: Sequence[str]) -> Problem | None:
        assert others == ("role/break-glass",)
        return self._problems.get(repository)

    def policy(self, repository: Repository) -> str | None:
        raise NotImplementedError


class ReconcileStack(PromotionStack):
    """A stack with the other ports that reconcile needs."""

    uses: tuple[Use, ...] = ()
    unread: tuple[Reading, ...] = ()
    problems_found: dict[Repository, Problem] | None = None
    troubles: list[str]

    def readings(self, registry: EcrRegistry, at: datetime, rules: UsageRules) -> list[Reading]:
        uses = tuple(use for use in self.uses if use.where == registry)
        return [Reading("ECS", registry, at, uses), *(each for each in self.unread if each.where == registry)]

    def sweep(self) -> Watched:
        """One scheduled run."""
        self.clock.advance(minutes=15)
        made = services(replace(self.ports(), guards=FoundProblems(self.problems_found or {}), usage_readings=self))
        released = made.released
        self.troubles = []
        found, todo = released.watched(lambda place: True, Counter(), self.troubles, asked=False)
        released.carry_out(todo, self.troubles, lambda: 900.0)
        released.push_protection.all(lambda place: True, found.unguarded, self.troubles, lambda: 900.0)
        return found

    def told(self, kind: str) -> list[str]:
        return [text for _, text, attributes in self.notices.published if attributes["kind"] == kind]


def promoted(**gates: object) -> tuple[ReconcileStack, Digest]:
    world = ReconcileStack(policy=policy(verified=True, **gates))
    digest = world.push(image("a"), "v1.0.0")
    world.work()
    return world, digest


def test_an_unannounced_release_is_announced() -> None:
    world, digest = promoted()
    world.announcements.emitted.clear()
    item = stored(world.state, release_items.partition("prod"), DEV.name)
    assert item is not None
    world.state.put(StateChange(item.pk, item.sk, item.revision, {**item.data, "announced": False}))
    world.sweep()
    world.sweep()
    assert [d["digest"] for _, d in world.announcements.emitted] == [digest]


def test_an_unstarted_roll_out_is_resumed_by_a_scheduled_run() -> None:
    services = [{"ecs": "shop/app", "repository": DEV.name}]
    world = ReconcileStack(
        policy=parsed(
            {
                "environments": {
                    "dev": {"registries": [str(DEV.registry)]},
                    "prod": {"registries": [str(p.registry) for p in PLACES], "rollout": {"services": services}},
                },
                "repositories": [
                    {"match": "rocketseat/*", "promotions": [{"from": "dev", "to": "prod", "tags": ["semver"]}]}
                ],
            }
        )
    )
    world.push(image("a"), "v1.0.0")
    world.work()
    for _ in range(3):  # once an hour: its event may be late, its message may be retried
        world.sweep()
    (hint,) = world.hints.to("roll_out")
    assert hint["roll_out"]["repository"] == DEV.name


def test_a_half_done_promotion_is_notified_once_and_counted_while_it_lasts() -> None:
    world = ReconcileStack()
    digest = world.push(image("a"), "v1.0.0")
    put = world.registries.put_manifest

    def no_tags(repository: Location, manifest: object, tag: str | None = None) -> None:
        if repository == PROD_SA and tag:
            raise Throttled("Rate exceeded")
        put(repository, manifest, tag)  # type: ignore[arg-type]

    world.registries.put_manifest = no_tags  # type: ignore[method-assign]
    world.work()
    assert world.tags("v1.0.0") == [digest, None]
    assert [world.sweep().stuck["prod"] for _ in range(2)] == [1, 1]
    (text,) = world.told("stuck")
    assert "Rate exceeded" in text


def test_abandoned_promotions_are_counted() -> None:
    world = ReconcileStack()
    world.push(image("a"), "v1.0.0")
    world.registries.fail(PROD.registry, Throttled("Rate exceeded"))
    world.work(until=timedelta(days=2))
    assert world.facts(Kind.PARKED)
    assert world.sweep().parked["prod"] == 1


def test_every_pending_promotion_is_counted_for_its_environment_in_every_run() -> None:
    world = ReconcileStack()
    world.push(image("a"), "v1.0.0")
    world.registries.fail(PROD.registry, Throttled("Rate exceeded"))
    world.work(until=timedelta(days=2))  # given up
    world.push(image("b"), "v1.1.0")  # not tried yet
    for scope in ({}, {"repositories": ["rocketseat/another"]}):
        report = services(replace(world.ports(), guards=FoundProblems({}), usage_readings=world)).reconcile.run(
            scope, "request", lambda: 900.0
        )
        assert report["waiting"] == {"dev": 0, "prod": 2}
    world.registries.heal()
    world.push(image("a"), "v1.0.1")
    world.work()
    assert world.sweep().waiting["prod"] == 0


def test_a_recall_of_a_promoted_image_is_notified_once_with_its_users() -> None:
    world, digest = promoted()
    command(world, "recall", digest)
    world.uses = (Use("ecs task", "prod/widget", PROD.at(digest), PROD.registry, PROD, None, digest),)
    assert [world.sweep().would_not_pass["prod"] for _ in range(2)] == [1, 1]
    (text,) = world.told("recalled_in_use")
    assert "ecs task prod/widget in 222222222222/us-east-2" in text
    assert "prod releases it" in text


def test_what_uses_a_recalled_image_is_told_by_every_source_and_what_is_unread_once() -> None:
    world, digest = promoted()
    command(world, "recall", digest)
    where = PROD.registry
    pod = Use("eks pod of replicaset", "shop/web/app", PROD.at(digest), where, PROD, None, digest)
    job = Use("batch job definition", "nightly:3", PROD.at(digest), where, PROD, None, digest, runs=False)
    world.uses = (pod, job)
    world.unread = (Reading("EKS cluster lab", where, world.clock(), error="no answer"),)
    world.sweep()
    (text,) = world.told("recalled_in_use")
    assert f"{pod} runs {pod.image}" in text
    assert f"{job} is set up to run {job.image}" in text
    assert f"what runs in {where} could not be read: EKS cluster lab: no answer" in text
    world.unread = (replace(world.unread[0], error="other words"),)
    for _ in range(3):
        world.sweep()
    assert len(world.told("recalled_in_use")) == 1
    world.uses = (pod, job, replace(pod, name="shop/web/another"))
    for _ in range(2):
        world.sweep()
    assert len(world.told("recalled_in_use")) == 2
    world.unread = ()
    for _ in range(2):
        world.sweep()
    assert len(world.told("recalled_in_use")) == 2


def test_what_started_from_a_tag_that_has_moved_since_is_found_to_run_the_recalled_image() -> None:
    world = ReconcileStack()
    digest = world.push(image("a"), "latest")
    world.clock.advance(hours=1)
    pod = Use("eks pod", "shop/web/app", DEV.at("latest"), DEV.registry, DEV, "latest", since=world.clock())
    world.clock.advance(hours=1)
    other = world.push(image("b"), "latest")
    impact = RecallImpact(world.policy, world.ledger, world.state, world, world.clock)
    world.uses = (pod, replace(pod, name="later", since=None))
    assert [use["name"] for use in impact.of(digest)["uses"]] == ["shop/web/app"]
    assert [use["name"] for use in impact.of(other)["uses"]] == ["shop/web/app", "later"]


def test_what_is_only_set_up_to_run_an_overtaken_image_is_no_use_of_it() -> None:
    world, digest = overtaken()
    world.uses = tuple(replace(use, runs=False) for use in runs(digest))
    assert world.sweep().would_not_pass["prod"] == 0
    assert world.told("would_not_pass") == []


def overtaken() -> tuple[ReconcileStack, Digest]:
    """v1.0.0 was released, then v1.1.0; now v1.0.0 has a critical finding."""
    world = ReconcileStack(policy=policy(verified=True, scan={"max": {"critical": 0}}))
    first = image("a")
    for built, tag in ((first, "v1.0.0"), (image("b"), "v1.1.0")):
        digest = world.push(built, tag)
        scan(world, digest)
        world.work()
        assert world.released() == digest
    scan(world, first.digest, critical=1)
    return world, first.digest


def scan(world: ReconcileStack, digest: Digest, **counts: int) -> None:
    world.clock.advance(minutes=1)
    now = world.clock()
    world.ledger.append(scanned(digest, at=now, seen=now, counts=counts))
    world.evaluator.digest(digest)


def runs(digest: Digest) -> tuple[Use, ...]:
    return (Use("ecs task", "prod/widget", PROD.at(digest), PROD.registry, PROD, None, digest),)


def test_a_superseded_noncompliant_image_that_runs_nowhere_is_listed_without_a_notice() -> None:
    world, digest = overtaken()
    for _ in range(5):
        assert world.sweep().would_not_pass["prod"] == 0
    assert world.told("would_not_pass") == []
    assert [(i.digest, released) for i, released in noncompliant_images(world.state, "prod")] == [(digest, False)]
    (item,) = listed(world.state, noncompliant.partition("prod"))
    assert item.revision == 1  # an equal result is not written again


def test_a_superseded_noncompliant_image_that_runs_is_notified_once_and_counted_while_it_runs() -> None:
    world, digest = overtaken()
    world.uses = runs(digest)
    world.sweep()
    assert [world.sweep().would_not_pass["prod"] for _ in range(4)] == [1] * 4
    (text,) = world.told("would_not_pass")
    assert "but this one runs: ecs task prod/widget in 222222222222/us-east-2" in text
    assert "1 critical finding" in text
    world.uses = ()
    world.clock.advance(hours=1)
    world.sweep()
    assert world.sweep().would_not_pass["prod"] == 0
    assert len(world.told("would_not_pass")) == 1


def test_usage_is_read_at_most_once_an_hour() -> None:
    world, _ = overtaken()
    asked: list[EcrRegistry] = []

    def readings(registry: EcrRegistry, at: datetime, rules: UsageRules) -> list[Reading]:
        asked.append(registry)
        return []

    world.readings = readings  # type: ignore[method-assign]
    for _ in range(8):  # two hours
        world.sweep()
    assert len(asked) == 2 * len(world.policy.registries())


def test_a_reworded_reason_of_a_noncompliant_image_causes_no_second_notice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world, digest = promoted(scan={"max": {"critical": 0}})
    scan(world, digest)
    world.work()
    assert world.released() == digest
    scan(world, digest, critical=1)
    assert len(world.told("would_not_pass")) == 1
    monkeypatch.setattr("tallyman.domain.gates.scan.counted", lambda number, what: f"{what.split()[0]}: {number}")
    for _ in range(2):
        world.evaluator.digest(digest)
    assert "critical: 1" in str(world.facts(Kind.DECIDED)[-1].detail["gates"])
    assert len(world.told("would_not_pass")) == 1
    scan(world, digest, critical=2)
    assert len(world.told("would_not_pass")) == 2
    world.policy = replace(world.policy, raw=world.policy.raw + b"\n")  # another version alone is no news
    monkeypatch.setattr("tallyman.domain.gates.scan.counted", lambda number, what: f"{number} of {what.split()[0]}")
    world.evaluator.digest(digest)
    assert "2 of critical" in str(world.facts(Kind.DECIDED)[-1].detail["gates"])
    assert len(world.told("would_not_pass")) == 2


def test_a_superseded_noncompliant_image_is_notified_when_released_again() -> None:
    world, digest = overtaken()
    command(world, "roll-back", digest, repository=DEV.name, environment="prod")
    world.work()
    assert world.released() == digest
    assert [world.sweep().would_not_pass["prod"] for _ in range(3)] == [1] * 3
    (text,) = world.told("would_not_pass")
    assert "prod releases this image." in text


def test_a_recall_of_an_unused_image_causes_no_notice_about_usage() -> None:
    world, digest = overtaken()
    command(world, "recall", digest)
    world.sweep()
    assert world.told("recalled_in_use") == []


def test_a_released_image_is_scanned_again_once_a_day() -> None:
    world = ReconcileStack(policy=policy(verified=True, scan={"max": {"critical": 0}}))
    digest = world.push(image("a"), "v1.0.0")
    now = world.clock()
    world.ledger.append(scanned(digest, at=now, seen=now))
    world.registries.set_scan(DEV, digest, ScanReport("complete", completed_at=now))
    world.evaluator.digest(digest)
    world.work()
    world.clock.advance(hours=25)
    for _ in range(3):
        world.sweep()
    started = [request for request in world.registries.requests if request[0] == "start_scan"]
    assert len(started) == 1


def test_an_unreadable_release_does_not_stop_the_others() -> None:
    world, _ = promoted()
    announce = world.announcements.emit

    def broken(detail_type: str, detail: Mapping[str, Any]) -> None:
        raise Unreachable("the bus does not answer")

    item = stored(world.state, release_items.partition("prod"), DEV.name)
    assert item is not None
    world.state.put(StateChange(item.pk, item.sk, item.revision, {**item.data, "announced": False}))
    world.announcements.emit = broken  # type: ignore[method-assign]
    world.sweep()
    assert world.troubles == [f"prod/{DEV.name}: the bus does not answer"]
    world.announcements.emit = announce  # type: ignore[method-assign]


# --- push protection


def only_tallyman() -> ReconcileStack:
    world = ReconcileStack(
        policy=parsed(
            {
                "environments": {
                    "dev": {"registries": [str(DEV.registry)]},
                    "prod": {"registries": [str(p.registry) for p in PLACES]},
                },
                "repositories": [
                    {
                        "match": "rocketseat/*",
                        "create": {"push": "tallyman-only", "break_glass": "role/break-glass"},
                        "promotions": [{"from": "dev", "to": "prod", "tags": ["semver"]}],
                    }
                ],
            }
        )
    )
    world.problems_found = {}
    for place in (DEV, *PLACES):
        world.state.put(StateChange(sweeps.PARTITION, str(place), 0, {}))
    return world


def test_an_open_repository_is_counted_and_notified_once_per_change() -> None:
    world = only_tallyman()
    assert world.sweep().unguarded.total() == 0
    world.problems_found = {PROD: Problem(Flaw.NO_POLICY, "the repository has no policy")}
    assert [world.sweep().unguarded["prod"] for _ in range(3)] == [1, 1, 1]
    world.problems_found = {PROD: Problem(Flaw.CHANGED, "the statement was changed")}
    world.sweep()
    assert len(world.told("unguarded")) == 2
    world.problems_found = {PROD: Problem(Flaw.CHANGED, "somebody changed the statement, in other words")}
    world.sweep()
    assert len(world.told("unguarded")) == 2
    world.problems_found = {}
    assert world.sweep().unguarded["prod"] == 0


LAST_RELEASE = {
    Flaw.NO_POLICY: "the repository has no policy: every principal that IAM allows may push",
    Flaw.NOT_JSON: "the repository's policy is not JSON",
    Flaw.NO_STATEMENT: "the repository's policy lacks the statement OnlyTallymanPushes: every principal that IAM "
    "allows may push",
    Flaw.CHANGED: "the statement OnlyTallymanPushes of the repository's policy was changed",
}


@pytest.mark.parametrize("now", Flaw)
@pytest.mark.parametrize("before", Flaw)
def test_an_update_announces_no_open_repository_again_unless_it_is_open_otherwise(before: Flaw, now: Flaw) -> None:
    world = only_tallyman()
    stored = {"problem": LAST_RELEASE[before], "since": "2026-11-16T02:24:34Z", "told": True}
    world.state.put(StateChange(*guards.key(PROD), 0, stored))
    world.problems_found = {PROD: Problem(now, "words of a later version")}
    assert [world.sweep().unguarded["prod"] for _ in range(2)] == [1, 1]
    assert len(world.told("unguarded")) == (before is not now)


def test_an_open_repository_that_was_announced_in_unknown_words_is_announced_when_it_is_open_otherwise() -> None:
    world = only_tallyman()
    stored = {"problem": "anybody may push", "since": "2026-11-16T02:24:34Z", "told": True}
    world.state.put(StateChange(*guards.key(PROD), 0, stored))
    world.problems_found = {PROD: Problem(Flaw.NO_POLICY, "there is no policy")}
    world.sweep()
    assert world.told("unguarded") == []
    world.problems_found = {PROD: Problem(Flaw.CHANGED, "the statement was changed")}
    world.sweep()
    assert len(world.told("unguarded")) == 1


def test_a_promotion_creates_a_repository_that_only_promotions_can_push_to() -> None:
    world = only_tallyman()
    for place in PLACES:
        del world.registries._held[place]
    digest = world.push(image("a"), "v1.0.0")
    world.work()
    assert world.released() == digest
    assert [world.registries.held(p).push for p in PLACES] == [("role/break-glass",)] * 2


ALLOWED = ["arn:aws:iam::222222222222:role/tallyman-spoke-push"]


def test_the_written_repository_policy_passes_our_own_check() -> None:
    document = repository_policy(PROD, ["333333333333"], ALLOWED)
    assert document is not None
    assert [s["Sid"] for s in document["Statement"]] == ["Pull", "LambdaPulls", "OnlyTallymanPushes"]
    assert document["Statement"][0]["Principal"] == {"AWS": ["arn:aws:iam::333333333333:root"]}
    assert problem(json.dumps(document), ALLOWED) is None
    assert repository_policy(PROD, (), ()) is None


def test_if_releases_update_functions_lambda_may_pull_for_the_repositorys_account() -> None:
    document = repository_policy(PROD, ["333333333333"], (), functions=True)
    assert document is not None
    (statement,) = [s for s in document["Statement"] if s["Sid"] == "LambdaPulls"]
    assert statement["Action"] == ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
    arns = [f"arn:aws:lambda:us-east-2:{account}:function:*" for account in ("222222222222", "333333333333")]
    assert statement["Condition"] == {"ArnLike": {"aws:SourceArn": arns}}


def test_a_promotion_creates_a_functions_repository_so_that_lambda_may_pull() -> None:
    world = ReconcileStack(
        policy=parsed(
            {
                "environments": {
                    "dev": {"registries": [str(DEV.registry)]},
                    "prod": {
                        "registries": [str(p.registry) for p in PLACES],
                        "rollout": {"services": [{"lambda": "resizer", "alias": "live", "repository": DEV.name}]},
                    },
                },
                "repositories": [
                    {"match": "rocketseat/*", "promotions": [{"from": "dev", "to": "prod", "tags": ["semver"]}]}
                ],
            }
        )
    )
    for place in PLACES:
        del world.registries._held[place]
    world.push(image("a"), "v1.0.0")
    world.work()
    assert [world.registries.held(p).functions for p in PLACES] == [True, True]


def test_only_a_policy_with_another_meaning_is_a_change() -> None:
    same = only_push(ALLOWED) | {
        "Principal": {"AWS": "*"},
        "Condition": {"ArnNotLike": {"aws:PrincipalArn": ALLOWED[0]}},
    }
    assert problem(json.dumps({"Statement": same}), ALLOWED) is None
    wider = only_push([*ALLOWED, "arn:aws:iam::222222222222:role/ci"])
    assert str(problem(json.dumps({"Statement": [wider]}), ALLOWED)) == (
        "the statement OnlyTallymanPushes of the repository's policy was changed"
    )
    fewer = only_push(ALLOWED) | {"Action": ["ecr:PutImage"]}
    assert "was changed" in str(problem(json.dumps({"Statement": [fewer]}), ALLOWED))
    assert "lacks" in str(problem(json.dumps({"Statement": []}), ALLOWED))
    assert "no policy" in str(problem(None, ALLOWED))
    assert "not JSON" in str(problem("{", ALLOWED))
