"""record_scan: a scan's result is read from the registry, written once, and decides about the indexes above."""

import json
from collections import Counter
from typing import Any

import pytest

from support.fakes.recording import RecordingStack, policy
from support.images.builders import (
    DEV,
    PROD,
    image,
    index,
    inspector_event,
    multi_arch,
    push_event,
    scan_event,
)
from support.images.builders import scanned as scan_fact
from tallyman.domain.history.facts import Kind, Via
from tallyman.domain.images.details import Finding, ScanReport
from tallyman.domain.names import Digest
from tallyman.errors import BadMessage
from tallyman.services.recording.finding_index import not_indexed, where
from tallyman.services.recording.record_scan import News


def report(system: RecordingStack, critical: int = 0, status: str = "complete") -> ScanReport:
    findings = tuple(Finding(f"CVE-2026-{n}", "critical", "openssl") for n in range(critical))
    return ScanReport(status, {"critical": critical, "high": 0}, findings, system.clock())


def react(system: RecordingStack, *events: object) -> list[str]:
    return [system.process().scans.handle(json.dumps(e)) for e in events]


def system_with(built: object, tag: str = "v1.0.0") -> RecordingStack:
    system = RecordingStack(policy(scan={"max": {"critical": 0}}))
    digest = system.registries.push(DEV, built, tag)  # type: ignore[arg-type]
    system.deliver(push_event(DEV, digest, tag, at=system.clock()))
    system.hints.sent.clear()
    return system


def test_a_scan_is_recorded_once_with_its_counts_and_findings() -> None:
    app = image("a")
    system = system_with(app)
    system.registries.set_scan(DEV, app.digest, report(system, 2))
    reported = scan_event(DEV, app.digest, ["v1.0.0"], {"CRITICAL": 2})
    assert react(system, reported, reported) == ["scan complete", "scan complete (known)"]
    (scan,) = system.facts(Kind.SCANNED)
    assert scan.detail["counts"] == {"critical": 2}
    assert [f["id"] for f in scan.detail["findings"]] == ["CVE-2026-0", "CVE-2026-1"]
    assert system.archive.get("findings", Digest(scan.detail["archived"]))


def test_a_clean_scan_opens_the_gate_and_a_critical_finding_fails_it() -> None:
    app = image("a")
    system = system_with(app)
    system.registries.set_scan(DEV, app.digest, report(system))
    react(system, scan_event(DEV, app.digest))
    assert [h["digest"] for h in system.hints.to("promote")] == [app.digest]
    system.hints.sent.clear()
    system.clock.advance(hours=1)
    system.registries.set_scan(DEV, app.digest, report(system, 1))
    react(system, scan_event(DEV, app.digest, at=system.clock()))
    assert system.hints.to("promote") == []
    assert [s for s, _, _ in system.notices.published] == ["rocketseat/widget-server:v1.0.0 is refused for prod"]


def test_the_scan_of_the_last_platform_decides_the_index() -> None:
    app = multi_arch("a")
    system = system_with(app)
    children = [d for d in app.manifests if d != app.digest]
    for child in children:
        assert system.hints.to("promote") == []
        system.registries.set_scan(DEV, child, report(system))
        react(system, scan_event(DEV, child))
    assert [h["digest"] for h in system.hints.to("promote")] == [app.digest]


def test_the_scan_of_an_image_beneath_two_indexes_decides_both() -> None:
    child = image("child")
    first, second = index(child), index(child, annotations={"build": "2"})
    system = system_with(first)
    system.registries.push(DEV, second, "v1.1.0")
    system.deliver(push_event(DEV, second.digest, "v1.1.0", at=system.clock()))
    system.registries.set_scan(DEV, child.digest, report(system))
    react(system, scan_event(DEV, child.digest))
    assert {h["digest"] for h in system.hints.to("promote")} == {first.digest, second.digest}


def test_inspectors_events_are_assigned_by_the_repositorys_arn() -> None:
    app = image("a")
    system = system_with(app)
    system.registries.set_scan(DEV, app.digest, report(system))
    reported = [inspector_event(DEV, app.digest), inspector_event(DEV, app.digest, seen_by="999999999999")]
    assert react(system, *reported) == ["scan complete", "scan complete (known)"]
    assert [f.repository for f in system.facts(Kind.SCANNED)] == [DEV]


@pytest.mark.parametrize("status", ["none", "in_progress"])
def test_an_unfinished_scan_is_no_fact(status: str) -> None:
    app = image("a")
    system = system_with(app)
    system.registries.set_scan(DEV, app.digest, ScanReport(status))
    react(system, scan_event(DEV, app.digest))
    assert system.facts(Kind.SCANNED) == []


def test_a_failed_scan_is_a_fact_and_opens_nothing() -> None:
    app = image("a")
    system = system_with(app)
    system.registries.set_scan(DEV, app.digest, ScanReport("failed", reason="no such distribution"))
    react(system, scan_event(DEV, app.digest, status="FAILED"))
    (scan,) = system.facts(Kind.SCANNED)
    assert (scan.detail["status"], scan.detail["reason"]) == ("failed", "no such distribution")
    assert system.hints.to("promote") == []


def test_a_scan_without_its_own_time_is_recorded_only_if_changed() -> None:
    app = image("a")
    system = system_with(app)
    services = system.process()
    for status, news in (("failed", True), ("failed", False), ("unsupported", True), ("failed", True)):
        system.clock.advance(minutes=1)
        reported = services.scans.record(DEV, app.digest, ScanReport(status), Via.RECONCILED)
        assert (reported is not News.NONE) is news


def test_a_removed_image_is_no_error() -> None:
    system = RecordingStack()
    assert react(system, scan_event(DEV, image("a").digest)) == ["gone: the image was removed since"]


def test_more_findings_than_an_item_holds_are_archived_completely() -> None:
    app = image("a")
    system = system_with(app)
    system.registries.set_scan(DEV, app.digest, report(system, 1000))
    react(system, scan_event(DEV, app.digest))
    (scan,) = system.facts(Kind.SCANNED)
    assert scan.detail["counts"] == {"critical": 1000}
    assert len(scan.detail["findings"]) == 400
    raw = system.archive.get("findings", Digest(scan.detail["archived"]))
    assert raw is not None
    assert len(json.loads(raw)[2]) == 1000


def test_the_event_of_a_push_is_not_for_record_scan() -> None:
    with pytest.raises(BadMessage, match="event of a scan"):
        react(RecordingStack(), push_event(DEV, image("a").digest))


def test_the_size_of_a_scans_fact_is_bounded() -> None:
    app = image("a")
    system = system_with(app)
    findings = tuple(Finding("CVE-" + "9" * 1000 + str(n), "low", "p" * 500) for n in range(300))
    system.registries.set_scan(DEV, app.digest, ScanReport("complete", {"low": 300}, findings, system.clock()))
    react(system, scan_event(DEV, app.digest))
    (scan,) = system.facts(Kind.SCANNED)
    assert len(json.dumps(scan.detail)) < 70_000
    assert scan.detail["listed"] == 300


@pytest.mark.parametrize("number", [3, 500])
def test_an_ignored_finding_never_counts_however_long_the_list_is(number: int) -> None:
    app = image("a")
    ignored = {"id": "CVE-2026-1", "until": "2027-01-31"}
    system = RecordingStack(policy(scan={"max": {"critical": 0, "low": 1000}, "ignore": [ignored]}))
    system.registries.push(DEV, app, "v1.0.0")
    system.deliver(push_event(DEV, app.digest, "v1.0.0", at=system.clock()))
    system.hints.sent.clear()
    often = tuple(Finding("CVE-2026-1", "critical", f"package-{n}") for n in range(number))
    others = tuple(Finding(f"CVE-2025-{n}", "low", "openssl") for n in range(number))
    counts = {"critical": number, "low": number}
    system.registries.set_scan(DEV, app.digest, ScanReport("complete", counts, (*others, *often), system.clock()))
    react(system, scan_event(DEV, app.digest))
    assert [h["digest"] for h in system.hints.to("promote")] == [app.digest]
    system.hints.sent.clear()
    system.clock.advance(hours=1)
    counts = {"critical": number + 1, "low": number}
    findings = (*others, *often, Finding("CVE-2026-2", "critical", "zlib"))
    system.registries.set_scan(DEV, app.digest, ScanReport("complete", counts, findings, system.clock()))
    react(system, scan_event(DEV, app.digest, at=system.clock()))
    assert system.hints.to("promote") == []


def test_an_incomplete_scan_answer_is_no_fact_and_opens_nothing() -> None:
    app = image("a")
    system = system_with(app)
    system.registries.set_scan(DEV, app.digest, ScanReport("unknown", reason="COMPLETE, but the answer lacks its time"))
    assert react(system, scan_event(DEV, app.digest)) == ["scan unknown"]
    assert system.facts(Kind.SCANNED) == []
    assert system.hints.to("promote") == []


def found_in(system: RecordingStack, name: str) -> dict[Digest, tuple[str, tuple[str, ...]]]:
    """Where the index contains a vulnerability or a package."""
    return {digest: (found.severity, found.names) for (digest, _), found in where(system.state, name).items()}


def scanned(system: RecordingStack, digest: Digest, *findings: Finding) -> None:
    """A scan with these findings."""
    counts = Counter(finding.severity for finding in findings)
    system.clock.advance(hours=1)
    system.registries.set_scan(DEV, digest, ScanReport("complete", counts, findings, system.clock()))
    react(system, scan_event(DEV, digest, at=system.clock()))


def test_the_index_of_findings_and_packages_follows_the_newest_scans() -> None:
    first, second = image("a"), image("b")
    system = system_with(first)
    system.registries.push(DEV, second, "v1.1.0")
    old, new = Finding("CVE-2026-1", "high", "openssl"), Finding("CVE-2026-2", "critical", "openssl")
    scanned(system, first.digest, old)
    scanned(system, second.digest, old, new)
    assert found_in(system, "cve-2026-1") == dict.fromkeys((first.digest, second.digest), ("high", ("openssl",)))
    assert found_in(system, "openssl") == {
        first.digest: ("high", ("CVE-2026-1",)),
        second.digest: ("critical", ("CVE-2026-1", "CVE-2026-2")),
    }
    scanned(system, second.digest, new)
    assert set(found_in(system, "CVE-2026-1")) == {first.digest}
    assert found_in(system, "openssl")[second.digest] == ("critical", ("CVE-2026-2",))
    scanned(system, second.digest)
    assert found_in(system, "CVE-2026-2") == {}


def test_a_failed_scan_removes_nothing_from_the_index() -> None:
    app = image("a")
    system = system_with(app)
    scanned(system, app.digest, Finding("CVE-2026-1", "high", "openssl"))
    system.clock.advance(hours=1)
    system.registries.set_scan(DEV, app.digest, ScanReport("failed", completed_at=system.clock()))
    react(system, scan_event(DEV, app.digest, status="FAILED", at=system.clock()))
    assert set(found_in(system, "CVE-2026-1")) == {app.digest}
    scanned(system, app.digest)
    assert found_in(system, "CVE-2026-1") == {}


def test_scans_older_than_the_index_are_added_with_the_next_scan_of_their_repository() -> None:
    first, second = image("a"), image("b")
    system = system_with(first)
    system.registries.push(DEV, second, "v1.1.0")
    scanned(system, first.digest, Finding("CVE-2026-1", "high", "openssl"))
    for key in [key for key in system.state.items if key[0][:2] in ("FI", "FX")]:
        del system.state.items[key]
    assert not_indexed(system.state, [DEV]) == [DEV]
    scanned(system, second.digest)
    assert set(found_in(system, "CVE-2026-1")) == {first.digest}
    assert not_indexed(system.state, [DEV]) == []


def test_an_unchanged_scan_writes_nothing_into_the_index() -> None:
    app = image("a")
    system = system_with(app)
    scanned(system, app.digest, Finding("CVE-2026-1", "high", "openssl"))
    before = {key: item for key, item in system.state.items.items() if key[0].startswith("FI#")}
    scanned(system, app.digest, Finding("CVE-2026-1", "high", "openssl"))
    assert {key: item for key, item in system.state.items.items() if key[0].startswith("FI#")} == before


def test_the_epss_of_findings_is_read_if_a_gate_needs_it() -> None:
    app = image("a")
    likely, unlikely = Finding("CVE-2026-1", "critical", "openssl"), Finding("CVE-2026-2", "critical", "zlib")
    for epss, asked in ((0.5, True), (None, False)):
        scan = {"max": {"critical": 0}} | ({"epss": epss} if epss else {})
        system = RecordingStack(policy(scan=scan))
        system.registries.push(DEV, app, "v1.0.0")
        system.deliver(push_event(DEV, app.digest, "v1.0.0", at=system.clock()))
        system.registries.scores = {"CVE-2026-1": 0.9, "CVE-2026-2": 0.01}
        scanned(system, app.digest, likely, unlikely)
        (fact,) = system.facts(Kind.SCANNED)
        assert [row.get("epss") for row in fact.detail["findings"]] == ([0.9, 0.01] if asked else [None, None])
    system = RecordingStack(policy(scan={"max": {"critical": 0}, "epss": 0.5}))
    system.registries.push(DEV, app, "v1.0.0")
    system.deliver(push_event(DEV, app.digest, "v1.0.0", at=system.clock()))
    system.registries.scores = {"CVE-2026-2": 0.01}
    scanned(system, app.digest, unlikely)
    assert [hint["digest"] for hint in system.hints.to("promote")] == [app.digest]


def test_of_two_concurrently_recorded_scans_one_evaluates_the_indexes_above(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An unchanged scan is compared with what was written before it ended, and with what was written meanwhile."""
    shared = image("shared", architecture="amd64")
    app = index(shared, image("own", architecture="arm64"))
    system = system_with(app)
    scans = system.process().scans
    assert scans.record(DEV, shared.digest, report(system), Via.EVENT) is News.NEW
    system.clock.advance(hours=25)
    assert scans.record(DEV, shared.digest, report(system), Via.EVENT) is News.SAME
    assert scans.record(DEV, shared.digest, report(system), Via.EVENT) is News.NONE
    system.clock.advance(hours=25)
    real = system.ledger.append
    other = scan_fact(shared.digest, {"critical": 1}, PROD, at=system.clock())

    def append(*args: Any) -> Any:
        monkeypatch.setattr(system.ledger, "append", real)
        real(other)  # another worker is a moment faster
        return real(*args)

    monkeypatch.setattr(system.ledger, "append", append)
    system.clock.advance(seconds=1)
    assert scans.record(DEV, shared.digest, report(system), Via.EVENT) is News.NEW


def test_if_a_gate_limits_the_age_of_scans_each_scan_is_recorded() -> None:
    app = image("a")
    system = RecordingStack(policy(scan={"max": {"critical": 0}, "max_age": "7d"}))
    scans = system.process().scans
    for _ in range(2):
        system.clock.advance(hours=25)
        assert scans.record(DEV, app.digest, report(system), Via.EVENT) is News.NEW
