"""The laws of recording: whatever is lost, doubled, late or killed, the result is the same."""

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from support.fakes.ports import Crash, CrashAfter
from support.fakes.recording import RecordingStack, policy
from support.images.builders import DEV, PROD, delete_event, image, multi_arch, push_event, scan_event
from tallyman.domain.history.facts import Kind
from tallyman.domain.history.fold import PUSHES, digest_at, history
from tallyman.domain.images.details import ScanReport
from tallyman.domain.names import Digest
from tallyman.state import images as image_items

CONTENTS = [image(name) for name in "abc"]
TAGS = ["v1.0.0", "latest"]

Step = tuple[str, int, int, int]
steps = st.lists(
    st.tuples(
        st.sampled_from(["push", "push", "push", "untag", "delete", "hear", "hear", "sweep"]),
        st.integers(0, 2),
        st.integers(0, 1),
        st.sampled_from([0, 1, 3, 60]),
    ),
    max_size=14,
)


def act(world: "Stage", step: Step) -> list[dict[str, Any]]:
    """Do one thing to the registry; return the events that ECR sends for it."""
    name, content, tag_number, seconds = step
    # At most two pushes within one second: an image that is pushed again within it has the same event as before, which
    # cannot be distinguished from a doubled one.
    seconds = seconds if name == "push" and world.alone else max(1, seconds)
    world.alone = name == "push" and seconds > 0
    world.clock.advance(seconds=seconds)
    held, app, tag = world.registries.held(DEV), CONTENTS[content], TAGS[tag_number]
    if name == "push":
        world.registries.push(DEV, app, tag)
        return [push_event(DEV, app.digest, tag, at=world.clock())]
    if name == "untag" and tag in held.tags:
        digest = held.tags[tag]
        world.registries.untag(DEV, tag)
        return [delete_event(DEV, digest, tag, at=world.clock())]
    if name == "delete" and app.digest in held.manifests:
        world.registries.delete(DEV, app.digest)
        return [delete_event(DEV, app.digest, at=world.clock())]
    return []


class Stage(RecordingStack):
    """A stack that remembers whether the last act was a push, alone in its second."""

    alone = False


def mutable_world() -> Stage:
    """A stack where every tag may move, so that everything can happen."""
    world = Stage()
    world.registries.add(DEV, immutable=False)
    return world


def play(world: Stage, script: list[Step], fate: Callable[[], int]) -> None:
    """Run the acts; `fate` says how often each event is delivered, and which one is next."""
    under_way: list[dict[str, Any]] = []
    for step in script:
        world.clock.advance(milliseconds=7)  # a reaction takes time: no two read a registry in the same instant
        if step[0] == "hear" and under_way:
            world.told(under_way.pop(fate() % len(under_way)))
        elif step[0] == "sweep":
            world.reconcile()
        else:
            for event in act(world, step):
                under_way += [event] * (fate() % 3)
    while under_way:
        world.clock.advance(seconds=1)
        world.told(under_way.pop(fate() % len(under_way)))


def assert_all_is_known(world: RecordingStack) -> None:
    held = world.registries.held(DEV)
    for tag in TAGS:
        facts = [f for f in world.ledger.facts if f.tag == tag or f.kind is Kind.DELETED]
        assert world.points_to(tag) == held.tags.get(tag)
        assert digest_at(facts, DEV, tag, world.clock()) == held.tags.get(tag)
    known = {f.digest for f in world.ledger.facts if f.kind in PUSHES and f.repository == DEV}
    assert set(held.manifests) <= known
    present = {i.sk for i in world.state.list(image_items.partition(DEV)) if i.data["present"]}
    assert present == set(held.manifests)


@settings(deadline=None, max_examples=100)
@given(steps, st.lists(st.integers(0, 60), min_size=1, max_size=40))
def test_law_1_whatever_exists_at_the_next_sweep_is_in_the_ledger_after_it(script: list[Step], dice: list[int]) -> None:
    world = mutable_world()
    rolls = iter(dice * 40)
    play(world, script, lambda: next(rolls))
    world.clock.advance(minutes=1)
    world.reconcile()
    assert_all_is_known(world)


@settings(deadline=None, max_examples=40)
@given(steps, st.lists(st.integers(0, 60), min_size=1, max_size=40))
def test_a_sweep_after_a_sweep_writes_nothing(script: list[Step], dice: list[int]) -> None:
    world = mutable_world()
    rolls = iter(dice * 40)
    play(world, script, lambda: next(rolls))
    world.clock.advance(minutes=1)
    world.reconcile()
    facts = world.ledger.facts
    world.clock.advance(minutes=15)
    outcome = world.reconcile()
    assert [f for f in world.ledger.facts if f not in facts] == []
    assert sum(r["missed"] for r in outcome["registries"]) == 0


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_the_history_is_the_same_for_events_in_any_order_and_doubled(data: st.DataObject) -> None:
    """Events at least a second apart: within one second only reading the registry in time shows the order."""
    script = data.draw(steps.map(lambda s: [x for x in s if x[0] in ("push", "untag", "delete")]))
    worlds = [mutable_world(), mutable_world()]
    for number, world in enumerate(worlds):
        events = [e for step in script for e in act(world, (*step[:3], max(1, step[3])))]
        if number:
            events = data.draw(st.permutations(events + events[::2]))
        world.clock.advance(minutes=1)
        world.told(*events)
        world.reconcile()
    first, second = ([(r.at, r.kind, r.tag, r.digest) for r in w.rows()] for w in worlds)
    assert first == second
    assert [worlds[0].points_to(t) for t in TAGS] == [worlds[1].points_to(t) for t in TAGS]


@settings(deadline=None, max_examples=40)
@given(steps, st.lists(st.integers(0, 60), min_size=1, max_size=40), st.randoms(use_true_random=False))
def test_history_is_the_same_for_any_order_and_doubling_of_facts(
    script: list[Step], dice: list[int], chance: Any
) -> None:
    world = mutable_world()
    rolls = iter(dice * 40)
    play(world, script, lambda: next(rolls))
    facts = world.ledger.facts
    mixed = facts + facts[: len(facts) // 2]
    chance.shuffle(mixed)
    assert history(mixed) == history(facts)


# --- a crash before any call (after one is before the next)

Told = tuple[str, ...]


def summary(world: RecordingStack) -> dict[str, Any]:
    """The state that must be equal in the end, whatever died: everything except write counts and write times."""
    facts = {(f.kind.value, f.partition, f.tag, str(f.repository), f.detail.get("verdict")) for f in world.ledger.facts}
    items: dict[Any, dict[str, Any]] = dict(world.state.items)
    state = {
        key: {k: v for k, v in item["data"].items() if k not in ("at", "since", "decided", "told_at")}
        if isinstance(item.get("data"), dict)
        else None
        for key, item in items.items()
        if key[0][:2] in ("T#", "R#", "P#")
    }
    rows = [(r.kind, r.tag, r.digest) for r in world.rows()] + [(r.kind, r.tag, r.digest) for r in world.rows(PROD)]
    return {
        "facts": facts,
        "state": state,
        "rows": rows,
        "hints": {json.dumps(body, sort_keys=True) for _, body, _ in world.hints.sent},
        "notices": {subject for subject, _, _ in world.notices.published},
        "archive": set(world.archive.objects),
    }


def event_world() -> tuple[RecordingStack, list[dict[str, Any]]]:
    world = RecordingStack(policy(scan={"max": {"critical": 0}}, soak="1h"))
    app, stray = multi_arch("a"), image("stray")
    world.registries.push(DEV, app, "v1.0.0")
    world.registries.push(PROD, stray, "v2.0.0")
    events = [push_event(DEV, d, "v1.0.0" if d == app.digest else "", at=world.clock()) for d in app.manifests]
    return world, [*events, push_event(PROD, stray.digest, "v2.0.0", at=world.clock())]


def hear(world: RecordingStack, events: list[dict[str, Any]], crash: CrashAfter | None = None) -> None:
    staff = world.at_work(crash)
    for event in events:
        staff.record.handle(json.dumps(event))


def test_a_crash_at_any_call_of_record_push_changes_nothing_in_the_end() -> None:
    world, events = event_world()
    count = CrashAfter()
    hear(world, events, count)
    wanted = summary(world)
    assert wanted["notices"] == {
        "stowaway in prod: rocketseat/widget-server",
        "rocketseat/widget-server:v1.0.0 is held for prod",
    } or wanted["notices"] == {"stowaway in prod: rocketseat/widget-server"}
    for n in range(1, count.count + 1):
        world, events = event_world()
        with suppress(Crash):
            hear(world, events, CrashAfter(n))
        hear(world, events)
        assert summary(world) == wanted, n


def lost_world() -> RecordingStack:
    """A stack with everything that a sweep may find: pushes, a moved tag, removals, archived images, stowaways, a lost
    scan."""
    world = RecordingStack(policy(scan={"max": {"critical": 0}}))
    apps = [image(name) for name in "abcd"]
    for n, app in enumerate(apps):
        world.registries.push(DEV, app, f"v1.{n}.0")
        world.told(push_event(DEV, app.digest, f"v1.{n}.0", at=world.clock()))
        world.clock.advance(seconds=10)
    world.registries.push(DEV, apps[0], "latest")
    world.told(push_event(DEV, apps[0].digest, "latest", at=world.clock()))
    world.clock.advance(minutes=5)
    world.registries.push(DEV, apps[1], "latest")
    world.registries.delete(DEV, apps[2].digest)
    world.registries.untag(DEV, "v1.3.0")
    new = multi_arch("new")
    world.registries.push(DEV, new, "v2.0.0")
    for digest in new.manifests:
        if digest != new.digest:
            world.registries.set_scan(DEV, digest, ScanReport("complete", completed_at=world.clock()))
    world.registries.held(DEV).archived.add(apps[0].digest)
    world.registries.push(PROD, image("stray"), "v9.0.0")
    world.clock.advance(minutes=5)
    world.hints.sent.clear()
    return world


def sweep(world: RecordingStack, crash: CrashAfter | None = None) -> None:
    world.runs += 1
    world.at_work(crash).reconcile.run({}, f"request-{world.runs}", lambda: 900.0)


def test_a_crash_at_any_call_of_reconcile_changes_nothing_in_the_end() -> None:
    world = lost_world()
    count = CrashAfter()
    sweep(world, count)
    wanted = summary(world)
    assert {f.kind for f in world.ledger.facts} >= {
        Kind.MISSED,
        Kind.STOWAWAY,
        Kind.ARCHIVED,
        Kind.DELETED,
        Kind.SCANNED,
    }
    missed = sum(f.detail["count"] for f in world.facts(Kind.MISSED))
    for n in range(1, count.count + 1):
        world = lost_world()
        with suppress(Crash):
            sweep(world, CrashAfter(n))
        sweep(world)
        assert summary(world) == wanted, n
        assert sum(f.detail["count"] for f in world.facts(Kind.MISSED)) == missed, n


def test_a_crash_at_any_call_of_record_scan_changes_nothing_in_the_end() -> None:
    def scanned() -> tuple[RecordingStack, Digest]:
        world = RecordingStack(policy(scan={"max": {"critical": 0}}))
        digest = world.registries.push(DEV, image("a"), "v1.0.0")
        world.told(push_event(DEV, digest, "v1.0.0", at=world.clock()))
        world.registries.set_scan(DEV, digest, ScanReport("complete", {"critical": 1}, completed_at=world.clock()))
        return world, digest

    def react(world: RecordingStack, digest: Digest, crash: CrashAfter | None = None) -> None:
        world.at_work(crash).scans.handle(json.dumps(scan_event(DEV, digest)))

    world, digest = scanned()
    count = CrashAfter()
    react(world, digest, count)
    wanted = summary(world)
    assert wanted["notices"] == {"rocketseat/widget-server:v1.0.0 is refused for prod"}
    for n in range(1, count.count + 1):
        world, digest = scanned()
        with suppress(Crash):
            react(world, digest, CrashAfter(n))
        react(world, digest)
        assert summary(world) == wanted, n
