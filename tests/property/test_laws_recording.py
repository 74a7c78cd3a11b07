"""The laws of recording: whatever is lost, doubled, late or killed, the result is the same."""

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from support.examples import examples
from support.fakes.ports import CRASH_STEPS, Crash, CrashAfter
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


def act(system: "PushTrackingStack", step: Step) -> list[dict[str, Any]]:
    """Do one thing to the registry; return the events that ECR sends for it."""
    name, content, tag_number, seconds = step
    # At most two pushes within one second: an image that is pushed again within it has the same event as before, which
    # cannot be distinguished from a doubled one.
    seconds = seconds if name == "push" and system.alone else max(1, seconds)
    system.alone = name == "push" and seconds > 0
    system.clock.advance(seconds=seconds)
    held, app, tag = system.registries.held(DEV), CONTENTS[content], TAGS[tag_number]
    if name == "push":
        system.registries.push(DEV, app, tag)
        return [push_event(DEV, app.digest, tag, at=system.clock())]
    if name == "untag" and tag in held.tags:
        digest = held.tags[tag]
        system.registries.untag(DEV, tag)
        return [delete_event(DEV, digest, tag, at=system.clock())]
    if name == "delete" and app.digest in held.manifests:
        system.registries.delete(DEV, app.digest)
        return [delete_event(DEV, app.digest, at=system.clock())]
    return []


class PushTrackingStack(RecordingStack):
    """A stack that remembers whether the last act was a push, alone in its second."""

    alone = False


def mutable_stack() -> PushTrackingStack:
    """A stack where every tag may move, so that everything can happen."""
    system = PushTrackingStack()
    system.registries.add(DEV, immutable=False)
    return system


def play(system: PushTrackingStack, script: list[Step], fate: Callable[[], int]) -> None:
    """Run the acts; `fate` says how often each event is delivered, and which one is next."""
    under_way: list[dict[str, Any]] = []
    for step in script:
        system.clock.advance(milliseconds=7)  # a reaction takes time: no two read a registry in the same instant
        if step[0] == "hear" and under_way:
            system.deliver(under_way.pop(fate() % len(under_way)))
        elif step[0] == "sweep":
            system.reconcile()
        else:
            for event in act(system, step):
                under_way += [event] * (fate() % 3)
    while under_way:
        system.clock.advance(seconds=1)
        system.deliver(under_way.pop(fate() % len(under_way)))


def assert_all_is_known(system: RecordingStack) -> None:
    held = system.registries.held(DEV)
    for tag in TAGS:
        facts = [f for f in system.ledger.facts if f.tag == tag or f.kind is Kind.DELETED]
        assert system.points_to(tag) == held.tags.get(tag)
        assert digest_at(facts, DEV, tag, system.clock()) == held.tags.get(tag)
    known = {f.digest for f in system.ledger.facts if f.kind in PUSHES and f.repository == DEV}
    assert set(held.manifests) <= known
    present = {i.sk for i in system.state.list(image_items.partition(DEV)) if i.data["present"]}
    assert present == set(held.manifests)


# deleted and pushed again; the event of the deletion comes after both, that of the second push never
@example([("push", 0, 0, 0), ("hear", 0, 0, 0), ("delete", 0, 0, 1), ("push", 0, 0, 1)], [1, 0, 1, 0])
@settings(deadline=None, max_examples=examples(100))
@given(steps, st.lists(st.integers(0, 60), min_size=1, max_size=40))
def test_law_1_whatever_exists_at_the_next_sweep_is_in_the_ledger_after_it(script: list[Step], dice: list[int]) -> None:
    system = mutable_stack()
    rolls = iter(dice * 40)
    play(system, script, lambda: next(rolls))
    system.clock.advance(minutes=1)
    system.reconcile()
    assert_all_is_known(system)


@settings(deadline=None, max_examples=examples(40))
@given(steps, st.lists(st.integers(0, 60), min_size=1, max_size=40))
def test_a_sweep_after_a_sweep_writes_nothing(script: list[Step], dice: list[int]) -> None:
    system = mutable_stack()
    rolls = iter(dice * 40)
    play(system, script, lambda: next(rolls))
    system.clock.advance(minutes=1)
    system.reconcile()
    facts = system.ledger.facts
    system.clock.advance(minutes=15)
    outcome = system.reconcile()
    assert [f for f in system.ledger.facts if f not in facts] == []
    assert sum(r["missed"] for r in outcome["registries"]) == 0


@settings(deadline=None, max_examples=examples(40))
@given(st.data())
def test_the_history_is_the_same_for_events_in_any_order_and_doubled(data: st.DataObject) -> None:
    """Events at least a second apart: within one second only reading the registry in time shows the order."""
    script = data.draw(steps.map(lambda s: [x for x in s if x[0] in ("push", "untag", "delete")]))
    systems = [mutable_stack(), mutable_stack()]
    for number, system in enumerate(systems):
        events = [e for step in script for e in act(system, (*step[:3], max(1, step[3])))]
        if number:
            events = data.draw(st.permutations(events + events[::2]))
        system.clock.advance(minutes=1)
        system.deliver(*events)
        system.reconcile()
    first, second = ([(r.at, r.kind, r.tag, r.digest) for r in system.rows()] for system in systems)
    assert first == second
    assert [systems[0].points_to(t) for t in TAGS] == [systems[1].points_to(t) for t in TAGS]


@settings(deadline=None, max_examples=examples(40))
@given(steps, st.lists(st.integers(0, 60), min_size=1, max_size=40), st.randoms(use_true_random=False))
def test_history_is_the_same_for_any_order_and_doubling_of_facts(
    script: list[Step], dice: list[int], chance: Any
) -> None:
    system = mutable_stack()
    rolls = iter(dice * 40)
    play(system, script, lambda: next(rolls))
    facts = system.ledger.facts
    mixed = facts + facts[: len(facts) // 2]
    chance.shuffle(mixed)
    assert history(mixed) == history(facts)


# --- a crash before any call (after one is before the next)


def summary(system: RecordingStack) -> dict[str, Any]:
    """The state that must be equal in the end, whatever died: everything except write counts and write times."""
    facts = {
        (f.kind.value, f.partition, f.tag, str(f.repository), f.detail.get("verdict")) for f in system.ledger.facts
    }
    items: dict[Any, dict[str, Any]] = dict(system.state.items)
    state = {
        key: {k: v for k, v in item["data"].items() if k not in ("at", "since", "decided", "told_at")}
        if isinstance(item.get("data"), dict)
        else None
        for key, item in items.items()
        if key[0][:2] in ("T#", "R#", "P#")
    }
    rows = [(r.kind, r.tag, r.digest) for r in system.rows()] + [(r.kind, r.tag, r.digest) for r in system.rows(PROD)]
    return {
        "facts": facts,
        "state": state,
        "rows": rows,
        "hints": {json.dumps(body, sort_keys=True) for _, body, _ in system.hints.sent},
        "notices": {subject for subject, _, _ in system.notices.published},
        "archive": set(system.archive.objects),
    }


def event_stack() -> tuple[RecordingStack, list[dict[str, Any]]]:
    system = RecordingStack(policy(scan={"max": {"critical": 0}}, soak="1h"))
    app, stray = multi_arch("a"), image("stray")
    system.registries.push(DEV, app, "v1.0.0")
    system.registries.push(PROD, stray, "v2.0.0")
    events = [push_event(DEV, d, "v1.0.0" if d == app.digest else "", at=system.clock()) for d in app.manifests]
    return system, [*events, push_event(PROD, stray.digest, "v2.0.0", at=system.clock())]


def hear(system: RecordingStack, events: list[dict[str, Any]], crash: CrashAfter | None = None) -> None:
    services = system.process(crash)
    for event in events:
        services.record.handle(json.dumps(event))


def test_a_crash_at_any_call_of_record_push_changes_nothing_in_the_end() -> None:
    system, events = event_stack()
    count = CrashAfter()
    hear(system, events, count)
    wanted = summary(system)
    assert wanted["notices"] == {
        "stowaway in prod: rocketseat/widget-server",
        "rocketseat/widget-server:v1.0.0 is held for prod",
    } or wanted["notices"] == {"stowaway in prod: rocketseat/widget-server"}
    for n in range(1, count.count + 1):
        system, events = event_stack()
        with suppress(Crash):
            hear(system, events, CrashAfter(n))
        hear(system, events)
        assert summary(system) == wanted, n


def lossy_stack() -> RecordingStack:
    """A stack with everything that a sweep may find: pushes, a moved tag, removals, archived images, stowaways, a lost
    scan."""
    system = RecordingStack(policy(scan={"max": {"critical": 0}}))
    apps = [image(name) for name in "abcd"]
    for n, app in enumerate(apps):
        system.registries.push(DEV, app, f"v1.{n}.0")
        system.deliver(push_event(DEV, app.digest, f"v1.{n}.0", at=system.clock()))
        system.clock.advance(seconds=10)
    system.registries.push(DEV, apps[0], "latest")
    system.deliver(push_event(DEV, apps[0].digest, "latest", at=system.clock()))
    system.clock.advance(minutes=5)
    system.registries.push(DEV, apps[1], "latest")
    system.registries.delete(DEV, apps[2].digest)
    system.registries.untag(DEV, "v1.3.0")
    new = multi_arch("new")
    system.registries.push(DEV, new, "v2.0.0")
    for digest in new.manifests:
        if digest != new.digest:
            system.registries.set_scan(DEV, digest, ScanReport("complete", completed_at=system.clock()))
    system.registries.held(DEV).archived.add(apps[0].digest)
    system.registries.push(PROD, image("stray"), "v9.0.0")
    system.clock.advance(minutes=5)
    system.hints.sent.clear()
    return system


def sweep(system: RecordingStack, crash: CrashAfter | None = None) -> None:
    system.runs += 1
    system.process(crash).reconcile.run({}, f"request-{system.runs}", lambda: 900.0)


@CRASH_STEPS
def test_a_crash_at_any_call_of_reconcile_changes_nothing_in_the_end(step: int) -> None:
    system = lossy_stack()
    count = CrashAfter()
    sweep(system, count)
    wanted = summary(system)
    assert {f.kind for f in system.ledger.facts} >= {
        Kind.MISSED,
        Kind.STOWAWAY,
        Kind.ARCHIVED,
        Kind.DELETED,
        Kind.SCANNED,
    }
    missed = sum(f.detail["count"] for f in system.facts(Kind.MISSED))
    for n in range(1, count.count + 1, step):
        system = lossy_stack()
        with suppress(Crash):
            sweep(system, CrashAfter(n))
        sweep(system)
        assert summary(system) == wanted, n
        assert sum(f.detail["count"] for f in system.facts(Kind.MISSED)) == missed, n


def test_a_crash_at_any_call_of_record_scan_changes_nothing_in_the_end() -> None:
    def scanned() -> tuple[RecordingStack, Digest]:
        system = RecordingStack(policy(scan={"max": {"critical": 0}}))
        digest = system.registries.push(DEV, image("a"), "v1.0.0")
        system.deliver(push_event(DEV, digest, "v1.0.0", at=system.clock()))
        system.registries.set_scan(DEV, digest, ScanReport("complete", {"critical": 1}, completed_at=system.clock()))
        return system, digest

    def react(system: RecordingStack, digest: Digest, crash: CrashAfter | None = None) -> None:
        system.process(crash).scans.handle(json.dumps(scan_event(DEV, digest)))

    system, digest = scanned()
    count = CrashAfter()
    react(system, digest, count)
    wanted = summary(system)
    assert wanted["notices"] == {"rocketseat/widget-server:v1.0.0 is refused for prod"}
    for n in range(1, count.count + 1):
        system, digest = scanned()
        with suppress(Crash):
            react(system, digest, CrashAfter(n))
        react(system, digest)
        assert summary(system) == wanted, n
