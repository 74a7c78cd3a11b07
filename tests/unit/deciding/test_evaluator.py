"""The evaluator: what a decision writes, notifies and hints, once."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from support.fakes.ports import listed
from support.fakes.recording import RecordingStack, policy
from support.images import signing
from support.images.builders import DEV, PROD, PROD_SA, digest_of, fact, image, push_event, scanned
from tallyman.domain.gates.signers import SignerKey
from tallyman.domain.history.details.referrers import Origin
from tallyman.domain.history.facts import Kind
from tallyman.domain.names import Digest
from tallyman.domain.times import format_time
from tallyman.errors import RevisionConflict
from tallyman.state import pending as pending_items
from tallyman.state.items import StateItem


def pending(system: RecordingStack) -> list[dict[str, object]]:
    return [dict(item.data) for item in listed(system.state, pending_items.partition("prod"))]


def soaking() -> RecordingStack:
    system = RecordingStack(policy(soak="24h"))
    digest = system.registries.push(DEV, image("a"), "v1.0.0")
    system.deliver(push_event(DEV, digest, "v1.0.0", at=system.clock()))
    return system


def test_a_waiting_image_is_pending_with_reason_and_end_and_notified_once() -> None:
    system = soaking()
    (item,) = pending(system)
    assert (item["verdict"], item["gate"], item["until"]) == ("waiting", "soak", "2026-11-17T01:54:34Z")
    for _ in range(3):
        system.process().evaluator.digest(image("a").digest)
    assert [s for s, _, _ in system.notices.published] == ["rocketseat/widget-server:v1.0.0 is held for prod"]
    assert len(system.facts(Kind.DECIDED)) == 1


def test_an_open_promotion_is_hinted_once_and_again_by_sweeps_and_people() -> None:
    system = soaking()
    system.clock.advance(hours=24)
    for _ in range(2):
        system.process().evaluator.digest(image("a").digest, "correlation-1")
    (hint,) = system.hints.to("promote")
    assert hint["correlation"] == "correlation-1"
    system.process().evaluator.digest(image("a").digest, again=True)
    assert len(system.hints.to("promote")) == 2


def test_a_reopened_promotion_is_hinted_again() -> None:
    system = soaking()
    system.clock.advance(hours=24)
    evaluator = system.process().evaluator
    evaluator.digest(image("a").digest)
    recall = fact(Kind.RECALLED, image("a").digest, actor="AROAX:ana", because="no", at=system.clock())
    system.ledger.append(recall)
    evaluator.digest(image("a").digest)
    del system.ledger.items[recall.partition, recall.sort]  # no more than a test can pass: it may go as before
    evaluator.digest(image("a").digest)
    assert len(system.hints.to("promote")) == 2


def test_decisions_of_one_moment_keep_their_order() -> None:
    system = RecordingStack(policy(scan={"max": {"critical": 0}}))
    app = image("a")
    system.registries.push(DEV, app, "v1.0.0")
    system.deliver(push_event(DEV, app.digest, "v1.0.0", at=system.clock()))
    evaluator = system.process().evaluator
    for n, critical in enumerate((1, 0, 2, 0, 3)):
        system.ledger.append(scanned(app.digest, {"critical": critical}, at=system.clock(), seen=system.clock(), n=n))
        evaluator.image(app.digest)  # the clock stands still
    decided = sorted(system.facts(Kind.DECIDED), key=lambda f: f.sort)
    assert len({f.at for f in decided}) == len(decided)
    (item,) = pending(system)
    assert item["decided"] == decided[-1].id


def test_a_refusal_names_the_finding_the_tag_and_the_command() -> None:
    system = RecordingStack(policy(scan={"max": {"critical": 0}}))
    app = image("a")
    system.registries.push(DEV, app, "v1.4.0-abc1234")
    system.ledger.append(scanned(app.digest, {"critical": 1}, at=system.clock()))
    system.deliver(push_event(DEV, app.digest, "v1.4.0-abc1234", at=system.clock()))
    ((subject, text, attributes),) = system.notices.published
    assert subject == "rocketseat/widget-server:v1.4.0-abc1234 is refused for prod"
    assert "1 critical finding" in text
    assert "tallyman why dev/rocketseat/widget-server:v1.4.0-abc1234 --to prod" in text
    place = {"environment": "prod", "repository": "rocketseat/widget-server"}
    assert attributes == {"kind": "failed", "severity": "medium", **place}


def test_a_reworded_refusal_is_recorded_without_a_second_notice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An update of Tallyman rewords reasons: thousands of refused images are no news."""
    system = RecordingStack(policy(scan={"max": {"critical": 0}}))
    digest = system.registries.push(DEV, image("a"), "v1.0.0")
    system.ledger.append(scanned(digest, {"critical": 1}, at=system.clock()))
    system.deliver(push_event(DEV, digest, "v1.0.0", at=system.clock()))
    monkeypatch.setattr("tallyman.domain.gates.scan.counted", lambda number, what: f"{what.split()[0]}: {number}")
    system.process().evaluator.digest(digest)
    assert "critical: 1" in str(pending(system)[0]["reason"])
    assert (len(system.facts(Kind.DECIDED)), len(system.notices.published)) == (2, 1)
    system.clock.advance(minutes=1)
    system.ledger.append(scanned(digest, {"critical": 2}, at=system.clock(), seen=system.clock()))
    system.process().evaluator.digest(digest)
    assert len(system.notices.published) == 2


def refused(**gates: Any) -> tuple[RecordingStack, Digest]:
    """An image with one critical finding, refused and announced."""
    system = RecordingStack(policy(scan={"max": {"critical": 0}}, **gates))
    digest = system.registries.push(DEV, image("a"), "v1.0.0")
    system.ledger.append(scanned(digest, {"critical": 1}, at=system.clock()))
    system.deliver(push_event(DEV, digest, "v1.0.0", at=system.clock()))
    assert len(system.notices.published) == 1
    return system, digest


def test_another_policy_alone_is_recorded_and_announces_no_refused_image_again() -> None:
    system, digest = refused()
    system.clock.advance(hours=1)
    system.ledger.append(scanned(digest, {"critical": 1}, at=system.clock(), seen=system.clock()))  # the same, later
    for number in range(1, 4):
        system.policy = replace(system.policy, raw=system.policy.raw + b"\n")
        for _ in range(2):
            system.process().evaluator.digest(digest)
        decided = system.facts(Kind.DECIDED)
        assert (len(decided), decided[-1].detail["policy"]) == (1 + number, system.policy.digest)
    assert len(system.notices.published) == 1


def test_another_policy_and_other_words_announce_no_refused_image_again(monkeypatch: pytest.MonkeyPatch) -> None:
    system, digest = refused()
    system.clock.advance(hours=1)
    system.ledger.append(scanned(digest, {"critical": 1}, at=system.clock(), seen=system.clock()))
    monkeypatch.setattr("tallyman.domain.gates.scan.counted", lambda number, what: f"{what.split()[0]}: {number}")
    system.policy = replace(system.policy, raw=system.policy.raw + b"\n")
    system.process().evaluator.digest(digest)
    assert "critical: 1" in str(pending(system)[0]["reason"])
    assert len(system.notices.published) == 1


@pytest.mark.parametrize(
    ("gates", "announced"),
    [
        ({"scan": {"max": {"critical": 0}}, "order": True}, 1),  # it passes
        ({"scan": {"max": {"critical": 0}}, "soak": "1h"}, 1),  # it waits, and is named once nothing refuses the image
        ({"order": True, "scan": {"max": {"critical": 0}}}, 1),
        ({"scan": {"max": {"critical": 0, "high": 0}}}, 1),  # it asks for more, which the image fulfils
        ({"scan": {"max": {"critical": 0}}, "built": {"branch": ["main"]}}, 2),  # a second gate refuses the image
    ],
)
def test_a_policy_that_asks_for_other_things_is_announced_where_it_changes_what_refuses_the_image(
    gates: dict[str, Any], announced: int
) -> None:
    system, digest = refused()
    system.policy = policy(**gates)
    for _ in range(2):
        system.process().evaluator.digest(digest)
    assert len(system.notices.published) == announced


def test_a_finding_that_begins_to_count_is_announced_although_the_scan_is_the_same() -> None:
    system = RecordingStack(policy(scan={"max": {"critical": 0}, "since": "14d"}))
    digest = system.registries.push(DEV, image("a"), "v1.0.0")
    known = [format_time(system.clock() - timedelta(days=days)) for days in (20, 10)]
    rows = [{"id": f"CVE-{n}", "severity": "critical", "package": "p", "since": at} for n, at in enumerate(known)]
    system.ledger.append(scanned(digest, {"critical": 2}, findings=rows, at=system.clock()))
    system.deliver(push_event(DEV, digest, "v1.0.0", at=system.clock()))
    assert "1 critical finding " in system.notices.published[0][1]
    system.clock.advance(days=5)
    for _ in range(2):
        system.process().evaluator.digest(digest)
    assert ["2 critical findings " in text for _, text, _ in system.notices.published] == [False, True]


def test_a_policy_by_which_more_findings_count_is_announced() -> None:
    system = RecordingStack(policy(scan={"max": {"critical": 0}, "packages": {"ignore": ["q"]}}))
    digest = system.registries.push(DEV, image("a"), "v1.0.0")
    rows = [{"id": f"CVE-{name}", "severity": "critical", "package": name} for name in ("p", "q")]
    system.ledger.append(scanned(digest, {"critical": 2}, findings=rows, at=system.clock()))
    system.deliver(push_event(DEV, digest, "v1.0.0", at=system.clock()))
    system.policy = policy(scan={"max": {"critical": 0}})
    for _ in range(2):
        system.process().evaluator.digest(digest)
    assert ["2 critical findings " in text for _, text, _ in system.notices.published] == [False, True]


def test_a_policy_that_lets_an_image_through_and_one_that_refuses_it_again_are_news() -> None:
    system, digest = refused()
    before = system.policy
    system.policy = policy(scan={"max": {"critical": 1}})
    system.process().evaluator.digest(digest)
    system.policy = before
    system.process().evaluator.digest(digest)
    assert len(system.notices.published) == 2


def test_another_conflict_of_a_promoted_image_is_announced_and_the_same_is_not() -> None:
    system = RecordingStack(policy())
    digest = system.registries.push(DEV, image("a"), "v1.0.0")
    system.deliver(push_event(DEV, digest, "v1.0.0", at=system.clock()))
    about: dict[str, Any] = {"from": "dev", "to": "prod", "name": DEV.name}
    places = [str(place.registry) for place in (PROD, PROD_SA)]
    done: dict[str, Any] = {
        "tags": ["v1.0.0"],
        "registries": places,
        "policy": "p",
        "left_out": {},
        "tagging": [],
        "stays": None,
    }
    system.clock.advance(minutes=1)
    system.ledger.append(fact(Kind.PROMOTED, digest, at=system.clock(), seen=system.clock(), **about, **done))
    answer = {"exists": True, "immutable": True, "mutable_tags": [], "error": None}
    for taken in (places[:1], places[:1], places):
        system.clock.advance(minutes=1)
        tags = {place: {"v1.0.0": digest_of("other") if place in taken else digest} for place in places}
        registries = {place: {**answer, "tags": tags[place]} for place in places}
        at = system.clock()
        system.ledger.append(fact(Kind.TARGET_SEEN, digest, at=at, seen=at, registries=registries, **about))
        for _ in range(2):
            system.process().evaluator.digest(digest)
    conflicts = [text for _, text, given in system.notices.published if given["kind"] == "conflict"]
    assert [text.count("is taken by") for text in conflicts] == [1, 2]


def test_another_gate_that_opens_meanwhile_does_not_announce_a_refused_image_again() -> None:
    system, digest = refused(soak="1h")
    system.clock.advance(hours=1)
    system.process().evaluator.digest(digest)
    assert len(system.facts(Kind.DECIDED)) == 2
    assert len(system.notices.published) == 1


def test_a_gate_that_waited_for_a_fact_and_then_for_a_person_is_announced_once() -> None:
    system = RecordingStack(policy(scan={"max": {"critical": 0}, "unscannable": "approve"}))
    digest = system.registries.push(DEV, image("a"), "v1.0.0")
    system.deliver(push_event(DEV, digest, "v1.0.0", at=system.clock()))
    assert (pending(system)[0]["gate"], system.notices.published) == ("scan", [])
    system.ledger.append(scanned(digest, status="unsupported", at=system.clock(), seen=system.clock()))
    for _ in range(2):
        system.process().evaluator.digest(digest)
    assert [subject for subject, _, _ in system.notices.published] == [
        "rocketseat/widget-server:v1.0.0 is held for prod"
    ]


def test_a_window_that_opens_and_closes_every_day_is_announced_once_and_so_is_the_gate_behind_it() -> None:
    window = {"days": "mon-fri", "between": "09:00-10:00", "timezone": "America/Sao_Paulo"}
    approvals = {"count": 1, "from": ["role/release-managers"]}
    system = RecordingStack(policy(window=window, approvals=approvals))
    digest = system.registries.push(DEV, image("a"), "v1.0.0")
    system.deliver(push_event(DEV, digest, "v1.0.0", at=system.clock()))
    for _ in range(7 * 48):
        system.clock.advance(minutes=30)
        system.process().evaluator.digest(digest)
    first, second = [text.splitlines()[0] for _, text, _ in system.notices.published]
    assert "the window is closed" in first
    assert "needs 1 approval" in second
    assert len(system.facts(Kind.DECIDED)) == 11  # each change is recorded
    denied = fact(Kind.DENIED, digest, actor="AROAX:ana", because="no", at=system.clock())
    detail = {**denied.detail, "principal": "role/release-managers", "name": DEV.name, "from": "dev", "to": "prod"}
    system.ledger.append(replace(denied, detail=detail))
    system.process().evaluator.digest(digest)
    assert len(system.notices.published) == 3


def test_two_concurrent_reactions_write_one_decision(monkeypatch: pytest.MonkeyPatch) -> None:
    system = RecordingStack(policy(soak="24h"))
    digest = system.registries.push(DEV, image("a"), "v1.0.0")
    first, second = system.process(), system.process()
    real, others = system.state.get, [second]

    def get(pk: str, sk: str) -> StateItem | None:
        item = real(pk, sk)
        if pk == pending_items.partition("prod") and others:
            others.pop().evaluator.image(digest)  # between the other's read and its write
        return item

    monkeypatch.setattr(system.state, "get", get)
    first.record.handle(json.dumps(push_event(DEV, digest, "v1.0.0", at=system.clock())))
    assert others == []
    assert len(pending(system)) == len(system.facts(Kind.DECIDED)) == len(system.notices.published) == 1


def test_repeated_write_conflicts_are_a_transient_error(monkeypatch: pytest.MonkeyPatch) -> None:
    system = soaking()

    def append(*_: object) -> object:
        raise RevisionConflict("always another writer")

    system.clock.advance(hours=24)
    monkeypatch.setattr(system.ledger, "append", append)
    with pytest.raises(RevisionConflict, match="try again"):
        system.process().evaluator.image(image("a").digest)


def with_a_refused_signature(monkeypatch: pytest.MonkeyPatch) -> tuple[RecordingStack, Digest]:
    """An image whose only signature is by nobody whom the policy trusts, refused and announced."""
    pem = signing.pem(signing.new_key())
    system = RecordingStack(policy(signed={"keys": [pem]}))
    digest = system.registries.push(DEV, image("a"), "v1.0.0")
    signature_of(system, digest, "s1", SignerKey.parse(pem).name)
    system.deliver(push_event(DEV, digest, "v1.0.0", at=system.clock()))
    assert len(system.notices.published) == 1
    monkeypatch.setattr("tallyman.domain.gates.attached._words", lambda origin: "in other words")
    return system, digest


def signature_of(system: RecordingStack, digest: Digest, name: str, looked: str) -> None:
    said = Origin(str(DEV), digest_of(name), name, "bundle", "refused", reason="by none of the keys", looked=[looked])
    made = fact(Kind.ORIGIN, digest, DEV, at=system.clock(), seen=system.clock())
    system.ledger.append(replace(made, id=name, detail=said.dump()))


@pytest.mark.parametrize("release", ["this", "earlier"])
def test_a_refused_signature_in_other_words_is_no_news_and_another_signature_is(
    monkeypatch: pytest.MonkeyPatch, release: str
) -> None:
    system, digest = with_a_refused_signature(monkeypatch)
    (decided,) = system.facts(Kind.DECIDED)
    (gate,) = [each for each in decided.detail["gates"] if each["name"] == "signed"]
    assert gate["facts"]["refusals"] == [{"referrer": digest_of("s1"), "flaw": "unverified"}]
    if release == "earlier":
        del gate["facts"]["refusals"]
    system.process().evaluator.digest(digest)
    assert "in other words" in str(pending(system)[0]["reason"])
    assert len(system.notices.published) == 1
    (key,) = gate["facts"]["keys"]
    system.clock.advance(minutes=1)
    signature_of(system, digest, "s2", key)
    system.process().evaluator.digest(digest)
    assert len(system.notices.published) == 2


def test_another_signature_is_news_beside_a_decision_of_an_earlier_release(monkeypatch: pytest.MonkeyPatch) -> None:
    system, digest = with_a_refused_signature(monkeypatch)
    (decided,) = system.facts(Kind.DECIDED)
    (gate,) = [each for each in decided.detail["gates"] if each["name"] == "signed"]
    del gate["facts"]["refusals"]
    system.clock.advance(minutes=1)
    signature_of(system, digest, "s2", gate["facts"]["keys"][0])
    system.process().evaluator.digest(digest)
    assert len(system.notices.published) == 2
