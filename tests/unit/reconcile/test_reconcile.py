"""reconcile: changes without an event are found, once, and without delaying anything else."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count

import pytest

from support.fakes.ports import listed, stored
from support.fakes.recording import HOUR, SCHEDULE, RecordingStack, policy
from support.images.builders import DEV, PROD, delete_event, image, multi_arch, push_event, signature
from tallyman.domain.history.facts import Kind, Via
from tallyman.domain.images.details import ScanReport
from tallyman.domain.names import Repository
from tallyman.errors import BadInput, BadName, NotAllowed
from tallyman.state import pending as pending_items
from tallyman.state import sweeps


def run_until_done(world: RecordingStack, looks: int) -> list[dict[str, object]]:
    """Run as the command line does: again with the token while there is more. A run's deadline allows this many reads
    of its clock."""
    outcomes = [world.reconcile(left=countdown(looks))]
    while outcomes[-1]["more"]:
        outcomes.append(world.reconcile({"token": outcomes[-1]["token"]}, left=countdown(looks)))
        assert len(outcomes) < 50
    return outcomes


def countdown(looks: int) -> Callable[[], float]:
    """A deadline that comes nearer with each read."""
    times = count(looks * 10.0, -10.0)
    return lambda: next(times)


def test_a_push_without_an_event_is_in_the_history_with_the_registrys_time() -> None:
    world = RecordingStack()
    digest = world.registries.push(DEV, image("a"), "v1.0.0")
    pushed = world.clock()
    world.clock.advance(minutes=10)
    outcome = world.reconcile()
    (row,) = world.rows()
    assert (row.kind, row.tag, row.digest, row.at, row.via) == ("pushed", "v1.0.0", digest, pushed, Via.RECONCILED)
    assert world.points_to("v1.0.0") == digest
    assert outcome["found"]["pushed"] == 1
    assert outcome["registries"][0] == {
        "registry": str(DEV.registry),
        "repositories": 1,
        "images": 1,
        "missed": 0,
        "error": None,
    }


def test_a_second_sweep_writes_no_fact() -> None:
    world = RecordingStack()
    world.registries.push(DEV, multi_arch("a"), "v1.0.0")
    world.reconcile()
    facts = world.ledger.facts
    world.clock.advance(minutes=15)
    outcome = world.reconcile()
    assert world.ledger.facts == facts
    assert outcome["found"] == {}


@pytest.mark.parametrize("late", [0, 3, 7200])
def test_an_event_that_arrives_after_the_sweep_adds_no_second_row(late: int) -> None:
    world = RecordingStack()
    digest = world.registries.push(DEV, image("a"), "v1.0.0")
    pushed = world.clock()
    world.clock.advance(minutes=1)
    world.reconcile()
    world.clock.advance(seconds=late)
    event = push_event(DEV, digest, "v1.0.0", at=pushed)
    world.told(event, event)
    world.reconcile()
    (row,) = world.rows()
    assert (row.at, row.via) == (pushed, Via.EVENT)


def test_a_tag_move_has_the_sweeps_time_until_its_event_arrives() -> None:
    world = RecordingStack()
    first, second = image("a"), image("b")
    world.registries.push(DEV, second, "v0.1.0")  # known under another tag, long before
    world.told(push_event(DEV, second.digest, "v0.1.0", at=world.clock()))
    world.clock.advance(hours=1)
    world.registries.push(DEV, first, "latest")
    world.told(push_event(DEV, first.digest, "latest", at=world.clock()))
    moved = world.clock.advance(hours=1)
    world.registries.push(DEV, second, "latest")
    sweep = world.clock.advance(minutes=5)
    outcome = world.reconcile()
    assert [(r.kind, r.digest, r.at) for r in world.rows(tag="latest")][1:] == [
        ("pushed", second.digest, sweep),
        ("tag_moved", second.digest, sweep),
    ]
    assert outcome["registries"][0]["missed"] == 1
    world.told(push_event(DEV, second.digest, "latest", at=moved))
    assert [(r.kind, r.at) for r in world.rows(tag="latest")][1:] == [("pushed", moved), ("tag_moved", moved)]


def test_an_older_image_that_took_over_a_tag_comes_after_the_tags_previous_image() -> None:
    world = RecordingStack()
    old = world.registries.push(DEV, image("old"), "latest")  # never reported
    world.clock.advance(hours=1)
    new = world.registries.push(DEV, image("new"), "latest")
    world.told(push_event(DEV, new, "latest", at=world.clock()))
    world.clock.advance(hours=1)
    world.registries.push(DEV, image("old"), "latest")
    world.reconcile()
    assert [r.digest for r in world.rows(tag="latest") if r.kind == "pushed"] == [new, old]


def test_the_next_sweep_corrects_an_outdated_event() -> None:
    world = RecordingStack()
    first = world.registries.push(DEV, image("a"), "latest")
    pushed = world.clock()
    world.clock.advance(minutes=1)
    second = world.registries.push(DEV, image("b"), "latest")
    world.clock.advance(minutes=1)
    world.told(push_event(DEV, first, "latest", at=pushed))  # reads that latest is second; its event is lost
    world.reconcile()
    assert [r.digest for r in world.rows(tag="latest") if r.kind == "pushed"] == [first, second]


def test_a_removed_tag_and_a_removed_image_are_found() -> None:
    world = RecordingStack()
    app, other = image("a"), image("b")
    for tag in ("v1.0.0", "latest"):
        world.registries.push(DEV, app, tag)
        world.told(push_event(DEV, app.digest, tag, at=world.clock()))
    world.registries.push(DEV, other, "v2.0.0")
    world.told(push_event(DEV, other.digest, "v2.0.0", at=world.clock()))
    world.clock.advance(minutes=5)
    world.registries.untag(DEV, "latest")
    world.registries.delete(DEV, other.digest)
    outcome = world.reconcile()
    assert [(r.kind, r.tag, r.digest) for r in world.rows() if r.kind != "pushed"] == [
        ("deleted", None, other.digest),
        ("untagged", "latest", app.digest),
    ]
    assert (world.points_to("latest"), world.points_to("v2.0.0")) == (None, None)
    assert (outcome["found"]["deleted"], outcome["found"]["untagged"]) == (1, 1)
    assert world.reconcile()["registries"][0]["missed"] == 0


def test_an_image_that_is_pushed_again_after_its_removal_is_found_again() -> None:
    world = RecordingStack()
    app = image("a")
    for _ in range(2):
        world.registries.push(DEV, app, "v1.0.0")
        world.clock.advance(minutes=20)
        world.reconcile()
        world.registries.delete(DEV, app.digest)
        world.clock.advance(minutes=20)
        world.reconcile()
        world.clock.advance(minutes=20)
    assert [r.kind for r in world.rows()] == ["pushed", "deleted", "pushed", "deleted"]


def test_all_images_of_a_deleted_repository_are_removed() -> None:
    world = RecordingStack()
    digest = world.registries.push(DEV, image("a"), "v1.0.0")
    world.reconcile()
    del world.registries._held[DEV]
    world.clock.advance(minutes=15)
    world.reconcile()
    assert [(r.kind, r.digest) for r in world.rows() if r.tag is None] == [("deleted", digest)]
    assert stored(world.state, sweeps.PARTITION, str(DEV)) is None
    assert world.reconcile()["found"] == {}


def test_archived_and_restored_images_are_found() -> None:
    world = RecordingStack()
    digest = world.registries.push(DEV, image("a"), "v1.0.0")
    world.registries.held(DEV).archived.add(digest)
    world.reconcile()
    world.registries.held(DEV).archived.clear()
    world.clock.advance(minutes=15)
    world.reconcile()
    world.clock.advance(minutes=15)
    world.reconcile()
    assert [r.kind for r in world.rows() if r.tag is None] == ["archived", "restored"]


def test_found_changes_count_as_missed_per_environment_once_the_repository_has_had_events() -> None:
    world = RecordingStack()
    first = world.registries.push(DEV, image("a"), "v1.0.0")
    world.told(push_event(DEV, first, "v1.0.0", at=world.clock()))
    world.clock.advance(minutes=5)
    world.registries.push(DEV, image("b"), "v1.1.0")
    world.clock.advance(minutes=5)
    outcome = world.reconcile()
    assert outcome["missed"] == {"dev": 1, "prod": 0}
    (missed,) = world.facts(Kind.MISSED)
    assert (missed.partition, missed.detail) == ("E#dev", {"count": 1, "repository": str(DEV)})
    world.clock.advance(minutes=15)
    world.registries.push(DEV, image("c"), "v1.2.0")
    assert world.reconcile()["missed"]["dev"] == 1


def test_changes_before_the_first_sweep_are_not_missed_events() -> None:
    world = RecordingStack()
    for n in range(3):
        world.registries.push(DEV, image(str(n)), f"v1.{n}.0")
        world.clock.advance(hours=24)
    assert world.reconcile()["missed"] == {"dev": 0, "prod": 0}
    assert world.facts(Kind.MISSED) == []
    assert len(world.rows()) == 3


def test_a_backfill_longer_than_one_run_is_resumed() -> None:
    world = RecordingStack()
    for n in range(60):
        world.registries.push(DEV, image(str(n)), f"v1.{n}.0")
    outcomes = run_until_done(world, 40)
    assert len(outcomes) > 2
    assert len({o["token"] for o in outcomes}) == 1
    assert len(world.rows()) == 60
    assert [m for m, _, _ in world.registries.requests if m == "manifest"] == []
    asked = [digest for m, _, batch in world.registries.requests if m == "manifests" for digest in batch]
    assert len(set(asked)) == 60
    assert len(asked) < 60 + 25 * len(outcomes)  # what a run did not reach is read again with its chunk
    assert len(listed(world.state, pending_items.partition("prod"))) == 60  # each was evaluated
    assert world.facts(Kind.MISSED) == []


def test_listed_images_are_not_described_one_by_one() -> None:
    world = RecordingStack()
    world.registries.push(DEV, multi_arch("a"), "v1.0.0")
    world.reconcile()
    assert not [m for m, _, _ in world.registries.requests if m == "describe"]


def test_one_registry_that_does_not_answer_does_not_stop_the_others() -> None:
    world = RecordingStack()
    world.registries.fail(DEV.registry)
    world.registries.push(PROD, image("a"), "v1.0.0")
    outcome = world.reconcile()
    assert [(bool(r["error"]), r["repositories"]) for r in outcome["registries"]] == [(True, 0), (False, 1), (False, 1)]
    assert "does not answer" in outcome["registries"][0]["error"]
    assert len(world.rows(PROD)) == 1
    assert not outcome["more"]


def test_a_registry_that_stops_answering_is_reported_and_swept_next_time() -> None:
    world = RecordingStack()
    world.registries.push(DEV, image("a"), "v1.0.0")
    world.registries.fail(DEV.registry, methods={"manifests"}, times=1)
    first = world.reconcile()
    assert "widget-server" in first["registries"][0]["error"]
    assert world.reconcile()["registries"][0]["error"] is None
    assert len(world.rows()) == 1


def test_scheduled_runs_have_two_speeds() -> None:
    world = RecordingStack()
    quiet = [Repository(DEV.registry, f"rocketseat/quiet-{n:03d}") for n in range(150)]
    for repository in quiet:
        world.registries.add(repository)
    digest = world.registries.push(DEV, image("a"), "v1.0.0")
    world.told(push_event(DEV, digest, "v1.0.0", at=world.clock()))

    def looked_at() -> list[Repository]:
        done = [r for m, r, _ in world.registries.requests if m == "images"]
        world.registries.requests.clear()
        return [r for r in done if isinstance(r, Repository)]

    seen: list[Repository] = []
    for _ in range(3):
        world.clock.advance(minutes=15)
        world.reconcile(SCHEDULE)
        now = looked_at()
        assert DEV in now  # something waits there
        assert len([r for r in now if r in quiet]) <= 50
        seen += now
    assert set(quiet) <= set(seen)
    assert all(seen.count(r) == 1 for r in quiet)


def test_a_persons_run_sweeps_only_the_requested_repositories() -> None:
    world = RecordingStack()
    other = Repository(DEV.registry, "rocketseat/other")
    world.registries.add(other)
    for repository in (DEV, other, PROD):
        world.registries.push(repository, image("a"), "v1.0.0")
    outcome = world.reconcile({"repositories": ["rocketseat/wid*"], "environment": "dev"})
    assert [r["repositories"] for r in outcome["registries"]] == [1, 0, 0]
    assert (len(world.rows(DEV)), world.rows(other), world.rows(PROD)) == (1, [], [])
    assert world.reconcile({"repositories": [str(other)]})["registries"][0]["repositories"] == 1
    assert world.reconcile({"registry": str(PROD.registry)})["registries"][0]["repositories"] == 1


def test_an_empty_list_of_repositories_does_nothing() -> None:
    world = RecordingStack()
    world.registries.push(DEV, image("a"), "v1.0.0")
    outcome = world.reconcile({"repositories": []})
    assert world.ledger.facts == []
    assert not outcome["more"]


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        ({"repositories": "dev/app"}, "list of strings"),
        ({"repositories": [1]}, "list of strings"),
        ({"token": 7}, "'token' must be a string"),
        ({"environment": "prud"}, "did you mean 'prod'"),
        ({"registry": "nowhere"}, "account/region"),
    ],
)
def test_invalid_requests_to_reconcile_are_reported(payload: dict[str, object], words: str) -> None:
    with pytest.raises((BadInput, BadName), match=words):
        RecordingStack().reconcile(payload)


def test_a_sweep_evaluates_an_ended_soak() -> None:
    world = RecordingStack(policy(soak="24h"))
    digest = world.registries.push(DEV, image("a"), "v1.0.0")
    world.told(push_event(DEV, digest, "v1.0.0", at=world.clock()))
    world.clock.advance(hours=23)
    assert world.reconcile(SCHEDULE)["retried"] == 0
    assert world.hints.to("promote") == []
    world.clock.advance(hours=1)
    assert world.reconcile(SCHEDULE)["retried"] == 1
    assert [h["digest"] for h in world.hints.to("promote")] == [digest]


def test_a_lost_scan_is_read_and_a_missing_one_is_started_once_a_day() -> None:
    world = RecordingStack(policy(scan={"max": {"critical": 0}}))
    app = multi_arch("a")
    children = sorted(d for d in app.manifests if d != app.digest)
    world.registries.push(DEV, app, "v1.0.0")
    world.told(push_event(DEV, app.digest, "v1.0.0", at=world.clock()))
    world.reconcile(SCHEDULE)
    world.reconcile(SCHEDULE)
    started = [a for m, _, a in world.registries.requests if m == "start_scan"]
    assert sorted(started) == children
    for child in children:
        world.registries.set_scan(DEV, child)
    outcome = world.reconcile(SCHEDULE)
    assert outcome["found"]["scanned"] == 2
    assert [h["digest"] for h in world.hints.to("promote")] == [app.digest]


def test_a_scan_that_failed_is_started_again_after_a_day() -> None:
    world = RecordingStack(policy(scan={"max": {"critical": 0}}))
    digest = world.registries.push(DEV, image("a"), "v1.0.0")
    world.told(push_event(DEV, digest, "v1.0.0", at=world.clock()))
    for _ in range(4):
        world.registries.set_scan(DEV, digest, ScanReport("failed", completed_at=world.clock()))
        world.reconcile(SCHEDULE)
        world.clock.advance(hours=12)
    assert len([m for m, _, _ in world.registries.requests if m == "start_scan"]) == 2
    assert world.hints.to("promote") == []


def test_an_image_with_a_lost_event_is_verified() -> None:
    world = RecordingStack(policy(verified=True))
    digest = world.registries.push(DEV, image("a"), "v1.0.0")
    world.registries.push(PROD, image("b"), "v9.0.0")
    world.reconcile()
    assert [h["verify"] for h in world.hints.to("verify")] == [
        {"repository": str(DEV), "digest": digest, "tag": "v1.0.0", "request": None}
    ]


def test_a_verification_that_was_not_carried_out_is_requested_again_after_an_hour() -> None:
    world = RecordingStack(policy(verified=True))
    digest = world.registries.push(DEV, image("a"), "v1.0.0")
    world.told(push_event(DEV, digest, "v1.0.0", at=world.clock()))
    world.reconcile(SCHEDULE)
    assert world.hints.to("verify") == []  # it may still be working
    world.clock.advance(hours=1)
    world.reconcile(SCHEDULE)
    world.reconcile(SCHEDULE)
    assert len(world.hints.to("verify")) == 1
    world.verify(digest)
    world.clock.advance(hours=2)
    world.reconcile(SCHEDULE)
    assert len(world.hints.to("verify")) == 1
    assert len(world.hints.to("promote")) == 1


def test_a_persons_run_requests_a_lost_verification_at_once() -> None:
    world = RecordingStack(policy(verified=True))
    digest = world.registries.push(DEV, image("a"), "v1.0.0")
    world.told(push_event(DEV, digest, "v1.0.0", at=world.clock()))
    world.reconcile()
    assert [h["verify"]["digest"] for h in world.hints.to("verify")] == [digest]


def test_an_image_that_cannot_be_evaluated_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    world = RecordingStack(policy(scan={"max": {"critical": 0}}))
    digests = [world.registries.push(DEV, image(str(n)), f"v1.{n}.0") for n in range(3)]
    world.told(*(push_event(DEV, d, f"v1.{n}.0", at=world.clock()) for n, d in enumerate(digests)))
    for digest in digests[1:]:
        world.registries.set_scan(DEV, digest)
    real = world.registries.scan

    def scan(repository: Repository, digest: str) -> ScanReport:
        if digest == digests[0]:
            raise NotAllowed("no ecr:DescribeImageScanFindings")
        return real(repository, digest)  # type: ignore[arg-type]

    monkeypatch.setattr(world.registries, "scan", scan)
    outcome = world.reconcile(SCHEDULE)
    assert {h["digest"] for h in world.hints.to("promote")} == set(digests[1:])
    assert len(outcome["problems"]) == 1
    assert digests[0] in outcome["problems"][0]


def test_stowaways_of_the_first_sweep_are_in_one_notice_and_later_ones_in_one_each() -> None:
    world = RecordingStack()
    for n in range(12):
        world.registries.push(PROD, image(str(n)), f"v1.{n}.0")
    outcome = world.reconcile()
    ((subject, text, attributes),) = world.notices.published
    assert (subject, attributes["kind"]) == ("stowaways in prod: rocketseat/widget-server", "stowaway")
    assert "12 images" in text
    assert outcome["found"]["stowaways"] == len(world.facts(Kind.STOWAWAY)) == 12
    world.clock.advance(minutes=15)
    world.registries.push(PROD, image("late"), "v2.0.0")
    world.reconcile()
    world.reconcile()
    assert [s for s, _, _ in world.notices.published[1:]] == ["stowaway in prod: rocketseat/widget-server"]


def test_the_combined_notice_is_sent_even_if_the_first_sweep_took_several_runs() -> None:
    world = RecordingStack()
    for n in range(30):
        world.registries.push(PROD, image(str(n)), f"v1.{n}.0")
    run_until_done(world, 20)
    ((_, text, _),) = world.notices.published
    assert "30 images" in text


def test_storage_is_the_sum_of_image_sizes_counting_an_indexs_images_once() -> None:
    world = RecordingStack()
    app = multi_arch("a")
    world.registries.push(DEV, app, "v1.0.0")
    children = [d for d in world.registries.images(DEV) if d.digest != app.digest]
    report = world.reconcile()
    assert report["storage"] == {"dev": sum(c.size or 0 for c in children), "prod": 0}
    assert report["images"] == {"dev": len(children) + 1, "prod": 0}


def test_a_found_referrer_is_recorded_for_its_subject() -> None:
    world = RecordingStack()
    app = image("a")
    world.registries.push(DEV, app, "v1.0.0")
    world.registries.push(DEV, signature(app))
    world.reconcile()
    assert [f.digest for f in world.facts(Kind.REFERRED)] == [app.digest]


def test_an_event_that_arrived_during_a_sweep_wins_over_its_listing(monkeypatch: pytest.MonkeyPatch) -> None:
    world = RecordingStack()
    first, second = image("a"), image("b")
    world.registries.push(DEV, first, "latest")
    real = world.registries.images

    def images(repository: Repository) -> Iterator[object]:
        listing = list(real(repository))
        if repository == DEV and world.points_to("latest") is None:
            world.clock.advance(seconds=30)
            world.registries.push(DEV, second, "latest")
            world.told(push_event(DEV, second.digest, "latest", at=world.clock()))
        return iter(listing)

    monkeypatch.setattr(world.registries, "images", images)
    world.reconcile()
    assert world.points_to("latest") == second.digest
    assert [r.digest for r in world.rows(tag="latest") if r.kind == "pushed"][-1] == second.digest
    world.reconcile()
    assert world.points_to("latest") == second.digest


def test_a_delete_event_after_the_sweep_found_the_removal_is_the_same_removal() -> None:
    world = RecordingStack()
    app = image("a")
    world.registries.push(DEV, app, "v1.0.0")
    world.told(push_event(DEV, app.digest, "v1.0.0", at=world.clock()))
    removed = world.clock.advance(minutes=5)
    world.registries.delete(DEV, app.digest)
    world.clock.advance(minutes=5)
    world.reconcile()
    world.told(delete_event(DEV, app.digest, at=removed))
    (row,) = [r for r in world.rows() if r.kind == "deleted"]
    assert (row.at, row.via) == (removed, Via.EVENT)


def test_the_position_has_the_time_of_a_repositorys_sweep() -> None:
    world = RecordingStack()
    world.reconcile()
    before = stored(world.state, sweeps.PARTITION, str(DEV))
    world.clock.advance(seconds=HOUR.total_seconds())
    world.reconcile()
    after = stored(world.state, sweeps.PARTITION, str(DEV))
    assert before
    assert after
    assert before.data["swept"] < after.data["swept"]
    assert after.data["open"] == []
    assert replace(after, revision=0, data={}) == replace(before, revision=0, data={})
