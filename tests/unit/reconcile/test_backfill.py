"""The first sweep of a large repository, and later sweeps: their cost, and that they resume after a kill."""

import json
from collections import Counter
from typing import Any

import pytest

from support.fakes.flows import Flow, Spent
from support.fakes.recording import SCHEDULE, RecordingStack
from support.images.builders import DEV, image, push_event
from tallyman.domain.history.facts import Kind
from tallyman.domain.names import Digest
from tallyman.services.reconcile import sweep as sweeping
from tallyman.services.reconcile.sweep import PAGE
from tallyman.state import sweeps, tags
from tallyman.state.items import StateChange
from tallyman.state.sweeps import SWEEPS
from tallyman.state.tags import GONE_KEPT, TAGS, Tag


def swept(flow: Flow, run: str) -> Spent:
    """One scheduled run."""
    begun = flow.counted()
    flow.services.reconcile.run(SCHEDULE, run, lambda: 800.0)
    return flow.spent(begun)


def calls(spent: Spent) -> int:
    return sum(number for name, number in spent.calls.items() if name != "item of a batch") + spent.ecr


def filled(images: int, tagged: bool) -> Flow:
    flow = Flow()
    for number in range(images):
        flow.registries.push(DEV, image(str(number)), f"v1.{number}.0" if tagged else None)
    flow.delivered = len(flow.registries.pushes)
    flow.clock.advance(hours=1)
    return flow


def test_a_first_sweep_makes_three_calls_per_image_and_a_page_of_decisions() -> None:
    plain = swept(filled(200, tagged=False), "1")
    assert calls(plain) <= 3 * 200
    few, many = swept(filled(2 * PAGE, tagged=True), "1"), swept(filled(6 * PAGE, tagged=True), "1")
    assert calls(many) - calls(few) <= 3 * 4 * PAGE
    assert calls(few) <= 3 * 2 * PAGE + 20 * PAGE


def position(system: RecordingStack) -> str | None:
    found = SWEEPS.get(system.state, sweeps.key(DEV))
    assert found is not None
    return found.backlog


def test_images_found_by_a_first_sweep_are_verified_and_evaluated_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "PAGE", 10)
    system = RecordingStack()
    digests = {system.registries.push(DEV, image(str(n)), f"v1.{n}.0") for n in range(25)}
    asked: list[int] = []
    while not asked or position(system) is not None:
        system.reconcile(SCHEDULE)
        asked.append(len(system.hints.to("verify")))
    assert asked == [10, 20, 25]
    assert {hint["verify"]["digest"] for hint in system.hints.to("verify")} == digests
    system.reconcile(SCHEDULE)
    assert len(system.hints.to("verify")) == 25


def test_images_reported_by_events_before_the_first_sweep_are_left_to_their_reaction() -> None:
    system = RecordingStack()
    app = system.registries.push(DEV, image("a"), "v1.0.0")
    system.deliver(push_event(DEV, app, "v1.0.0", at=system.clock()))
    system.reconcile(SCHEDULE)
    assert system.hints.to("verify") == []


def test_a_push_with_a_lost_event_is_processed_although_an_earlier_one_was_reported() -> None:
    system = RecordingStack()
    app = system.registries.push(DEV, image("a"), "v1.0.0")
    system.deliver(push_event(DEV, app, "v1.0.0", at=system.clock()))
    system.registries.untag(DEV, "v1.0.0")
    system.clock.advance(minutes=1)
    system.registries.push(DEV, image("a"), "v2.0.0")
    system.reconcile(SCHEDULE)
    assert [hint["verify"]["tag"] for hint in system.hints.to("verify")] == ["v2.0.0"]


@pytest.mark.parametrize("after", [1, 7, 26, 40, 61, 75, 90])
def test_a_killed_first_sweep_resumes(after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    system = RecordingStack()
    digests = {system.registries.push(DEV, image(str(n)), f"v1.{n}.0") for n in range(30)}
    real, left = system.ledger.append, [after]

    def append(*args: Any) -> Any:
        if left[0] == 0:
            raise KeyboardInterrupt  # the process has ended
        left[0] -= 1
        return real(*args)

    monkeypatch.setattr(system.ledger, "append", append)
    for _ in range(2):
        try:
            system.reconcile(SCHEDULE)
        except KeyboardInterrupt:
            left[0] = -1
    assert Counter(f.digest for f in system.facts(Kind.PUSHED)) == dict.fromkeys(digests, 1)
    assert {f.digest for f in system.facts(Kind.DECIDED)} == digests
    assert {hint["verify"]["digest"] for hint in system.hints.to("verify")} == digests


def test_the_size_of_a_first_sweeps_position_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    flow = filled(600, tagged=True)
    real = flow.state.put

    def put(change: StateChange) -> None:
        if change.pk == sweeps.PARTITION:
            sizes.append(len(str(change.data)))
        real(change)

    monkeypatch.setattr(flow.state, "put", put)
    swept(flow, "1")
    assert len(sizes) > 600 / 25
    assert max(sizes) < 4096


def test_the_cost_of_an_unreported_image_is_independent_of_the_repositorys_size() -> None:
    spent = []
    for images in (10, 1000):
        flow = filled(images, tagged=False)
        swept(flow, "1")
        flow.registries.push(DEV, image("one more"), "v9.0.0")
        flow.clock.advance(minutes=15)
        spent.append(swept(flow, "2"))
    assert spent[0].calls == spent[1].calls
    assert (spent[0].writes, spent[0].index, spent[0].ecr) == (spent[1].writes, spent[1].index, spent[1].ecr)
    assert spent[1].read_bytes - spent[0].read_bytes <= 990 * 400  # its image list


def test_the_item_of_a_removed_tag_expires_and_that_of_a_restored_one_does_not() -> None:
    system = RecordingStack()

    def entry() -> Any:
        return TAGS.read(system.state, tags.key(DEV, "v1.0.0"))

    def pushed(name: str) -> Digest:
        digest = system.registries.push(DEV, image(name), "v1.0.0")
        system.deliver(push_event(DEV, digest, "v1.0.0", at=system.clock()))
        system.clock.advance(minutes=5)
        return digest

    app = pushed("a")
    assert entry().expires is None
    system.registries.delete(DEV, app)
    system.deliver(push_event(DEV, app, "", at=system.clock(), action="DELETE"))
    assert entry().expires == system.clock() + GONE_KEPT
    pushed("a")
    assert entry().expires is None


def test_items_of_removed_tags_from_an_earlier_version_get_an_expiry() -> None:
    system = RecordingStack()
    system.registries.push(DEV, image("a"), "v1.0.0")
    gone = TAGS.read(system.state, tags.key(DEV, "v0.1.0"))
    system.state.put(gone.write(Tag(None, system.clock(), moved_from=image("old").digest)))
    system.reconcile(SCHEDULE)
    assert TAGS.read(system.state, tags.key(DEV, "v0.1.0")).expires == system.clock() + GONE_KEPT


def test_a_tag_whose_item_was_removed_long_ago_is_known_to_have_moved() -> None:
    flow = Flow()
    old = flow.push(image("old"), "v1.0.0")
    flow.work()
    flow.registries.delete(DEV, old)
    flow.queue.append((flow.clock(), "push", json.dumps(push_event(DEV, old, "", at=flow.clock(), action="DELETE"))))
    flow.work()
    flow.clock.advance(days=40)
    del flow.state.items[tags.key(DEV, "v1.0.0")]  # as DynamoDB does
    new = flow.push(image("new"), "v1.0.0")
    flow.work()
    (verified,) = [fact for fact in flow.facts(Kind.VERIFIED) if fact.digest == new]
    failed = [check["name"] for check in verified.detail["checks"] if check["verdict"] == "failed"]
    assert failed == ["tag_unmoved"]
