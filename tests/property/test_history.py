"""The history fold, for any facts: order and duplicates are irrelevant, every row has an event, equal rows join."""

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from support.images.builders import DEV, NOON, PROD, digest_of, fact
from tallyman.domain.history.facts import Fact, Kind, Via, fact_id
from tallyman.domain.history.fold import PUSHES, TAG_MOVED, digest_at, history

DIGESTS = [digest_of(c) for c in "abc"]


@st.composite
def facts(draw: st.DrawFn) -> Fact:
    kinds = [Kind.PUSHED, Kind.PUSHED, Kind.REPLICATED, Kind.UNTAGGED, Kind.DELETED, Kind.ARCHIVED]
    kind = draw(st.sampled_from(kinds))
    tag = draw(st.sampled_from(["v1", "latest", None])) if kind in PUSHES else "v1" if kind is Kind.UNTAGGED else None
    at = NOON + timedelta(seconds=draw(st.integers(0, 40)))
    detail: dict[str, Any] = {"call": "x"} if draw(st.booleans()) else {}
    if tag and draw(st.booleans()):
        detail["current"] = draw(st.sampled_from([*DIGESTS, None]))
    made = fact(
        kind,
        draw(st.sampled_from(DIGESTS)),
        draw(st.sampled_from([DEV, PROD])),
        tag,
        at=at,
        seen=at + timedelta(seconds=draw(st.integers(0, 90))),
        via=draw(st.sampled_from([Via.EVENT, Via.RECONCILED])),
        actor=draw(st.sampled_from([None, "arn:aws:iam::111111111111:user/ana"])),
        **detail,
    )
    return replace(made, id=fact_id(repr(made)))  # in the ledger no two facts have the same key


many = st.lists(facts(), max_size=14)


@given(many, st.randoms(use_true_random=False))
def test_order_and_doubling_never_matter(ledger: list[Fact], chance: Any) -> None:
    mixed = ledger + ledger[::2]
    chance.shuffle(mixed)
    assert history(mixed) == history(ledger)


@given(many)
def test_rows_and_facts_correspond(ledger: list[Fact]) -> None:
    rows = history(ledger)
    for row in rows:
        kinds = PUSHES if row.kind == TAG_MOVED else {row.kind}
        assert any(
            f.kind in kinds and (f.digest, f.tag, f.repository) == (row.digest, row.tag, row.repository) for f in ledger
        )
    pushed = {(f.repository, f.tag, f.digest) for f in ledger if f.kind in PUSHES}
    assert {(r.repository, r.tag, r.digest) for r in rows if r.kind in PUSHES} == pushed


@given(many)
def test_a_tag_is_never_set_twice_to_what_it_points_to(ledger: list[Fact]) -> None:
    only = [f for f in ledger if f.kind in PUSHES]
    for repository, tag in {(f.repository, f.tag) for f in only if f.tag}:
        sets = [r.digest for r in history(only) if (r.repository, r.tag) == (repository, tag) and r.kind in PUSHES]
        assert all(a != b for a, b in pairwise(sets))


@given(many)
def test_a_moves_row_is_directly_above_the_push_that_moved_the_tag(ledger: list[Fact]) -> None:
    for repository, tag in {(f.repository, f.tag) for f in ledger}:
        rows = [r for r in history(ledger) if (r.repository, r.tag) == (repository, tag)]
        for above, below in pairwise(rows):
            if above.kind == TAG_MOVED:
                assert below.kind in PUSHES
                assert (below.digest, below.at) == (above.digest, above.at)
        assert not rows or rows[-1].kind != TAG_MOVED


@given(many)
def test_rows_are_newest_first(ledger: list[Fact]) -> None:
    times = [r.at for r in history(ledger)]
    assert times == sorted(times, reverse=True)


@given(many, st.integers(0, 45))
def test_the_history_at_a_moment_agrees_with_what_was_known_then(ledger: list[Fact], second: int) -> None:
    moment = NOON + timedelta(seconds=second)
    before = [f for f in ledger if f.at <= moment]
    for tag in ("v1", "latest"):
        assert digest_at(ledger, DEV, tag, moment) == digest_at(before, DEV, tag, moment + timedelta(days=1))


@given(st.lists(st.sampled_from(DIGESTS), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_a_tag_points_to_the_last_push(digests: list[Any], chance: Any) -> None:
    ledger = [fact(Kind.PUSHED, d, DEV, "v1", at=NOON + timedelta(minutes=n)) for n, d in enumerate(digests)]
    shuffled = list(ledger)
    chance.shuffle(shuffled)
    for n, digest in enumerate(digests):
        assert digest_at(shuffled, DEV, "v1", NOON + timedelta(minutes=n, seconds=59)) == digest
    assert digest_at(shuffled, DEV, "v1", NOON - timedelta(seconds=1)) is None


@given(st.integers(-5, 5), st.booleans())
def test_an_event_and_a_sweeps_observation_of_one_call_are_one_row_with_the_events_time(
    offset: int, late: bool
) -> None:
    event = fact(Kind.PUSHED, DIGESTS[0], DEV, "v1", at=NOON, seen=NOON + timedelta(hours=late))
    at = NOON + timedelta(seconds=offset)
    other = fact(Kind.PUSHED, DIGESTS[0], DEV, "v1", at=at, via=Via.RECONCILED, actor="arn:x", call="c")
    (row,) = history([event, other])
    assert (row.at, row.via, row.actor) == (NOON, Via.EVENT, "arn:x")
