"""Laws of origin: nothing opens `signed` but a verified signature by a signer of now, and bad ones change nothing."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from support.fakes.gate_cases import APP, LATER, case_of, judged
from support.images import signing
from support.images.builders import DEV, digest_of, fact
from tallyman.domain.gates import FAILED, PASSED, WAITING
from tallyman.domain.gates.signers import SignerKey
from tallyman.domain.history.details.referrers import Origin
from tallyman.domain.history.facts import Fact, Kind

MINE, OTHER = (signing.pem(signing.new_key()) for _ in range(2))
NAME, OTHER_NAME = SignerKey.parse(MINE).name, SignerKey.parse(OTHER).name
WHO = {"issuer": signing.ISSUER, "subject": signing.SUBJECT}
GATES: dict[str, Any] = {"signed": {"keys": [MINE], "identities": [WHO]}}


def told(  # noqa: PLR0913 - what verdicts differ in
    number: int,
    verdict: str,
    keys: list[str],
    identity: dict[str, str] | None,
    looked: list[str],
    statement: str | None = None,
    ref: str | None = None,
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
        statement=statement,
        claims={"builder": None, "source": None, "ref": ref, "commit": None} if statement else None,
    )
    return replace(fact(Kind.ORIGIN, APP), id=f"{number} {verdict} {looked}", detail=details.dump())


good = st.builds(
    lambda number, by: told(number, "verified", by[0], by[1], [NAME]),
    st.integers(0, 9),
    st.sampled_from([([NAME], None), ([], WHO), ([OTHER_NAME, NAME], None)]),
)
bad = st.one_of(
    st.builds(
        lambda n, looked: told(n, "refused", [], None, looked), st.integers(10, 19), st.sampled_from([[], [NAME]])
    ),
    st.builds(lambda n: told(n, "refused", [NAME], WHO, [NAME]), st.integers(20, 29)),
    st.builds(lambda n: told(n, "verified", [OTHER_NAME], None, [OTHER_NAME, NAME]), st.integers(30, 39)),
    st.builds(lambda n: told(n, "verified", [], {**WHO, "issuer": "https://x"}, [NAME]), st.integers(40, 49)),
)
BY: list[tuple[str, list[str], dict[str, str] | None]] = [
    ("verified", [NAME], None),
    ("verified", [OTHER_NAME], None),
    ("refused", [], None),
    ("refused", [NAME], WHO),
]
provenance = st.builds(
    lambda number, by, kind, ref: told(number, by[0], by[1], by[2], [NAME], kind, ref),
    st.integers(50, 59),
    st.sampled_from(BY),
    st.sampled_from(["https://slsa.dev/provenance/v1", "https://spdx.dev/Document", ""]),
    st.sampled_from(["refs/heads/main", "refs/heads/try", "refs/tags/main", "main", None]),
)
ORDER = {FAILED: 0, WAITING: 1, PASSED: 2}


@given(st.lists(provenance, max_size=6))
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
def test_no_verdict_passes_without_a_verified_signature_by_a_signer_of_now(facts: list[Fact]) -> None:
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
