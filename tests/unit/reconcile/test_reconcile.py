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


def run_until_done(system: RecordingStack, looks: int) -> list[dict[str, object]]:
    """Run as the command line does: again with the token while there is more. A run's deadline allows this many reads
    of its clock."""
    outcomes = [system.reconcile(left=countdown(looks))]
    while outcomes[-1]["more"]:
        outcomes.append(system.reconcile({"token": outcomes[-1]["token"]}, left=countdown(looks)))
        assert len(outcomes) < 50
    return outcomes


def countdown(looks: int) -> Callable[[], float]:
    """A deadline that comes nearer with each read."""
    times = count(looks * 10.0, -10.0)
    return lambda: next(times)


def test_a_push_without_an_event_is_in_the_history_with_the_registrys_time() -> None:
    system = RecordingStack()
    digest = system.registries.push(DEV, image("a"), "v1.0.0")
    pushed = system.clock()
    system.clock.advance(minutes=10)
    outcome = system.reconcile()
    (row,) = system.rows()
    assert (row.kind, row.tag, row.digest, row.at, row.via) == ("pushed", "v1.0.0", digest, pushed, Via.RECONCILED)
    assert system.points_to("v1.0.0") == digest
    assert outcome["found"]["pushed"] == 1
    assert outcome["registries"][0] == {
        "registry": str(DEV.registry),
        "repositories": 1,
        "images": 1,
        "missed": 0,
        "error": None,
    }


def test_a_second_sweep_writes_no_fact() -> None:
    system = RecordingStack()
    system.registries.push(DEV, multi_arch("a"), "v1.0.0")
    system.reconcile()
    facts = system.ledger.facts
    system.clock.advance(minutes=15)
    outcome = system.reconcile()
    assert system.ledger.facts == facts
    assert outcome["found"] == {}


@pytest.mark.parametrize("late", [0, 3, 7200])
def test_an_event_that_arrives_after_the_sweep_adds_no_second_row(late: int) -> None:
    system = RecordingStack()
    digest = system.registries.push(DEV, image("a"), "v1.0.0")
    pushed = system.clock()
    system.clock.advance(minutes=1)
    system.reconcile()
    system.clock.advance(seconds=late)
    event = push_event(DEV, digest, "v1.0.0", at=pushed)
    system.deliver(event, event)
    system.reconcile()
    (row,) = system.rows()
    assert (row.at, row.via) == (pushed, Via.EVENT)


def test_a_tag_move_has_the_sweeps_time_until_its_event_arrives() -> None:
    system = RecordingStack()
    first, second = image("a"), image("b")
    system.registries.push(DEV, second, "v0.1.0")  # known under another tag, long before
    system.deliver(push_event(DEV, second.digest, "v0.1.0", at=system.clock()))
    system.clock.advance(hours=1)
    system.registries.push(DEV, first, "latest")
    system.deliver(push_event(DEV, first.digest, "latest", at=system.clock()))
    moved = system.clock.advance(hours=1)
    system.registries.push(DEV, second, "latest")
    sweep = system.clock.advance(minutes=5)
    outcome = system.reconcile()
    assert [(r.kind, r.digest, r.at) for r in system.rows(tag="latest")][1:] == [
        ("pushed", second.digest, sweep),
        ("tag_moved", second.digest, sweep),
    ]
    assert outcome["registries"][0]["missed"] == 1
    system.deliver(push_event(DEV, second.digest, "latest", at=moved))
    assert [(r.kind, r.at) for r in system.rows(tag="latest")][1:] == [("pushed", moved), ("tag_moved", moved)]


def test_an_older_image_that_took_over_a_tag_comes_after_the_tags_previous_image() -> None:
    system = RecordingStack()
    old = system.registries.push(DEV, image("old"), "latest")  # never reported
    system.clock.advance(hours=1)
    new = system.registries.push(DEV, image("new"), "latest")
    system.deliver(push_event(DEV, new, "latest", at=system.clock()))
    system.clock.advance(hours=1)
    system.registries.push(DEV, image("old"), "latest")
    system.reconcile()
    assert [r.digest for r in system.rows(tag="latest") if r.kind == "pushed"] == [new, old]


def test_the_next_sweep_corrects_an_outdated_event() -> None:
    system = RecordingStack()
    first = system.registries.push(DEV, image("a"), "latest")
    pushed = system.clock()
    system.clock.advance(minutes=1)
    second = system.registries.push(DEV, image("b"), "latest")
    system.clock.advance(minutes=1)
    system.deliver(push_event(DEV, first, "latest", at=pushed))  # reads that latest is second; its event is lost
    system.reconcile()
    assert [r.digest for r in system.rows(tag="latest") if r.kind == "pushed"] == [first, second]


def test_a_removed_tag_and_a_removed_image_are_found() -> None:
    system = RecordingStack()
    app, other = image("a"), image("b")
    for tag in ("v1.0.0", "latest"):
        system.registries.push(DEV, app, tag)
        system.deliver(push_event(DEV, app.digest, tag, at=system.clock()))
    system.registries.push(DEV, other, "v2.0.0")
    system.deliver(push_event(DEV, other.digest, "v2.0.0", at=system.clock()))
    system.clock.advance(minutes=5)
    system.registries.untag(DEV, "latest")
    system.registries.delete(DEV, other.digest)
    outcome = system.reconcile()
    assert [(r.kind, r.tag, r.digest) for r in system.rows() if r.kind != "pushed"] == [
        ("deleted", None, other.digest),
        ("untagged", "latest", app.digest),
    ]
    assert (system.points_to("latest"), system.points_to("v2.0.0")) == (None, None)
    assert (outcome["found"]["deleted"], outcome["found"]["untagged"]) == (1, 1)
    assert system.reconcile()["registries"][0]["missed"] == 0


def test_an_image_that_is_pushed_again_after_its_removal_is_found_again() -> None:
    system = RecordingStack()
    app = image("a")
    for _ in range(2):
        system.registries.push(DEV, app, "v1.0.0")
        system.clock.advance(minutes=20)
        system.reconcile()
        system.registries.delete(DEV, app.digest)
        system.clock.advance(minutes=20)
        system.reconcile()
        system.clock.advance(minutes=20)
    assert [r.kind for r in system.rows()] == ["pushed", "deleted", "pushed", "deleted"]


def test_all_images_of_a_deleted_repository_are_removed() -> None:
    system = RecordingStack()
    digest = system.registries.push(DEV, image("a"), "v1.0.0")
    system.reconcile()
    del system.registries._held[DEV]
    system.clock.advance(minutes=15)
    system.reconcile()
    assert [(r.kind, r.digest) for r in system.rows() if r.tag is None] == [("deleted", digest)]
    assert stored(system.state, sweeps.PARTITION, str(DEV)) is None
    assert system.reconcile()["found"] == {}


def test_archived_and_restored_images_are_found() -> None:
    system = RecordingStack()
    app = multi_arch("a", attested=True)
    system.registries.push(DEV, app, "v1.0.0")
    system.registries.push(DEV, image("b"), "v2.0.0")
    system.registries.held(DEV).archived.update(app.manifests)
    outcome = system.reconcile()
    assert (outcome["registries"][0]["error"], outcome["more"]) == (None, False)
    assert {row.tag for row in system.rows() if row.kind == "pushed"} >= {"v1.0.0", "v2.0.0"}
    assert not system.facts(Kind.CHILD_OF)  # the index was never readable
    system.registries.held(DEV).archived.clear()
    system.clock.advance(minutes=15)
    system.reconcile()
    system.clock.advance(minutes=15)
    system.reconcile()
    assert [r.kind for r in system.rows() if r.tag is None and r.digest == app.digest] == ["archived", "restored"]
    assert {f.digest for f in system.facts(Kind.CHILD_OF)} == set(app.manifests) - {app.digest}
    assert len(system.facts(Kind.REFERRED)) == 2  # an attestation of each platform


def test_found_changes_count_as_missed_per_environment_once_the_repository_has_had_events() -> None:
    system = RecordingStack()
    first = system.registries.push(DEV, image("a"), "v1.0.0")
    system.deliver(push_event(DEV, first, "v1.0.0", at=system.clock()))
    system.clock.advance(minutes=5)
    system.registries.push(DEV, image("b"), "v1.1.0")
    system.clock.advance(minutes=5)
    outcome = system.reconcile()
    assert outcome["missed"] == {"dev": 1, "prod": 0}
    (missed,) = system.facts(Kind.MISSED)
    assert (missed.partition, missed.detail) == ("E#dev", {"count": 1, "repository": str(DEV)})
    system.clock.advance(minutes=15)
    system.registries.push(DEV, image("c"), "v1.2.0")
    assert system.reconcile()["missed"]["dev"] == 1


def test_changes_before_the_first_sweep_are_not_missed_events() -> None:
    system = RecordingStack()
    for n in range(3):
        system.registries.push(DEV, image(str(n)), f"v1.{n}.0")
        system.clock.advance(hours=24)
    assert system.reconcile()["missed"] == {"dev": 0, "prod": 0}
    assert system.facts(Kind.MISSED) == []
    assert len(system.rows()) == 3


def test_a_backfill_longer_than_one_run_is_resumed() -> None:
    system = RecordingStack()
    for n in range(60):
        system.registries.push(DEV, image(str(n)), f"v1.{n}.0")
    outcomes = run_until_done(system, 40)
    assert len(outcomes) > 2
    assert len({o["token"] for o in outcomes}) == 1
    assert len(system.rows()) == 60
    assert [m for m, _, _ in system.registries.requests if m == "manifest"] == []
    asked = [digest for m, _, batch in system.registries.requests if m == "manifests" for digest in batch]
    assert len(set(asked)) == 60
    assert len(asked) < 60 + 25 * len(outcomes)  # what a run did not reach is read again with its chunk
    assert len(listed(system.state, pending_items.partition("prod"))) == 60  # each was evaluated
    assert system.facts(Kind.MISSED) == []


def test_listed_images_are_not_described_one_by_one() -> None:
    system = RecordingStack()
    system.registries.push(DEV, multi_arch("a"), "v1.0.0")
    system.reconcile()
    assert not [m for m, _, _ in system.registries.requests if m == "describe"]


def test_one_registry_that_does_not_answer_does_not_stop_the_others() -> None:
    system = RecordingStack()
    system.registries.fail(DEV.registry)
    system.registries.push(PROD, image("a"), "v1.0.0")
    outcome = system.reconcile()
    assert [(bool(r["error"]), r["repositories"]) for r in outcome["registries"]] == [(True, 0), (False, 1), (False, 1)]
    assert "does not answer" in outcome["registries"][0]["error"]
    assert len(system.rows(PROD)) == 1
    assert not outcome["more"]


def test_a_registry_that_stops_answering_is_reported_and_swept_next_time() -> None:
    system = RecordingStack()
    system.registries.push(DEV, image("a"), "v1.0.0")
    system.registries.fail(DEV.registry, methods={"manifests"}, times=1)
    first = system.reconcile()
    assert "widget-server" in first["registries"][0]["error"]
    assert system.reconcile()["registries"][0]["error"] is None
    assert len(system.rows()) == 1


def test_scheduled_runs_have_two_speeds() -> None:
    system = RecordingStack()
    quiet = [Repository(DEV.registry, f"rocketseat/quiet-{n:03d}") for n in range(150)]
    for repository in quiet:
        system.registries.add(repository)
    digest = system.registries.push(DEV, image("a"), "v1.0.0")
    system.deliver(push_event(DEV, digest, "v1.0.0", at=system.clock()))

    def looked_at() -> list[Repository]:
        done = [r for m, r, _ in system.registries.requests if m == "images"]
        system.registries.requests.clear()
        return [r for r in done if isinstance(r, Repository)]

    seen: list[Repository] = []
    for _ in range(3):
        system.clock.advance(minutes=15)
        system.reconcile(SCHEDULE)
        now = looked_at()
        assert DEV in now  # something waits there
        assert len([r for r in now if r in quiet]) <= 50
        seen += now
    assert set(quiet) <= set(seen)
    assert all(seen.count(r) == 1 for r in quiet)


def test_a_persons_run_sweeps_only_the_requested_repositories() -> None:
    system = RecordingStack()
    other = Repository(DEV.registry, "rocketseat/other")
    system.registries.add(other)
    for repository in (DEV, other, PROD):
        system.registries.push(repository, image("a"), "v1.0.0")
    outcome = system.reconcile({"repositories": ["rocketseat/wid*"], "environment": "dev"})
    assert [r["repositories"] for r in outcome["registries"]] == [1, 0, 0]
    assert (len(system.rows(DEV)), system.rows(other), system.rows(PROD)) == (1, [], [])
    assert system.reconcile({"repositories": [str(other)]})["registries"][0]["repositories"] == 1
    assert system.reconcile({"registry": str(PROD.registry)})["registries"][0]["repositories"] == 1


def test_an_empty_list_of_repositories_does_nothing() -> None:
    system = RecordingStack()
    system.registries.push(DEV, image("a"), "v1.0.0")
    outcome = system.reconcile({"repositories": []})
    assert system.ledger.facts == []
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
    system = RecordingStack(policy(soak="24h"))
    digest = system.registries.push(DEV, image("a"), "v1.0.0")
    system.deliver(push_event(DEV, digest, "v1.0.0", at=system.clock()))
    system.clock.advance(hours=23)
    assert system.reconcile(SCHEDULE)["retried"] == 0
    assert system.hints.to("promote") == []
    system.clock.advance(hours=1)
    assert system.reconcile(SCHEDULE)["retried"] == 1
    assert [h["digest"] for h in system.hints.to("promote")] == [digest]


def test_a_lost_scan_is_read_and_a_missing_one_is_started_once_a_day() -> None:
    system = RecordingStack(policy(scan={"max": {"critical": 0}}))
    app = multi_arch("a")
    children = sorted(d for d in app.manifests if d != app.digest)
    system.registries.push(DEV, app, "v1.0.0")
    system.deliver(push_event(DEV, app.digest, "v1.0.0", at=system.clock()))
    system.reconcile(SCHEDULE)
    system.reconcile(SCHEDULE)
    started = [a for m, _, a in system.registries.requests if m == "start_scan"]
    assert sorted(started) == children
    for child in children:
        system.registries.set_scan(DEV, child)
    outcome = system.reconcile(SCHEDULE)
    assert outcome["found"]["scanned"] == 2
    assert [h["digest"] for h in system.hints.to("promote")] == [app.digest]


def test_a_scan_that_failed_is_started_again_after_a_day() -> None:
    system = RecordingStack(policy(scan={"max": {"critical": 0}}))
    digest = system.registries.push(DEV, image("a"), "v1.0.0")
    system.deliver(push_event(DEV, digest, "v1.0.0", at=system.clock()))
    for _ in range(4):
        system.registries.set_scan(DEV, digest, ScanReport("failed", completed_at=system.clock()))
        system.reconcile(SCHEDULE)
        system.clock.advance(hours=12)
    assert len([m for m, _, _ in system.registries.requests if m == "start_scan"]) == 2
    assert system.hints.to("promote") == []


def test_an_image_with_a_lost_event_is_verified() -> None:
    system = RecordingStack(policy(verified=True))
    digest = system.registries.push(DEV, image("a"), "v1.0.0")
    system.registries.push(PROD, image("b"), "v9.0.0")
    system.reconcile()
    assert [h["verify"] for h in system.hints.to("verify")] == [
        {"repository": str(DEV), "digest": digest, "tag": "v1.0.0", "request": None}
    ]


def test_a_verification_that_was_not_carried_out_is_requested_again_after_an_hour() -> None:
    system = RecordingStack(policy(verified=True))
    digest = system.registries.push(DEV, image("a"), "v1.0.0")
    system.deliver(push_event(DEV, digest, "v1.0.0", at=system.clock()))
    system.reconcile(SCHEDULE)
    assert system.hints.to("verify") == []  # it may still be working
    system.clock.advance(hours=1)
    system.reconcile(SCHEDULE)
    system.reconcile(SCHEDULE)
    assert len(system.hints.to("verify")) == 1
    system.verify(digest)
    system.clock.advance(hours=2)
    system.reconcile(SCHEDULE)
    assert len(system.hints.to("verify")) == 1
    assert len(system.hints.to("promote")) == 1


def test_a_persons_run_requests_a_lost_verification_at_once() -> None:
    system = RecordingStack(policy(verified=True))
    digest = system.registries.push(DEV, image("a"), "v1.0.0")
    system.deliver(push_event(DEV, digest, "v1.0.0", at=system.clock()))
    system.reconcile()
    assert [h["verify"]["digest"] for h in system.hints.to("verify")] == [digest]


def test_an_image_that_cannot_be_evaluated_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    system = RecordingStack(policy(scan={"max": {"critical": 0}}))
    digests = [system.registries.push(DEV, image(str(n)), f"v1.{n}.0") for n in range(3)]
    system.deliver(*(push_event(DEV, d, f"v1.{n}.0", at=system.clock()) for n, d in enumerate(digests)))
    for digest in digests[1:]:
        system.registries.set_scan(DEV, digest)
    real = system.registries.scan

    def scan(repository: Repository, digest: str) -> ScanReport:
        if digest == digests[0]:
            raise NotAllowed("no ecr:DescribeImageScanFindings")
        return real(repository, digest)  # type: ignore[arg-type]

    monkeypatch.setattr(system.registries, "scan", scan)
    outcome = system.reconcile(SCHEDULE)
    assert {h["digest"] for h in system.hints.to("promote")} == set(digests[1:])
    assert len(outcome["problems"]) == 1
    assert digests[0] in outcome["problems"][0]


def test_stowaways_of_the_first_sweep_are_in_one_notice_and_later_ones_in_one_each() -> None:
    system = RecordingStack()
    for n in range(12):
        system.registries.push(PROD, image(str(n)), f"v1.{n}.0")
    outcome = system.reconcile()
    ((subject, text, attributes),) = system.notices.published
    assert (subject, attributes["kind"]) == ("stowaways in prod: rocketseat/widget-server", "stowaway")
    assert "12 images" in text
    assert outcome["found"]["stowaways"] == len(system.facts(Kind.STOWAWAY)) == 12
    system.clock.advance(minutes=15)
    system.registries.push(PROD, image("late"), "v2.0.0")
    system.reconcile()
    system.reconcile()
    assert [s for s, _, _ in system.notices.published[1:]] == ["stowaway in prod: rocketseat/widget-server"]


def test_the_combined_notice_is_sent_even_if_the_first_sweep_took_several_runs() -> None:
    system = RecordingStack()
    for n in range(30):
        system.registries.push(PROD, image(str(n)), f"v1.{n}.0")
    run_until_done(system, 20)
    ((_, text, _),) = system.notices.published
    assert "30 images" in text


def test_storage_is_the_sum_of_image_sizes_counting_an_indexs_images_once() -> None:
    system = RecordingStack()
    app = multi_arch("a")
    system.registries.push(DEV, app, "v1.0.0")
    children = [d for d in system.registries.images(DEV) if d.digest != app.digest]
    report = system.reconcile()
    assert report["storage"] == {"dev": sum(c.size or 0 for c in children), "prod": 0}
    assert report["images"] == {"dev": len(children) + 1, "prod": 0}


def test_a_found_referrer_is_recorded_for_its_subject() -> None:
    system = RecordingStack()
    app = image("a")
    system.registries.push(DEV, app, "v1.0.0")
    system.registries.push(DEV, signature(app))
    system.reconcile()
    assert [f.digest for f in system.facts(Kind.REFERRED)] == [app.digest]


def test_an_event_that_arrived_during_a_sweep_wins_over_its_listing(monkeypatch: pytest.MonkeyPatch) -> None:
    system = RecordingStack()
    first, second = image("a"), image("b")
    system.registries.push(DEV, first, "latest")
    real = system.registries.images

    def images(repository: Repository) -> Iterator[object]:
        listing = list(real(repository))
        if repository == DEV and system.points_to("latest") is None:
            system.clock.advance(seconds=30)
            system.registries.push(DEV, second, "latest")
            system.deliver(push_event(DEV, second.digest, "latest", at=system.clock()))
        return iter(listing)

    monkeypatch.setattr(system.registries, "images", images)
    system.reconcile()
    assert system.points_to("latest") == second.digest
    assert [r.digest for r in system.rows(tag="latest") if r.kind == "pushed"][-1] == second.digest
    system.reconcile()
    assert system.points_to("latest") == second.digest


def test_a_delete_event_after_the_sweep_found_the_removal_is_the_same_removal() -> None:
    system = RecordingStack()
    app = image("a")
    system.registries.push(DEV, app, "v1.0.0")
    system.deliver(push_event(DEV, app.digest, "v1.0.0", at=system.clock()))
    removed = system.clock.advance(minutes=5)
    system.registries.delete(DEV, app.digest)
    system.clock.advance(minutes=5)
    system.reconcile()
    system.deliver(delete_event(DEV, app.digest, at=removed))
    (row,) = [r for r in system.rows() if r.kind == "deleted"]
    assert (row.at, row.via) == (removed, Via.EVENT)


def test_the_position_has_the_time_of_a_repositorys_sweep() -> None:
    system = RecordingStack()
    system.reconcile()
    before = stored(system.state, sweeps.PARTITION, str(DEV))
    system.clock.advance(seconds=HOUR.total_seconds())
    system.reconcile()
    after = stored(system.state, sweeps.PARTITION, str(DEV))
    assert before
    assert after
    assert before.data["swept"] < after.data["swept"]
    assert after.data["open"] == []
    assert replace(after, revision=0, data={}) == replace(before, revision=0, data={})
