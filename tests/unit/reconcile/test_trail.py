"""reconcile and CloudTrail: the actor of a change, and a tag's states between two sweeps."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from support.fakes.recording import SCHEDULE, RecordingStack
from support.images.builders import DEV, image, push_event
from tallyman.domain.decide import Decision
from tallyman.domain.history.facts import Kind, Via
from tallyman.domain.images.details import ApiCall
from tallyman.domain.names import Digest, EcrRegistry
from tallyman.errors import NotAllowed, Unreachable
from tallyman.ports.clocks import no_limit
from tallyman.ports.registries import TrailPage
from tallyman.services.deciding.evaluator import Evaluator
from tallyman.services.reconcile.read_trail import KEPT
from tallyman.services.recording.registry_state import mark_active
from tallyman.state import trails

Waiting = Callable[[], None]
CI = "arn:aws:sts::111111111111:assumed-role/ci/build-42"


def call(system: RecordingStack, name: str, digest: Digest | None, tag: str | None, **more: Any) -> ApiCall:
    """A call that happens now, in CloudTrail's format."""
    made = ApiCall(
        id=more.pop("id", f"call-{len(system.trail.recorded)}"),
        name=name,
        at=system.clock(),
        actor=CI,
        repository=DEV,
        tag=tag,
        digest=digest,
        parameters={"repositoryName": DEV.name, **more},
    )
    system.trail.recorded.append(made)
    return made


def put(system: RecordingStack, content: str, tag: str) -> Digest:
    """A push without an event, recorded only by CloudTrail."""
    digest = system.registries.push(DEV, image(content), tag)
    call(system, "PutImage", digest, tag)
    return digest


def test_a_found_push_has_its_actor_and_its_time() -> None:
    system = RecordingStack()
    digest = put(system, "a", "v1.0.0")
    pushed = system.clock()
    system.clock.advance(minutes=10)
    outcome = system.reconcile()
    (row,) = system.rows()
    assert (row.digest, row.actor, row.at, row.via) == (digest, CI, pushed, Via.RECONCILED)
    assert outcome["trail"] == {str(DEV.registry): "read"}


def test_a_later_event_keeps_the_actor_and_adds_no_second_row() -> None:
    system = RecordingStack()
    digest = put(system, "a", "v1.0.0")
    pushed = system.clock()
    system.clock.advance(minutes=10)
    system.reconcile()
    system.deliver(push_event(DEV, digest, "v1.0.0", at=pushed - timedelta(seconds=1)))
    (row,) = system.rows()
    assert (row.actor, row.at, row.via) == (CI, pushed - timedelta(seconds=1), Via.EVENT)


def test_a_push_reported_by_its_event_gets_its_actor_from_the_next_run() -> None:
    system = RecordingStack()
    digest = put(system, "a", "v1.0.0")
    system.deliver(push_event(DEV, digest, "v1.0.0", at=system.clock()))
    assert system.rows()[0].actor is None
    system.clock.advance(minutes=10)
    system.reconcile(SCHEDULE)
    (row,) = system.rows()
    assert (row.actor, row.via) == (CI, Via.EVENT)


def test_a_tag_that_moved_twice_between_two_sweeps_has_the_state_in_between() -> None:
    system = RecordingStack()
    system.reconcile()
    system.clock.advance(minutes=5)
    digests = []
    for content in ("a", "b", "c"):
        digests.append(put(system, content, "latest"))
        system.clock.advance(minutes=1)
    system.reconcile()
    pushes = [r for r in system.rows(tag="latest") if r.kind == "pushed"]
    assert [r.digest for r in pushes] == digests
    assert {r.actor for r in pushes} == {CI}
    assert system.points_to("latest") == digests[-1]


def test_a_call_that_cloudtrail_shows_late_adds_the_actor() -> None:
    system = RecordingStack()
    digest = system.registries.push(DEV, image("a"), "v1.0.0")
    late = call(system, "PutImage", digest, "v1.0.0")
    system.trail.recorded.clear()
    system.clock.advance(minutes=1)
    system.reconcile(SCHEDULE)
    assert system.rows()[0].actor is None
    system.trail.recorded.append(late)
    system.clock.advance(minutes=15)
    system.reconcile(SCHEDULE)
    (row,) = system.rows()
    assert row.actor == CI


def test_the_actor_of_a_removal_is_recorded_for_each_tag() -> None:
    system = RecordingStack()
    app = image("a")
    for tag in ("v1.0.0", "latest"):
        system.registries.push(DEV, app, tag)
        system.deliver(push_event(DEV, app.digest, tag, at=system.clock()))
    system.clock.advance(minutes=5)
    system.registries.delete(DEV, app.digest)
    ids = [{"imageDigest": app.digest, "imageTag": t} for t in ("v1.0.0", "latest")]
    call(system, "BatchDeleteImage", app.digest, "v1.0.0", id="one", imageIds=ids)
    call(system, "BatchDeleteImage", app.digest, "latest", id="one#1", imageIds=ids)
    system.clock.advance(minutes=5)
    system.reconcile()
    removed = [r for r in system.rows() if r.kind == "untagged"]
    assert sorted((str(r.tag), str(r.actor)) for r in removed) == [("latest", CI), ("v1.0.0", CI)]


def test_a_removal_by_a_lifecycle_policy_is_no_settings_change() -> None:
    system = RecordingStack()
    app = image("a")
    system.registries.push(DEV, app, "v1.0.0")
    system.deliver(push_event(DEV, app.digest, "v1.0.0", at=system.clock()))
    system.clock.advance(minutes=5)
    system.registries.delete(DEV, app.digest)
    call(system, "PolicyExecutionEvent", app.digest, "v1.0.0")
    system.clock.advance(minutes=5)
    system.reconcile()
    assert system.facts(Kind.SETTINGS_CHANGED) == []
    assert [r.actor for r in system.rows(tag="v1.0.0") if r.kind == "untagged"] == [CI]


def test_a_settings_change_is_recorded_once_however_often_it_is_read() -> None:
    system = RecordingStack()
    put(system, "a", "v1.0.0")
    call(system, "PutImageTagMutability", None, None, imageTagMutability="MUTABLE")
    for _ in range(3):
        system.clock.advance(minutes=5)
        system.reconcile(SCHEDULE)
    (fact,) = system.facts(Kind.SETTINGS_CHANGED)
    assert (fact.actor, fact.detail["parameters"]["imageTagMutability"]) == (CI, "MUTABLE")


@pytest.mark.parametrize("error", [NotAllowed("no cloudtrail:LookupEvents"), Unreachable("cloudtrail is down")])
def test_an_unreadable_trail_is_reported_and_the_sweep_continues(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = RecordingStack()
    system.registries.push(DEV, image("a"), "v1.0.0")

    def page(
        registry: EcrRegistry, since: datetime, until: datetime, position: str | None, waiting: Waiting
    ) -> TrailPage:
        raise error

    monkeypatch.setattr(system.trail, "page", page)
    outcome = system.reconcile()
    assert outcome["trail"] == {str(DEV.registry): str(error)}
    assert outcome["registries"][0]["error"] is None
    assert len(system.rows()) == 1


def test_reading_the_trail_resumes_with_an_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    system = RecordingStack()
    asked: list[tuple[datetime, datetime]] = []
    real = system.trail.page

    def page(
        registry: EcrRegistry, since: datetime, until: datetime, position: str | None, waiting: Waiting
    ) -> TrailPage:
        asked.append((since, until))
        return real(registry, since, until, position, waiting)

    monkeypatch.setattr(system.trail, "page", page)
    put(system, "a", "v1.0.0")
    begin = system.clock()
    system.reconcile()
    assert asked == [(begin - timedelta(hours=1), begin)]
    later = system.clock.advance(hours=3)
    put(system, "b", "v1.1.0")
    asked.clear()
    system.reconcile()
    assert asked[0][0] == begin - timedelta(minutes=20)
    assert asked[-1][1] == later
    assert all(until - since <= timedelta(hours=1) for since, until in asked)
    assert [a[1] for a in asked[:-1]] == [a[0] for a in asked[1:]]


def test_scheduled_runs_read_at_most_ninety_days_back(monkeypatch: pytest.MonkeyPatch) -> None:
    system = RecordingStack()
    asked: list[tuple[datetime, datetime]] = []

    def page(
        registry: EcrRegistry, since: datetime, until: datetime, position: str | None, waiting: Waiting
    ) -> TrailPage:
        asked.append((since, until))
        return TrailPage((), None)

    monkeypatch.setattr(system.trail, "page", page)
    put(system, "a", "v1.0.0")
    for _ in range(91):
        system.reconcile(SCHEDULE)
    count = len(asked)
    assert min(since for since, _ in asked) == system.clock() - KEPT
    system.reconcile(SCHEDULE)
    assert [since for since, _ in asked[count:]] == [system.clock() - timedelta(minutes=20)]
    item = system.state.get(trails.PARTITION, str(DEV.registry))
    assert item is not None


def test_a_persons_run_does_not_read_ninety_days_back(monkeypatch: pytest.MonkeyPatch) -> None:
    system = RecordingStack()
    put(system, "a", "v1.0.0")
    asked: list[datetime] = []
    real = system.trail.page

    def page(
        registry: EcrRegistry, since: datetime, until: datetime, position: str | None, waiting: Waiting
    ) -> TrailPage:
        asked.append(since)
        return real(registry, since, until, position, waiting)

    monkeypatch.setattr(system.trail, "page", page)
    outcome = system.reconcile()
    assert len(asked) == 1
    assert not outcome["more"]


def test_a_call_that_cannot_be_recorded_does_not_stop_the_others() -> None:
    system = RecordingStack()
    first = put(system, "a", "v1.0.0")
    system.trail.recorded.clear()
    broken = call(system, "BatchDeleteImage", first, "v0.9.0")
    del broken
    put(system, "b", "v1.1.0")
    system.registries.fail(DEV.registry, NotAllowed("no ecr:DescribeImages"), methods={"describe"}, times=1)
    system.clock.advance(minutes=5)
    outcome = system.reconcile()
    assert len(outcome["problems"]) == 1
    assert "BatchDeleteImage" in outcome["problems"][0]
    assert [r.actor for r in system.rows(tag="v1.1.0")] == [CI]


@pytest.mark.parametrize("tags", [1, 20])
def test_an_image_of_many_calls_is_evaluated_once_each_time_they_are_read(
    monkeypatch: pytest.MonkeyPatch, tags: int
) -> None:
    system = RecordingStack()
    digests = [put(system, content, f"{content}-{number}") for content in ("a", "b") for number in range(tags)]
    evaluated: list[Digest] = []
    evaluate = Evaluator.digest

    def counted(self: Evaluator, digest: Digest, *given: Any, **named: Any) -> list[Decision]:
        evaluated.append(digest)
        return evaluate(self, digest, *given, **named)

    monkeypatch.setattr(Evaluator, "digest", counted)
    system.clock.advance(minutes=1)
    for _ in range(2):  # the second run reads the same calls again, in case that CloudTrail showed some late
        read_trail = system.process().all.read_trail
        assert read_trail.forward(DEV.registry, no_limit) == []
        assert sorted(evaluated) == sorted(set(digests))
        evaluated.clear()
    assert len(system.rows()) == 2 * tags


def busy(system: RecordingStack, calls: int, minutes: float) -> None:
    """Make this many calls in the last minutes, about a repository's settings."""
    until = system.clock()
    for number in range(calls):
        at = until - timedelta(minutes=minutes) * (number / calls)
        call(system, "PutImageTagMutability", None, None, id=f"busy-{number}", imageTagMutability="MUTABLE")
        system.trail.recorded[-1] = replace(system.trail.recorded[-1], at=at)


@pytest.mark.parametrize("pages_a_run", [1, 2, 7])
def test_any_page_budget_catches_up_with_a_busy_trail_without_delaying_sweeps(
    pages_a_run: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run can read only some pages, far fewer than an hour has; the reader is some hours behind."""
    system = RecordingStack()
    system.trail.page_size = 1
    system.reconcile()
    system.clock.advance(hours=3)
    busy(system, 60, 150)
    digest = put(system, "a", "v1.0.0")
    spent = 0.0
    real = system.trail.page

    def page(
        registry: EcrRegistry, since: datetime, until: datetime, position: str | None, waiting: Waiting
    ) -> TrailPage:
        nonlocal spent
        spent += 100
        return real(registry, since, until, position, waiting)

    monkeypatch.setattr(system.trail, "page", page)
    read = {fact.id for fact in system.facts(Kind.SETTINGS_CHANGED)}
    for _ in range(200):
        begun = spent
        budget = 4 * 100 * pages_a_run  # of which CloudTrail gets a share of a share
        outcome = system.reconcile(SCHEDULE, left=lambda begun=begun, budget=budget: budget - (spent - begun))
        assert spent - begun <= budget
        assert outcome["registries"][0]["error"] is None
        if outcome["trail"]:
            assert system.rows()[0].digest == digest
        found = {fact.id for fact in system.facts(Kind.SETTINGS_CHANGED)}
        assert found >= read
        read = found
        system.clock.advance(minutes=1)
        mark_active(system.state, DEV, system.clock())  # something happens there, as in a busy registry
        if len(read) == 60:
            break
    assert len(read) == 60


def test_a_page_that_was_read_is_not_requested_again_after_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    system = RecordingStack()
    system.trail.page_size = 5
    busy(system, 40, 50)
    positions: list[str | None] = []
    real = system.trail.page

    def page(
        registry: EcrRegistry, since: datetime, until: datetime, position: str | None, waiting: Waiting
    ) -> TrailPage:
        if len(positions) == 3:
            positions.append("crashed")
            raise Unreachable("CloudTrail is down")
        positions.append(position)
        return real(registry, since, until, position, waiting)

    monkeypatch.setattr(system.trail, "page", page)
    put(system, "a", "v1.0.0")
    system.reconcile()
    system.reconcile()
    assert positions[:5] == [None, "1", "2", "crashed", "3"]
    assert len(system.facts(Kind.SETTINGS_CHANGED)) == 40
