"""Scheduled supervision: releases, half-done promotions, recalls in progress, open repositories."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from support.fakes.policies import parsed
from support.fakes.ports import CrashAfter, listed, stored
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

    def notices_of(self, kind: str) -> list[str]:
        return [text for _, text, attributes in self.notices.published if attributes["kind"] == kind]


def promoted(**gates: object) -> tuple[ReconcileStack, Digest]:
    system = ReconcileStack(policy=policy(verified=True, **gates))
    digest = system.push(image("a"), "v1.0.0")
    system.work()
    return system, digest


def test_an_unannounced_release_is_announced() -> None:
    system, digest = promoted()
    system.announcements.emitted.clear()
    item = stored(system.state, release_items.partition("prod"), DEV.name)
    assert item is not None
    system.state.put(StateChange(item.pk, item.sk, item.revision, {**item.data, "announced": False}))
    system.sweep()
    system.sweep()
    assert [d["digest"] for _, d in system.announcements.emitted] == [digest]


def test_an_unstarted_roll_out_is_resumed_by_a_scheduled_run() -> None:
    services = [{"ecs": "shop/app", "repository": DEV.name}]
    system = ReconcileStack(
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
    system.push(image("a"), "v1.0.0")
    system.work()
    for _ in range(3):  # once an hour: its event may be late, its message may be retried
        system.sweep()
    (hint,) = system.hints.to("roll_out")
    assert hint["roll_out"]["repository"] == DEV.name


def test_a_half_done_promotion_is_notified_once_and_counted_while_it_lasts() -> None:
    system = ReconcileStack()
    digest = system.push(image("a"), "v1.0.0")
    put = system.registries.put_manifest

    def no_tags(repository: Location, manifest: object, tag: str | None = None) -> None:
        if repository == PROD_SA and tag:
            raise Throttled("Rate exceeded")
        put(repository, manifest, tag)  # type: ignore[arg-type]

    system.registries.put_manifest = no_tags  # type: ignore[method-assign]
    system.work()
    assert system.tags("v1.0.0") == [digest, None]
    assert [system.sweep().stuck["prod"] for _ in range(2)] == [1, 1]
    (text,) = system.notices_of("stuck")
    assert "Rate exceeded" in text


def test_abandoned_promotions_are_counted() -> None:
    system = ReconcileStack()
    system.push(image("a"), "v1.0.0")
    system.registries.fail(PROD.registry, Throttled("Rate exceeded"))
    system.work(until=timedelta(days=2))
    assert system.facts(Kind.PARKED)
    assert system.sweep().parked["prod"] == 1


def test_every_pending_promotion_is_counted_for_its_environment_in_every_run() -> None:
    system = ReconcileStack()
    system.push(image("a"), "v1.0.0")
    system.registries.fail(PROD.registry, Throttled("Rate exceeded"))
    system.work(until=timedelta(days=2))  # given up
    system.push(image("b"), "v1.1.0")  # not tried yet
    for scope in ({}, {"repositories": ["rocketseat/another"]}):
        report = services(replace(system.ports(), guards=FoundProblems({}), usage_readings=system)).reconcile.run(
            scope, "request", lambda: 900.0
        )
        assert report["waiting"] == {"dev": 0, "prod": 2}
    system.registries.heal()
    system.push(image("a"), "v1.0.1")
    system.work()
    assert system.sweep().waiting["prod"] == 0


def test_a_recall_of_a_promoted_image_is_notified_once_with_its_users() -> None:
    system, digest = promoted()
    command(system, "recall", digest)
    system.uses = (Use("ecs task", "prod/widget", PROD.at(digest), PROD.registry, PROD, None, digest),)
    assert [system.sweep().would_not_pass["prod"] for _ in range(2)] == [1, 1]
    (text,) = system.notices_of("recalled_in_use")
    assert "ecs task prod/widget in 222222222222/us-east-2" in text
    assert "prod releases it" in text


def test_what_uses_a_recalled_image_is_told_by_every_source_and_what_is_unread_once() -> None:
    system, digest = promoted()
    command(system, "recall", digest)
    where = PROD.registry
    pod = Use("eks pod of replicaset", "shop/web/app", PROD.at(digest), where, PROD, None, digest)
    job = Use("batch job definition", "nightly:3", PROD.at(digest), where, PROD, None, digest, runs=False)
    system.uses = (pod, job)
    system.unread = (Reading("EKS cluster lab", where, system.clock(), error="no answer"),)
    system.sweep()
    (text,) = system.notices_of("recalled_in_use")
    assert f"{pod} runs {pod.image}" in text
    assert f"{job} is set up to run {job.image}" in text
    assert f"what runs in {where} could not be read: EKS cluster lab: no answer" in text
    system.unread = (replace(system.unread[0], error="other words"),)
    for _ in range(3):
        system.sweep()
    assert len(system.notices_of("recalled_in_use")) == 1
    system.uses = (pod, job, replace(pod, name="shop/web/another"))
    for _ in range(2):
        system.sweep()
    assert len(system.notices_of("recalled_in_use")) == 2
    system.unread = ()
    for _ in range(2):
        system.sweep()
    assert len(system.notices_of("recalled_in_use")) == 2


def test_what_started_from_a_tag_that_has_moved_since_is_found_to_run_the_recalled_image() -> None:
    system = ReconcileStack()
    digest = system.push(image("a"), "latest")
    system.clock.advance(hours=1)
    pod = Use("eks pod", "shop/web/app", DEV.at("latest"), DEV.registry, DEV, "latest", since=system.clock())
    system.clock.advance(hours=1)
    other = system.push(image("b"), "latest")
    impact = RecallImpact(system.policy, system.ledger, system.state, system, system.clock)
    system.uses = (pod, replace(pod, name="later", since=None))
    what = impact.read()
    assert [use["name"] for use in impact.of(digest, what)["uses"]] == ["shop/web/app"]
    assert [use["name"] for use in impact.of(other, what)["uses"]] == ["shop/web/app", "later"]


def test_uses_of_one_tag_are_looked_up_once_whatever_their_number() -> None:
    system = ReconcileStack()
    digest = system.push(image("a"), "latest")
    pod = Use("eks pod", "shop/web/0", DEV.at("latest"), DEV.registry, DEV, "latest", since=system.clock())
    calls = []
    for number in (1, 250):
        system.uses = tuple(replace(pod, name=f"shop/web/{n}") for n in range(number))
        made = services(replace(system.ports(), usage_readings=system).crashing(counted := CrashAfter()))
        assert [used for _, used in made.released.recall_impact.read().uses] == [{digest}] * number
        calls.append(counted.count)
    assert calls[0] == calls[1] > 0


def test_usage_that_a_run_has_no_time_to_read_is_unread_and_the_rest_is_announced() -> None:
    system, digest = promoted()
    command(system, "recall", digest)
    first, *others = system.policy.registries()
    system.uses = (Use("ecs task", "dev/widget", DEV.at(digest), first, DEV, None, digest),)
    left, read = 100.0, system.readings

    def slow(registry: EcrRegistry, at: datetime, rules: UsageRules) -> list[Reading]:
        nonlocal left
        left -= 99.0
        return read(registry, at, rules)

    system.readings = slow  # type: ignore[method-assign]
    released = services(replace(system.ports(), guards=FoundProblems({}), usage_readings=system)).released
    _, todo = released.watched(lambda place: True, Counter(), [], asked=False)
    released.carry_out(todo, [], lambda: left)
    (text,) = system.notices_of("recalled_in_use")
    assert "ecs task dev/widget" in text
    assert [f"what runs in {where} could not be read: no time was left" in text for where in others] == [True] * 2
    left, system.readings = 900.0, read  # type: ignore[method-assign]
    system.sweep()
    assert len(system.notices_of("recalled_in_use")) == 1


def test_what_is_only_set_up_to_run_an_overtaken_image_is_no_use_of_it() -> None:
    system, digest = overtaken()
    system.uses = tuple(replace(use, runs=False) for use in runs(digest))
    assert system.sweep().would_not_pass["prod"] == 0
    assert system.notices_of("would_not_pass") == []


def overtaken() -> tuple[ReconcileStack, Digest]:
    """v1.0.0 was released, then v1.1.0; now v1.0.0 has a critical finding."""
    system = ReconcileStack(policy=policy(verified=True, scan={"max": {"critical": 0}}))
    first = image("a")
    for built, tag in ((first, "v1.0.0"), (image("b"), "v1.1.0")):
        digest = system.push(built, tag)
        scan(system, digest)
        system.work()
        assert system.released() == digest
    scan(system, first.digest, critical=1)
    return system, first.digest


def scan(system: ReconcileStack, digest: Digest, **counts: int) -> None:
    system.clock.advance(minutes=1)
    now = system.clock()
    system.ledger.append(scanned(digest, at=now, seen=now, counts=counts))
    system.evaluator.digest(digest)


def runs(digest: Digest) -> tuple[Use, ...]:
    return (Use("ecs task", "prod/widget", PROD.at(digest), PROD.registry, PROD, None, digest),)


@pytest.mark.parametrize("recalled", [False, True])
def test_an_image_that_no_promotion_of_the_policy_judges_is_listed_only_if_it_was_recalled(recalled: bool) -> None:
    system, digest = promoted()
    if recalled:
        command(system, "recall", digest)
    system.policy = policy(verified=True, attested="sbom")
    system.evaluator.image(digest)
    assert system.sweep().would_not_pass["prod"] == 1
    registries = {"dev": [DEV], "prod": PLACES}
    environments = {name: {"registries": [str(p.registry) for p in places]} for name, places in registries.items()}
    system.policy = parsed({"environments": environments})
    assert [system.sweep().would_not_pass["prod"] for _ in range(2)] == [recalled, recalled]
    assert bool(list(noncompliant_images(system.state, "prod"))) is recalled


def test_a_superseded_noncompliant_image_that_runs_nowhere_is_listed_without_a_notice() -> None:
    system, digest = overtaken()
    for _ in range(5):
        assert system.sweep().would_not_pass["prod"] == 0
    assert system.notices_of("would_not_pass") == []
    assert [(i.digest, released) for i, released in noncompliant_images(system.state, "prod")] == [(digest, False)]
    (item,) = listed(system.state, noncompliant.partition("prod"))
    assert item.revision == 1  # an equal result is not written again


def test_a_superseded_noncompliant_image_that_runs_is_notified_once_and_counted_while_it_runs() -> None:
    system, digest = overtaken()
    system.uses = runs(digest)
    system.sweep()
    assert [system.sweep().would_not_pass["prod"] for _ in range(4)] == [1] * 4
    (text,) = system.notices_of("would_not_pass")
    assert "but this one runs: ecs task prod/widget in 222222222222/us-east-2" in text
    assert "1 critical finding" in text
    system.uses = ()
    system.clock.advance(hours=1)
    system.sweep()
    assert system.sweep().would_not_pass["prod"] == 0
    assert len(system.notices_of("would_not_pass")) == 1


def test_usage_is_read_at_most_once_an_hour() -> None:
    system, _ = overtaken()
    asked: list[EcrRegistry] = []

    def readings(registry: EcrRegistry, at: datetime, rules: UsageRules) -> list[Reading]:
        asked.append(registry)
        return []

    system.readings = readings  # type: ignore[method-assign]
    for _ in range(8):  # two hours
        system.sweep()
    assert len(asked) == 2 * len(system.policy.registries())


def test_a_reworded_reason_of_a_noncompliant_image_causes_no_second_notice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    system, digest = promoted(scan={"max": {"critical": 0}})
    scan(system, digest)
    system.work()
    assert system.released() == digest
    scan(system, digest, critical=1)
    assert len(system.notices_of("would_not_pass")) == 1
    monkeypatch.setattr("tallyman.domain.gates.scan.counted", lambda number, what: f"{what.split()[0]}: {number}")
    for _ in range(2):
        system.evaluator.digest(digest)
    assert "critical: 1" in str(system.facts(Kind.DECIDED)[-1].detail["gates"])
    assert len(system.notices_of("would_not_pass")) == 1
    scan(system, digest, critical=2)
    assert len(system.notices_of("would_not_pass")) == 2
    system.policy = replace(system.policy, raw=system.policy.raw + b"\n")  # another version alone is no news
    monkeypatch.setattr("tallyman.domain.gates.scan.counted", lambda number, what: f"{number} of {what.split()[0]}")
    system.evaluator.digest(digest)
    assert "2 of critical" in str(system.facts(Kind.DECIDED)[-1].detail["gates"])
    assert len(system.notices_of("would_not_pass")) == 2


def test_a_superseded_noncompliant_image_is_notified_when_released_again() -> None:
    system, digest = overtaken()
    command(system, "roll-back", digest, repository=DEV.name, environment="prod")
    system.work()
    assert system.released() == digest
    assert [system.sweep().would_not_pass["prod"] for _ in range(3)] == [1] * 3
    (text,) = system.notices_of("would_not_pass")
    assert "prod releases this image." in text


def test_a_recall_of_an_unused_image_causes_no_notice_about_usage() -> None:
    system, digest = overtaken()
    command(system, "recall", digest)
    system.sweep()
    assert system.notices_of("recalled_in_use") == []


def test_a_released_image_is_scanned_again_once_a_day() -> None:
    system = ReconcileStack(policy=policy(verified=True, scan={"max": {"critical": 0}}))
    digest = system.push(image("a"), "v1.0.0")
    now = system.clock()
    system.ledger.append(scanned(digest, at=now, seen=now))
    system.registries.set_scan(DEV, digest, ScanReport("complete", completed_at=now))
    system.evaluator.digest(digest)
    system.work()
    system.clock.advance(hours=25)
    for _ in range(3):
        system.sweep()
    started = [request for request in system.registries.requests if request[0] == "start_scan"]
    assert len(started) == 1


def test_an_unreadable_release_does_not_stop_the_others() -> None:
    system, _ = promoted()
    announce = system.announcements.emit

    def broken(detail_type: str, detail: Mapping[str, Any]) -> None:
        raise Unreachable("the bus does not answer")

    item = stored(system.state, release_items.partition("prod"), DEV.name)
    assert item is not None
    system.state.put(StateChange(item.pk, item.sk, item.revision, {**item.data, "announced": False}))
    system.announcements.emit = broken  # type: ignore[method-assign]
    system.sweep()
    assert system.troubles == [f"prod/{DEV.name}: the bus does not answer"]
    system.announcements.emit = announce  # type: ignore[method-assign]


# --- push protection


def only_tallyman() -> ReconcileStack:
    system = ReconcileStack(
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
    system.problems_found = {}
    for place in (DEV, *PLACES):
        system.state.put(StateChange(sweeps.PARTITION, str(place), 0, {}))
    return system


def test_an_open_repository_is_counted_and_notified_once_per_change() -> None:
    system = only_tallyman()
    assert system.sweep().unguarded.total() == 0
    system.problems_found = {PROD: Problem(Flaw.NO_POLICY, "the repository has no policy")}
    assert [system.sweep().unguarded["prod"] for _ in range(3)] == [1, 1, 1]
    system.problems_found = {PROD: Problem(Flaw.CHANGED, "the statement was changed")}
    system.sweep()
    assert len(system.notices_of("unguarded")) == 2
    system.problems_found = {PROD: Problem(Flaw.CHANGED, "somebody changed the statement, in other words")}
    system.sweep()
    assert len(system.notices_of("unguarded")) == 2
    system.problems_found = {}
    assert system.sweep().unguarded["prod"] == 0


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
    system = only_tallyman()
    stored = {"problem": LAST_RELEASE[before], "since": "2026-11-16T02:24:34Z", "told": True}
    system.state.put(StateChange(*guards.key(PROD), 0, stored))
    system.problems_found = {PROD: Problem(now, "words of a later version")}
    assert [system.sweep().unguarded["prod"] for _ in range(2)] == [1, 1]
    assert len(system.notices_of("unguarded")) == (before is not now)


def test_an_open_repository_that_was_announced_in_unknown_words_is_announced_when_it_is_open_otherwise() -> None:
    system = only_tallyman()
    stored = {"problem": "anybody may push", "since": "2026-11-16T02:24:34Z", "told": True}
    system.state.put(StateChange(*guards.key(PROD), 0, stored))
    system.problems_found = {PROD: Problem(Flaw.NO_POLICY, "there is no policy")}
    system.sweep()
    assert system.notices_of("unguarded") == []
    system.problems_found = {PROD: Problem(Flaw.CHANGED, "the statement was changed")}
    system.sweep()
    assert len(system.notices_of("unguarded")) == 1


def test_a_promotion_creates_a_repository_that_only_promotions_can_push_to() -> None:
    system = only_tallyman()
    for place in PLACES:
        del system.registries._held[place]
    digest = system.push(image("a"), "v1.0.0")
    system.work()
    assert system.released() == digest
    assert [system.registries.held(p).push for p in PLACES] == [("role/break-glass",)] * 2


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
    system = ReconcileStack(
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
        del system.registries._held[place]
    system.push(image("a"), "v1.0.0")
    system.work()
    assert [system.registries.held(p).functions for p in PLACES] == [True, True]


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
