"""Laws of gates: "No gate, no passage. Unknown means closed" and "Same facts, same decision"."""

import itertools
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.fakes.gate_cases import (
    APP,
    LATER,
    NAME,
    case_of,
    checked,
    decided,
    frozen,
    image_of,
    policy_of,
    released,
    said,
    target_seen,
)
from support.fakes.ports import FakeArchive, FakeClock, FakeHints, FakeLedger, FakeNotices, FakeState
from support.images import signing
from support.images.builders import DEV, NOON, SBOM, SIGNATURE, digest_of, fact, pushed, scanned, verified
from tallyman.domain.gates import FAILED, GATES, PASSED, WAITING, ImageFacts, judge_all
from tallyman.domain.gates.signers import SignerKey
from tallyman.domain.gates.window import WindowGate
from tallyman.domain.history.details.referrers import Origin
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.images.signatures import RULES
from tallyman.domain.policy import end_of_day
from tallyman.services.deciding.evaluator import Evaluator
from tallyman.state import tags as tag_items
from tallyman.state.items import StateChange

CHECK = {"name": "manifest", "verdict": "passed", "reason": None}
ROLE = "role/release-managers"
SIGNER = signing.pem(signing.new_key())
ALWAYS = ("tags", "recalled", "freeze", "target")
EVERY: Mapping[str, Any] = {
    "verified": True,
    "signed": True,
    "built": {"branch": ["main"], "keys": [SIGNER]},
    "attested": "sbom",
    "scan": {"max": {"critical": 0}, "ignore": [{"id": "CVE-1", "until": "2026-11-20"}]},
    "soak": "30m",
    "approvals": {"count": 1, "from": [ROLE]},
    "check": [{"name": "e2e", "from": [ROLE]}],
    "window": {"days": "mon-fri", "between": "09:00-17:00", "timezone": "America/Sao_Paulo"},
    "order": True,
}


def referred(kind: str) -> Fact:
    detail: dict[str, Any] = {"referrer": digest_of(kind), "artifact_type": kind, "predicates": []}
    return replace(fact(Kind.REFERRED, APP, **detail), detail={**detail, "repository": str(DEV)})


def provenance() -> Fact:
    """Provenance of a build of main, verified by SIGNER."""
    name = SignerKey.parse(SIGNER).name
    details = Origin(
        repository=str(DEV),
        referrer=str(digest_of("provenance")),
        signature="1",
        form="bundle",
        verdict="verified",
        keys=[name],
        identity=None,
        reason=None,
        looked=[name],
        roots="sha256:1",
        rules=RULES,
        statement="https://slsa.dev/provenance/v1",
        claims={"builder": None, "source": None, "ref": "refs/heads/main", "commit": None},
    )
    return replace(fact(Kind.ORIGIN, APP), detail=details.dump())


OPENING: Mapping[str, Fact] = {
    "verified": verified(APP, checks=[CHECK]),
    "signed": referred(SIGNATURE),
    "built": provenance(),
    "attested": referred(SBOM),
    "scan": scanned(APP, {"low": 3}),
    "approvals": said(Kind.APPROVED, at=NOON),
    "check": checked(role=ROLE, at=NOON),
    "target": target_seen(),
}
"""A fact for each gate that needs one to be open."""

CLOSING: tuple[Fact, ...] = (
    verified(APP, "failed", checks=[{**CHECK, "verdict": "failed", "reason": "bad"}], at=LATER),
    scanned(APP, {"critical": 1}, at=LATER),
    scanned(APP, status="failed", at=LATER),
    said(Kind.DENIED, "bob", at=LATER),
    fact(Kind.RECALLED, APP, actor="AROAX:ana", because="no", at=LATER),
    fact(Kind.SIGNING, APP, DEV, statuses=[{"profile": "p", "status": "failed", "reason": "no"}]),
    pushed(APP, "v1.0.0", actor="arn:aws:sts::111111111111:assumed-role/ci/ana", at=NOON + timedelta(minutes=1)),
    fact(Kind.PARKED, APP, to="prod", name=NAME, reason="given up", at=LATER),
    said(Kind.REQUESTED, command="promote", at=LATER + timedelta(minutes=1)),
    said(Kind.OVERRIDDEN, gate="soak"),
)


def open_image(*more: Fact, without: str = "", **parts: Any) -> ImageFacts:
    return image_of(*(f for name, f in OPENING.items() if name != without), *more, **parts)


some_facts = st.lists(st.sampled_from([*OPENING.values(), *CLOSING]), unique_by=id, max_size=12)
some_gates = st.lists(st.sampled_from(sorted(EVERY)), unique=True)
moments = st.sampled_from([NOON, LATER, LATER + timedelta(days=5), LATER + timedelta(hours=30)])
states = st.fixed_dictionaries(
    {
        "freezes": st.sampled_from([{}, {"prod": ()}, {"prod": (frozen(),)}, {"prod": (frozen("rocketseat/other"),)}]),
        "released": st.sampled_from([{}, {("prod", NAME): None}, released(digest_of("x"), "v2.0.0")]),
    }
)


def chosen(names: list[str]) -> dict[str, Any]:
    return {name: EVERY[name] for name in names}


def test_with_every_gate_open_the_image_is_promoted() -> None:
    image = open_image()
    assert [g.verdict for g in judge_all(case_of(image=image, gates=EVERY))] == [PASSED] * (len(EVERY) + len(ALWAYS))
    assert decided(case_of(image=image, gates=EVERY)).verdict == PASSED


CLOSED_ALONE: Mapping[str, tuple[ImageFacts, datetime]] = {
    **{name: (open_image(without=name), LATER) for name in OPENING},
    "tags": (replace(open_image(), pointing={(DEV, "v1.0.0"): digest_of("another")}), LATER),
    "recalled": (open_image(fact(Kind.RECALLED, APP, actor="AROAX:ana", because="no")), LATER),
    "freeze": (open_image(freezes={"prod": (frozen(),)}), LATER),
    "soak": (open_image(), NOON + timedelta(minutes=29)),
    "window": (open_image(), NOON + timedelta(hours=8)),
    "order": (open_image(released=released(digest_of("x"), "v1.0.1")), LATER),
}


@pytest.mark.parametrize("name", [*GATES, *ALWAYS])
def test_for_every_gate_there_is_a_state_in_which_it_alone_decides(name: str) -> None:
    image, now = CLOSED_ALONE[name]
    decision = decided(case_of(image=image, gates=EVERY, now=now))
    assert [g.name for g in decision.gates if g.verdict != PASSED] == [name]
    assert decision.verdict in (WAITING, FAILED)
    assert decision.deciding is not None
    assert decision.deciding.name == name
    assert decision.deciding.reason


@pytest.mark.parametrize(("first", "second"), list(itertools.combinations(sorted({*GATES, "freeze"}), 2)))
def test_of_two_closed_gates_neither_opens_the_other(first: str, second: str) -> None:
    both = {**CLOSED_ALONE}
    facts = [f for name, f in OPENING.items() if name not in (first, second)]
    image = image_of(*facts)
    if "freeze" in (first, second):
        image = replace(image, freezes={"prod": (frozen(),)})
    if "order" in (first, second):
        image = replace(image, released=released(digest_of("x"), "v1.0.1"))
    now = next((both[n][1] for n in (first, second) if n in ("soak", "window")), LATER)
    if {first, second} == {"soak", "window"}:
        late = replace(image, facts=(pushed(APP, "v1.0.0", index=False, at=NOON + timedelta(hours=8)), *facts))
        image, now = late, NOON + timedelta(hours=8, minutes=1)
    decision = decided(case_of(image=image, gates=EVERY, now=now))
    assert {g.name for g in decision.gates if g.verdict != PASSED} == {first, second}
    assert decision.verdict == (FAILED if FAILED in {g.verdict for g in decision.gates} else WAITING)


@given(some_facts, some_gates, st.sampled_from(sorted(EVERY)), moments, states)
def test_an_additional_gate_never_opens_a_closed_decision(
    facts: list[Fact], names: list[str], more: str, now: datetime, state: dict[str, Any]
) -> None:
    image = image_of(*facts, **state)
    before = decided(case_of(image=image, gates=chosen(names), now=now))
    after = decided(case_of(image=image, gates=chosen([*names, *([more] if more not in names else [])]), now=now))
    if after.verdict == PASSED:
        assert before.verdict == PASSED
    if after.may_stage:
        assert before.may_stage


@given(some_facts, some_gates, moments, states, st.randoms(use_true_random=False))
def test_the_order_of_facts_never_matters(
    facts: list[Fact], names: list[str], now: datetime, state: dict[str, Any], random: Any
) -> None:
    policy = policy_of(chosen(names), overridable=["soak"])
    image = image_of(*facts, **state)
    shuffled = list(image.facts)
    random.shuffle(shuffled)
    one = decided(case_of(image=image, policy=policy, now=now))
    other = decided(case_of(image=replace(image, facts=tuple(shuffled)), policy=policy, now=now))
    assert one == other
    assert one.details == other.details


@given(some_facts, some_gates, moments, states)
def test_only_required_gates_give_a_result_and_each_has_a_reason(
    facts: list[Fact], names: list[str], now: datetime, state: dict[str, Any]
) -> None:
    decision = decided(case_of(image=image_of(*facts, **state), gates=chosen(names), now=now))
    assert sorted(g.name for g in decision.gates) == sorted([*names, *ALWAYS])
    for gate in decision.gates:
        assert gate.verdict in (PASSED, WAITING, FAILED)
        assert gate.reason
    if decision.verdict == PASSED:
        assert {g.verdict for g in decision.gates} == {PASSED}


@given(some_facts, some_gates)
def test_deciding_twice_changes_nothing(facts: list[Fact], names: list[str]) -> None:
    state, clock = FakeState(), FakeClock(LATER)
    ledger, hints, notices = FakeLedger(state), FakeHints(), FakeNotices()
    evaluator = Evaluator(
        policy_of(chosen(names), overridable=["soak"]), ledger, state, hints, notices, clock, FakeArchive()
    )
    for each in image_of(*facts).facts:
        ledger.append(each)
    state.put(StateChange(tag_items.partition(DEV), "v1.0.0", 0, {"digest": APP, "at": "2026-11-16T00:00:00Z"}))
    first = evaluator.digest(APP)
    written, items, sent = len(ledger.items), dict(state.items), list(notices.published)
    assert evaluator.digest(APP) == first
    assert (len(ledger.items), state.items, notices.published) == (written, items, sent)


@given(st.dates(date(2026, 1, 1), date(2028, 1, 1)), st.integers(-72, 72))
def test_an_expired_ignore_does_not_count(until: date, hours: int) -> None:
    gates = {"scan": {"max": {"critical": 0}, "ignore": [{"id": "CVE-1", "until": until.isoformat()}]}}
    found = scanned(APP, {"critical": 1}, findings=[{"id": "CVE-1", "severity": "critical"}])
    now = end_of_day(until) + timedelta(hours=hours)
    (scan,) = [g for g in judge_all(case_of(found, gates=gates, now=now)) if g.name == "scan"]
    assert scan.verdict == (PASSED if hours < 0 else FAILED)


zones = st.sampled_from(["UTC", "America/Sao_Paulo", "America/New_York", "Europe/Berlin", "Australia/Lord_Howe"])
clocks = st.builds(time, st.integers(0, 23), st.sampled_from([0, 15, 30, 59]))
windows = st.builds(
    WindowGate,
    st.frozensets(st.integers(0, 6), min_size=1),
    clocks,
    clocks,
    zones,
    st.frozensets(st.dates(), max_size=2),
)
instants = st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31), timezones=st.just(ZoneInfo("UTC")))


@given(windows, instants)
def test_a_window_is_open_at_its_next_opening_and_closed_before(window: WindowGate, moment: datetime) -> None:
    zone = ZoneInfo(window.timezone)
    opens = window.next_opening(moment, zone)
    if opens is None:  # an hour that DST skips every time, or nothing but holidays
        assert not window.is_open(moment, zone)
        return
    assert opens >= moment
    assert window.is_open(opens, zone)
    at = moment
    while at < opens and at - moment < timedelta(days=15):
        assert not window.is_open(at, zone)
        at += timedelta(minutes=15)
