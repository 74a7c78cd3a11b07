"""The gate `scan`: which findings count, independent of the list's length, and what is unknown."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from support.fakes.gate_cases import APP, LATER, case_of, image_of, judged
from support.images.builders import NOON, scanned
from tallyman.domain.gates import FAILED, PASSED, WAITING, GateResult
from tallyman.domain.images.details import Finding
from tallyman.domain.images.findings import from_object, rows_of, to_object
from tallyman.domain.names import Digest
from tallyman.domain.times import format_time

MAX = {"critical": 0}


def asked(rows: Sequence[Mapping[str, Any]], counts: Mapping[str, int] | None = None, **scan: Any) -> GateResult:
    """The gate's result for a scan with these findings."""
    counts = {"critical": len(rows)} if counts is None else counts
    fact = scanned(APP, counts, findings=rows, at=NOON)
    return judged("scan", case_of(fact, gates={"scan": {"max": MAX, **scan}}))


def row(**more: Any) -> dict[str, Any]:
    return {"id": "CVE-2026-1", "severity": "critical", "package": "openssl", **more}


def ignoring(*ids: str) -> dict[str, Any]:
    return {"ignore": [{"id": each, "until": "2027-01-31"} for each in ids]}


def test_an_ignored_finding_never_counts_however_often_it_occurs() -> None:
    rows = [row(package=f"p{n}") for n in range(5)]
    assert asked(rows).verdict == FAILED
    result = asked(rows, **ignoring("CVE-2026-1"))
    assert (result.verdict, result.facts["ignored"]) == (PASSED, ["CVE-2026-1"])


def test_counted_but_unnamed_findings_are_never_ignored() -> None:
    result = asked([row()], {"critical": 2}, **ignoring("CVE-2026-1"))
    assert result.verdict == FAILED
    assert (
        result.reason == "1 critical finding (at most 0); 1 ignored; for 1 that counts it is not known which they are"
    )


def test_a_partial_list_in_a_fact_is_completed_from_the_archive() -> None:
    rows = rows_of([Finding("CVE-2026-1", "critical", f"p{n}") for n in range(700)])
    raw = to_object("complete", {"critical": 700}, rows)
    archived = Digest.of(raw)
    fact = scanned(APP, {"critical": 700}, findings=rows[:400], at=NOON, archived=archived, listed=700)
    gates = {"scan": {"max": MAX, **ignoring("CVE-2026-1")}}
    without = judged("scan", case_of(fact, gates=gates))
    assert without.verdict == FAILED  # a list that can't be read opens nothing
    image = image_of(fact)
    object.__setattr__(image, "findings", {archived: from_object(raw)})
    assert judged("scan", case_of(image=image, gates=gates)).verdict == PASSED


def test_a_fact_of_an_earlier_version_counts_by_its_archived_object() -> None:
    """It named each finding once, however often it occurred."""
    said = b'["complete", {"critical": 2}, [{"id": "CVE-2026-1", "package": "a", "severity": "critical"}, '
    said += b'{"id": "CVE-2026-1", "package": "b", "severity": "critical"}]]'
    old: dict[str, Any] = {"findings": [{"id": "CVE-2026-1", "severity": "critical"}], "archived": Digest.of(said)}
    image = image_of(scanned(APP, {"critical": 2}, at=NOON, **old))
    object.__setattr__(image, "findings", {Digest.of(said): from_object(said)})
    assert (
        judged("scan", case_of(image=image, gates={"scan": {"max": MAX, **ignoring("CVE-2026-1")}})).verdict == PASSED
    )


@pytest.mark.parametrize(
    ("scan", "passes", "counts", "unknown"),
    [
        ({"fixable": "only"}, {"fix": False}, {"fix": True}, "whether there is a fix"),
        ({"exploit": "known"}, {"exploit": False}, {"exploit": True}, "whether there is an exploit"),
        ({"epss": 0.5}, {"epss": 0.49}, {"epss": 0.5}, "how likely an exploit is (EPSS)"),
        ({"since": "14d"}, {"since": format_time(LATER - timedelta(days=13))},
         {"since": format_time(LATER - timedelta(days=14))}, "since when it is known"),
        ({"packages": {"ignore": ["linux-*"]}}, {"package": "linux-libc-dev"}, {"package": "glibc"}, None),
    ],
)  # fmt: skip
def test_findings_below_the_policys_severities_do_not_count_and_unknown_ones_do(
    scan: dict[str, Any], passes: dict[str, Any], counts: dict[str, Any], unknown: str | None
) -> None:
    assert asked([row(**passes)], **scan).verdict == PASSED
    result = asked([row(**counts)], **scan)
    assert (result.verdict, result.reason) == (FAILED, "1 critical finding (at most 0)")
    if unknown is not None:
        found = asked([row()], **scan)
        assert found.verdict == FAILED
        assert found.reason.endswith(f"; for 1 that counts it is not known {unknown}")


def test_a_finding_of_several_packages_counts_unless_all_of_them_are_ignored() -> None:
    scan: dict[str, Any] = {"packages": {"ignore": ["linux-*"]}}
    assert asked([row(packages=["linux-headers", "linux-libc-dev"])], **scan).verdict == PASSED
    assert asked([row(packages=["linux-headers", "perf"])], **scan).verdict == FAILED
    assert asked([row(package=None)], **scan).reason.endswith("it is not known in which package")


def test_a_new_finding_has_a_grace_period_shown_in_the_verdict() -> None:
    known = LATER - timedelta(days=10)
    result = asked([row(since=format_time(known))], since="14d")
    assert (result.verdict, result.until) == (PASSED, known + timedelta(days=14))
    # only fixed findings, after a grace period
    assert asked([row(since=format_time(known), fix=True)], since="14d", fixable="only").verdict == PASSED
    assert asked([row(since=format_time(known), fix=True)], since="7d", fixable="only").verdict == FAILED


def test_a_clean_scan_passes_without_remarks() -> None:
    result = asked([], fixable="only", exploit="known", epss=0.1, since="1d")
    assert result.reason == f"scanned {format_time(NOON)}: no findings"


@pytest.mark.parametrize(
    ("scan", "rows", "said"),
    [
        (ignoring("CVE-2026-1"), [row(), row(package="zlib")], "no findings that count; 2 ignored"),
        ({"fixable": "only"}, [row(fix=False)], "no findings that count; 1 without a fix"),
        (
            {"max": {"critical": 1}, "exploit": "known", "packages": {"ignore": ["linux-*"]}, **ignoring("CVE-2026-2")},
            [row(exploit=True), row(exploit=False), row(id="CVE-2026-2"), row(package="linux-libc-dev")],
            "1 critical finding; 1 without a known exploit, 1 ignored, 1 in ignored packages",
        ),
        (
            {"epss": 0.5, "since": "14d"},
            [row(epss=0.1), row(epss=0.9, since=format_time(LATER - timedelta(days=1)))],
            "no findings that count; 1 of an EPSS below 0.5, 1 not known for long enough",
        ),
    ],
)
def test_findings_that_do_not_count_are_counted_with_their_reason(
    scan: dict[str, Any], rows: list[dict[str, Any]], said: str
) -> None:
    result = asked(rows, **scan)
    assert (result.verdict, result.reason) == (PASSED, f"scanned {format_time(NOON)}: {said}")


@pytest.mark.parametrize("lacks", [{"completed_at": None}, {"counts": None}, {"completed_at": None, "counts": None}])
def test_a_scan_that_an_earlier_version_stored_as_complete_without_its_proof_is_unknown(lacks: dict[str, Any]) -> None:
    clean = scanned(APP, {}, at=NOON)
    detail = {key: part for key, part in clean.detail.items() if key not in lacks}
    result = judged("scan", case_of(replace(clean, detail=detail), gates={"scan": {"max": MAX}}))
    assert (result.verdict, result.facts["status"]) == (WAITING, "unknown")
    assert "without its time and counts" in result.reason
    assert asked([]).verdict == PASSED
