"""Laws of origin: only a verified signature by a currently trusted signer opens `signed`, and bad signatures change
nothing."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from support.fakes.gate_cases import APP, LATER, case_of, judged
from support.images import signing
from support.images.builders import DEV, NOON, digest_of, fact, scanned
from tallyman.domain.gates import FAILED, PASSED, WAITING
from tallyman.domain.gates.signers import SignerKey
from tallyman.domain.history.details.referrers import Origin
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.images.signatures import RULES
from tallyman.domain.images.vex import VexStatement
from tallyman.domain.plain import plain

MINE, OTHER = (signing.pem(signing.new_key()) for _ in range(2))
NAME, OTHER_NAME = SignerKey.parse(MINE).name, SignerKey.parse(OTHER).name
WHO = {"issuer": signing.ISSUER, "subject": signing.SUBJECT}
GATES: dict[str, Any] = {"signed": {"keys": [MINE], "identities": [WHO]}}


def origin_fact(  # noqa: PLR0913 - the fields in which verdicts differ
    number: int,
    verdict: str,
    keys: list[str],
    identity: dict[str, str] | None,
    looked: list[str],
    statement: str | None = None,
    ref: str | None = None,
    vex: dict[str, Any] | None = None,
) -> Fact:
    details = Origin(
        repository=str(DEV),
        referrer=str(digest_of(f"signature {number}")),
        signature=str(number),
        form="bundle",
        verdict=verdict,
        keys=keys,
        identity=identity,
        reason="it is bad",
        looked=looked,
        roots="sha256:1",
        rules=RULES,
        statement=statement,
        claims={"builder": None, "source": None, "ref": ref, "commit": None} if statement else None,
        vex=vex,
    )
    return replace(fact(Kind.ORIGIN, APP), id=f"{number} {verdict} {looked}", detail=details.dump())


good = st.builds(
    lambda number, by: origin_fact(number, "verified", by[0], by[1], [NAME]),
    st.integers(0, 9),
    st.sampled_from([([NAME], None), ([], WHO), ([OTHER_NAME, NAME], None)]),
)
bad = st.one_of(
    st.builds(
        lambda n, looked: origin_fact(n, "refused", [], None, looked),
        st.integers(10, 19),
        st.sampled_from([[], [NAME]]),
    ),
    st.builds(lambda n: origin_fact(n, "refused", [NAME], WHO, [NAME]), st.integers(20, 29)),
    st.builds(lambda n: origin_fact(n, "verified", [OTHER_NAME], None, [OTHER_NAME, NAME]), st.integers(30, 39)),
    st.builds(lambda n: origin_fact(n, "verified", [], {**WHO, "issuer": "https://x"}, [NAME]), st.integers(40, 49)),
)
BY: list[tuple[str, list[str], dict[str, str] | None]] = [
    ("verified", [NAME], None),
    ("verified", [OTHER_NAME], None),
    ("refused", [], None),
    ("refused", [NAME], WHO),
]
provenance = st.builds(
    lambda number, by, kind, ref: origin_fact(number, by[0], by[1], by[2], [NAME], kind, ref),
    st.integers(50, 59),
    st.sampled_from(BY),
    st.sampled_from(["https://slsa.dev/provenance/v1", "https://spdx.dev/Document", ""]),
    st.sampled_from(["refs/heads/main", "refs/heads/try", "refs/tags/main", "main", None]),
)
ORDER = {FAILED: 0, WAITING: 1, PASSED: 2}


@given(st.lists(provenance, max_size=6, unique_by=lambda fact: fact.detail["signature"]))
def test_only_a_verified_provenance_of_the_branch_passes_and_it_is_no_signature(facts: list[Fact]) -> None:
    gates = {**GATES, "built": {"branch": ["main"]}}
    mine = [Origin.parse(f) for f in facts]
    good = any(
        o.is_verified and NAME in o.keys and (o.statement or "").startswith("https://slsa.dev/")
        and (o.claims or {}).get("ref") == "refs/heads/main"
        for o in mine
    )  # fmt: skip
    assert (judged("built", case_of(*facts, gates=gates)).verdict == PASSED) == good
    assert judged("signed", case_of(*facts, gates=gates)).verdict == WAITING


@given(st.lists(bad, max_size=6))
def test_no_verdict_passes_without_a_verified_signature_by_a_current_signer(facts: list[Fact]) -> None:
    assert judged("signed", case_of(*facts, gates=GATES)).verdict != PASSED


@given(st.lists(good, max_size=3), st.lists(bad, max_size=4), bad)
def test_a_bad_signature_never_makes_a_verdict_better(goods: list[Fact], bads: list[Fact], more: Fact) -> None:
    before = judged("signed", case_of(*goods, *bads, gates=GATES))
    after = judged("signed", case_of(*goods, *bads, more, gates=GATES))
    assert (before.verdict == PASSED) == (after.verdict == PASSED) == bool(goods)
    if bads or goods:
        assert ORDER[after.verdict] <= max(ORDER[before.verdict], ORDER[WAITING])


@given(st.lists(good, max_size=2), st.lists(bad, max_size=3), st.integers(0, 10_000))
def test_time_alone_changes_nothing(goods: list[Fact], bads: list[Fact], days: int) -> None:
    now = judged("signed", case_of(*goods, *bads, gates=GATES))
    assert judged("signed", case_of(*goods, *bads, gates=GATES, now=LATER + timedelta(days=days))) == now


SCAN: dict[str, Any] = {"scan": {"max": {"critical": 1}, "vex": {"keys": [MINE], "identities": [WHO]}}}
statements = st.lists(
    st.builds(
        lambda ids, status, minutes, parts: plain(
            VexStatement(ids, status, status == "fixed", "because", NOON + timedelta(minutes=minutes), parts)
        ),
        st.sampled_from([("CVE-1",), ("CVE-2",), ("CVE-1", "CVE-2"), ("CVE-3",)]),
        st.sampled_from(["fixed", "affected"]),
        st.integers(-3, 90),
        st.sampled_from([(), ("pkg:deb/debian/a",), ("pkg:deb/debian/a@1", "pkg:deb/debian/b@1"), ("?",)]),
    ),
    max_size=3,
)


def vexes(by: list[tuple[str, list[str], dict[str, str] | None]], numbers: tuple[int, int]) -> st.SearchStrategy[Fact]:
    return st.builds(
        lambda number, who, said: origin_fact(
            number, who[0], who[1], who[2], [NAME], "https://openvex.dev/ns", None, {"author": "x", "statements": said}
        ),
        st.integers(*numbers),
        st.sampled_from(by),
        statements,
    )


trusted = vexes([("verified", [NAME], None), ("verified", [], WHO)], (60, 69))
untrusted = vexes(
    [*BY[1:], ("verified", [], {**WHO, "subject": "https://x"}), ("verified", [OTHER_NAME], None)], (70, 79)
)
rows = st.lists(
    st.builds(
        lambda id, names: {"id": id, "severity": "critical", "package": names[0], "packages": names,
                           "installed": [[name, "1", "OS"] for name in names]},
        st.sampled_from(["CVE-1", "CVE-2", "CVE-3"]),
        st.sampled_from([["a"], ["b"], ["a", "b"]]),
    ),
    max_size=4,
)  # fmt: skip


def scan_gate(found: list[dict[str, Any]], facts: list[Fact]) -> Any:
    scan = scanned(APP, {"critical": len(found)}, findings=found, at=NOON)
    return judged("scan", case_of(scan, *facts, gates=SCAN))


@given(rows, st.lists(trusted, max_size=3), st.lists(untrusted, max_size=3))
def test_a_vex_without_a_signer_of_the_policy_changes_no_verdict(
    found: list[dict[str, Any]], mine: list[Fact], others: list[Fact]
) -> None:
    before, after = scan_gate(found, mine), scan_gate(found, [*mine, *others])
    assert (before.verdict, before.facts) == (after.verdict, after.facts)


@given(rows, st.lists(trusted, max_size=4))
def test_a_vex_that_says_affected_never_makes_a_verdict_better(found: list[dict[str, Any]], mine: list[Fact]) -> None:
    said = plain(VexStatement(("CVE-1", "CVE-2"), "affected", False, "affected", None))
    worse = origin_fact(99, "verified", [NAME], None, [NAME], "https://openvex.dev/ns", None, {"statements": [said]})
    after = scan_gate(found, [*mine, worse])
    assert ORDER[after.verdict] <= ORDER[scan_gate(found, mine).verdict]
    assert {each["id"] for each in after.facts["vex"]["ignored"]} <= {"CVE-3"}
