"""Ledger and State: one suite for the fakes and for DynamoDB with the template's tables."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from support.fakes.ports import FakeLedger, FakeState
from support.images.builders import DEV, NOON, PROD, child_of, digest_of, fact, pushed
from support.servers import aws_mock
from tallyman.adapters.dynamodb.tables import DynamoEntries, DynamoLedger, DynamoState
from tallyman.domain.history.facts import BEFORE_ALL, NO_TIME, Fact, Kind, Via
from tallyman.domain.history.seals import entry_hash
from tallyman.errors import BadInput, NotFound, RevisionConflict, Throttled, Unreachable
from tallyman.ports.records import Appended, Ledger, State
from tallyman.state.items import StateChange, StateCheck, StateItem

APP = digest_of("app")
OTHER = digest_of("other")
ENTRY = replace(
    fact(Kind.RELEASED, APP, environment="prod", previous=None), detail={"repository": PROD.name, "previous": None}
)


@dataclass
class Tables:
    ledger: Ledger
    state: State


@pytest.fixture(params=["fake", "dynamodb"])
def tables(request: pytest.FixtureRequest) -> Iterator[Tables]:
    if request.param == "fake":
        state = FakeState()
        yield Tables(FakeLedger(state), state)
        return
    with aws_mock.aws():
        names = aws_mock.table("LedgerTable", "t-ledger"), aws_mock.table("StateTable", "t-state")
        client = aws_mock.client("dynamodb")
        yield Tables(DynamoLedger(client, *names), DynamoState(client, names[1]))


def at(minutes: int) -> datetime:
    return NOON + timedelta(minutes=minutes)


def test_a_fact_is_read_as_it_was_written(tables: Tables) -> None:
    whole = Fact(
        kind=Kind.PUSHED,
        id="ab12",
        at=NOON,
        seen=NOON + timedelta(milliseconds=120),
        via=Via.RECONCILED,
        digest=APP,
        repository=DEV,
        tag="v1.0.0",
        environment="dev",
        media_type="application/vnd.oci.image.index.v1+json",
        size=5 * 2**40,
        actor="arn:aws:sts::111111111111:assumed-role/ci/João",
        detail={"a": [1, 2.5, None, True, "…", "\ud83d"], "b": {"": {}}},
    )
    assert tables.ledger.append(whole) is Appended.WRITTEN
    assert tables.ledger.of_digest(APP) == [whole]
    bare = Fact(Kind.POLICY, "cd34", NOON, NOON, Via.PERSON)
    tables.ledger.append(bare)
    assert list(tables.ledger.of_environment("*")) == [bare]


def test_a_fact_appended_twice_is_written_once(tables: Tables) -> None:
    assert tables.ledger.append(pushed(APP)) is Appended.WRITTEN
    again = replace(pushed(APP), seen=at(9), actor="somebody else")
    assert tables.ledger.append(again) is Appended.KNOWN
    assert tables.ledger.of_digest(APP) == [pushed(APP)]


def test_a_fact_and_its_change_are_written_together(tables: Tables) -> None:
    change = StateChange("T#x", "tag", 0, {"digest": APP})
    assert tables.ledger.append(pushed(APP), change) is Appended.WRITTEN
    item = tables.state.get("T#x", "tag")
    assert item is not None
    assert (item.revision, item.data) == (1, {"digest": APP})


def test_a_known_fact_changes_no_state(tables: Tables) -> None:
    tables.ledger.append(pushed(APP), StateChange("T#x", "tag", 0, {"n": 1}))
    assert tables.ledger.append(pushed(APP), StateChange("T#x", "tag", 1, {"n": 2})) is Appended.KNOWN
    item = tables.state.get("T#x", "tag")
    assert item is not None
    assert item.data == {"n": 1}


def test_a_known_fact_is_known_even_if_the_state_has_changed(tables: Tables) -> None:
    tables.ledger.append(pushed(APP), StateChange("T#x", "tag", 0, {"n": 1}))
    assert tables.ledger.append(pushed(APP), StateChange("T#x", "tag", 0, {"n": 2})) is Appended.KNOWN


def test_if_only_the_state_has_changed_nothing_is_written(tables: Tables) -> None:
    tables.state.put(StateChange("T#x", "tag", 0, {"n": 1}))
    with pytest.raises(RevisionConflict):
        tables.ledger.append(pushed(APP), StateChange("T#x", "tag", 0, {"n": 2}))
    assert tables.ledger.of_digest(APP) == []
    item = tables.state.get("T#x", "tag")
    assert item is not None
    assert item.data == {"n": 1}


def test_a_fact_is_written_only_if_its_checked_items_are_unchanged(tables: Tables) -> None:
    change = StateChange("REL#prod", "a", 0, {"n": 1})
    none, one = StateCheck("STOP", "recalls", 0), StateCheck("STOP", "recalls", 1)
    with pytest.raises(RevisionConflict):
        tables.ledger.append(pushed(APP), change, one)
    tables.state.put(StateChange("STOP", "recalls", 0, {"n": 1}))
    with pytest.raises(RevisionConflict):
        tables.ledger.append(pushed(APP), change, none)
    assert tables.ledger.of_digest(APP) == []
    assert tables.state.get("REL#prod", "a") is None
    assert tables.ledger.append(pushed(APP), change, one) is Appended.WRITTEN
    item = tables.state.get("STOP", "recalls")
    assert item is not None
    assert item.revision == 1  # a check writes nothing


def test_a_fact_and_several_changes_are_written_all_or_none(tables: Tables) -> None:
    first, second = StateChange("P#prod", "a", 0, {"n": 1}), StateChange("L#prod", "a", 0, {"n": 2})
    tables.state.put(second)
    with pytest.raises(RevisionConflict):
        tables.ledger.append(pushed(APP), first, second)
    assert tables.ledger.of_digest(APP) == []
    assert tables.state.get("P#prod", "a") is None
    assert tables.ledger.append(pushed(APP), first, replace(second, revision=1)) is Appended.WRITTEN
    found = tables.state.get_many([("P#prod", "a"), ("L#prod", "a")])
    assert {key: item.revision for key, item in found.items()} == {("P#prod", "a"): 1, ("L#prod", "a"): 2}


def test_the_indexes_above_an_image_are_read_apart_from_its_facts_in_pages(tables: Tables) -> None:
    indexes = [child_of(APP, digest_of(f"index {n}"), at=BEFORE_ALL, seen=at(n)) for n in range(7)]
    old = child_of(APP, OTHER, at=NO_TIME, seen=NOON)  # as an earlier version wrote it
    for one in (*indexes, old, pushed(APP)):
        tables.ledger.append(one)
    assert tables.ledger.of_digest(APP) == [old, pushed(APP)]
    found: list[Fact] = []
    while page := tables.ledger.indexes_of(APP, found[-1].sort if found else "", 3):
        assert len(page) <= 3
        found += page
    assert found == tables.ledger.indexes_of(APP) == sorted(indexes, key=lambda fact: fact.sort)
    assert tables.ledger.indexes_of(APP, old.sort) == tables.ledger.indexes_of(OTHER) == []


@pytest.mark.parametrize("number", ["1.5", "-1E-7"])
def test_an_entry_with_an_unexpected_number_is_still_read(number: str) -> None:
    """Otherwise write access to the table would be enough to stop the seal and `audit ledger`."""
    raw = {"pk": {"S": "D#x"}, "sk": {"S": "y"}, "size": {"N": number}}
    client = SimpleNamespace(scan=lambda **_: {"Items": [raw]})
    entries = DynamoEntries(client, "ledger", "state").every()
    assert [(entry.pk, entry.item["size"], entry.hash) for entry in entries] == [("D#x", number, entry_hash(raw))]


def test_facts_of_a_digest_are_in_chronological_order(tables: Tables) -> None:
    facts = [pushed(APP, f"v{n}", at=at(n)) for n in (3, 1, 2)]
    for one in facts:
        tables.ledger.append(one)
    tables.ledger.append(pushed(OTHER))
    assert [f.tag for f in tables.ledger.of_digest(APP)] == ["v1", "v2", "v3"]


def test_facts_of_a_repository_are_newest_first_and_of_that_registry_only(tables: Tables) -> None:
    for n, digest in enumerate((APP, OTHER, APP)):
        tables.ledger.append(pushed(digest, f"v{n}", at=at(n)))
    tables.ledger.append(pushed(APP, "v9", PROD))
    assert [f.tag for f in tables.ledger.of_repository(DEV)] == ["v2", "v1", "v0"]
    assert [f.tag for f in tables.ledger.of_repository(DEV, until=at(1))] == ["v1", "v0"]
    assert list(tables.ledger.of_repository(DEV, until=at(-1))) == []


def test_facts_of_a_tag_exclude_other_tags_and_pushes_by_digest(tables: Tables) -> None:
    for n, tag in enumerate(("latest", None, "v1", "latest")):
        tables.ledger.append(pushed(APP, tag, at=at(n)))
    assert [f.at for f in tables.ledger.of_tag(DEV, "latest")] == [at(3), at(0)]
    assert [f.at for f in tables.ledger.of_tag(DEV, "latest", until=at(2))] == [at(0)]


def test_a_release_is_stored_under_its_environment_and_repository(tables: Tables) -> None:
    tables.ledger.append(ENTRY)
    assert list(tables.ledger.of_environment("prod", PROD.name)) == [ENTRY]
    assert list(tables.ledger.of_environment("prod")) == []
    assert tables.ledger.of_digest(APP) == []


def test_long_histories_are_read_to_their_end(tables: Tables) -> None:
    text = "x" * 300_000  # four fit in a MiB, which is a page
    for n in range(9):
        tables.ledger.append(fact(Kind.DECIDED, APP, DEV, at=at(n), text=text))
    assert len(tables.ledger.of_digest(APP)) == 9
    assert [f.at for f in tables.ledger.of_repository(DEV)] == [at(n) for n in range(8, -1, -1)]


def test_a_fact_too_large_for_an_item_is_bad_input(tables: Tables) -> None:
    with pytest.raises(BadInput, match="archive"):
        tables.ledger.append(fact(Kind.SCANNED, APP, DEV, text="x" * 360 * 1024))
    with pytest.raises(BadInput, match="archive"):
        tables.state.put(StateChange("a", "b", 0, {"text": "x" * 360 * 1024}))
    with pytest.raises(BadInput, match="JSON"):
        tables.state.put(StateChange("a", "b", 0, {"when": NOON}))
    with pytest.raises(BadInput, match="JSON"):
        tables.state.put(StateChange("a", "b", 0, {"n": float("nan")}))


def test_state_counts_its_writes(tables: Tables) -> None:
    assert tables.state.get("p", "s") is None
    for revision in range(3):
        tables.state.put(StateChange("p", "s", revision, {"n": revision}))
    item = tables.state.get("p", "s")
    assert item is not None
    assert (item.revision, item.data, item.expires) == (3, {"n": 2}, None)


@pytest.mark.parametrize("revision", [0, 1, 3])
def test_state_with_another_revision_is_not_overwritten(tables: Tables, revision: int) -> None:
    for n in range(2):
        tables.state.put(StateChange("p", "s", n, {"n": n}))
    with pytest.raises(RevisionConflict):
        tables.state.put(StateChange("p", "s", revision, {"n": 9}))
    with pytest.raises(RevisionConflict):
        tables.state.put(StateChange("p", "other", 1, {}))


def test_expiry_has_whole_seconds_and_expired_items_are_still_read(tables: Tables) -> None:
    expires = datetime(2026, 11, 16, 12, 0, 1, tzinfo=UTC)
    tables.state.put(StateChange("p", "s", 0, {}, expires + timedelta(milliseconds=300)))
    item = tables.state.get("p", "s")
    assert item is not None
    assert item.expires == expires


def test_a_removed_item_leaves_a_marker_that_continues_its_revisions(tables: Tables) -> None:
    tables.state.put(StateChange("p", "s", 0, {"n": 1}))
    tables.state.put(StateChange("p", "s", 1, {"decided": "x"}, NOON, removed=True))
    item = tables.state.get("p", "s")
    assert item == StateItem("p", "s", 2, {"decided": "x"}, NOON, removed=True)
    for stale in (0, 1):
        with pytest.raises(RevisionConflict):
            tables.state.put(StateChange("p", "s", stale, {"n": 9}))
    tables.state.put(StateChange("p", "s", 2, {"n": 2}))
    assert tables.state.get("p", "s") == StateItem("p", "s", 3, {"n": 2})


def test_many_keys_are_read_at_once_and_missing_ones_left_out(tables: Tables) -> None:
    keys = [("p", f"{n:03}") for n in range(230)]
    for pk, sk in keys[::2]:
        tables.state.put(StateChange(pk, sk, 0, {"sk": sk}))
    found = tables.state.get_many([*keys, keys[0]])
    assert set(found) == set(keys[::2])
    assert found["p", "004"].data == {"sk": "004"}
    assert tables.state.get_many([]) == {}


def test_a_partition_is_listed_in_the_order_of_sk_and_by_prefix(tables: Tables) -> None:
    for sk in ("b2", "a1", "b1"):
        tables.state.put(StateChange("p", sk, 0, {"pad": "x" * 1000}))
    tables.state.put(StateChange("q", "b9", 0, {}))
    assert [i.sk for i in tables.state.list("p")] == ["a1", "b1", "b2"]
    assert [i.sk for i in tables.state.list("p", "b")] == ["b1", "b2"]


class Answering:
    """A client whose every method returns the next of these answers, or raises it."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, Any]] = []

    def __getattr__(self, name: str) -> Any:
        def call(**request: Any) -> Any:
            self.asked.append(request)
            answer = self.answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        return call


def cancelled(*codes: str) -> ClientError:
    reasons = [{"Code": code} for code in codes]
    body = {"Error": {"Code": "TransactionCanceledException", "Message": "cancelled"}, "CancellationReasons": reasons}
    return ClientError(body, "TransactWriteItems")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        (("TransactionConflict", "None"), RevisionConflict),
        (("None", "TransactionConflict"), RevisionConflict),
        (("None", "ConditionalCheckFailed"), RevisionConflict),
        (("TransactionConflict", "ConditionalCheckFailed"), RevisionConflict),
        (("ThrottlingError", "None"), Throttled),
        (("None", "ProvisionedThroughputExceeded"), Throttled),
        (("ValidationError", "None"), BadInput),
        ((), Unreachable),
    ],
)
def test_the_cancellation_reason_decides_the_result_of_a_transaction(codes: tuple[str, ...], expected: type) -> None:
    ledger = DynamoLedger(Answering(cancelled(*codes)), "ledger", "state")
    with pytest.raises(expected):
        ledger.append(pushed(APP), StateChange("p", "s", 0, {}))


@pytest.mark.parametrize(
    "codes", [("ConditionalCheckFailed", "None"), ("ConditionalCheckFailed", "TransactionConflict")]
)
def test_a_transaction_that_failed_on_the_fact_is_known(codes: tuple[str, ...]) -> None:
    ledger = DynamoLedger(Answering(cancelled(*codes)), "ledger", "state")
    assert ledger.append(pushed(APP), StateChange("p", "s", 0, {})) is Appended.KNOWN


def test_unprocessed_keys_are_requested_again() -> None:
    item = {"pk": {"S": "p"}, "sk": {"S": "s"}, "revision": {"N": "1"}, "data": {"S": "{}"}}
    left = {"UnprocessedKeys": {"state": {"Keys": [{"pk": {"S": "p"}, "sk": {"S": "s"}}]}}}
    client, waits = Answering({"Responses": {}, **left}, {"Responses": {"state": [item]}}), list[float]()
    assert ("p", "s") in DynamoState(client, "state", waits.append).get_many([("p", "s")])
    assert len(waits) == 1
    with pytest.raises(Throttled):
        DynamoState(Answering(*[left] * 9), "state", waits.append).get_many([("p", "s")])


def test_the_ledger_has_no_way_to_update_or_delete() -> None:
    assert set(DynamoLedger.PERMISSIONS) == {"dynamodb:PutItem", "dynamodb:Query"}
    client = Answering({}, {})
    DynamoLedger(client, "ledger", "state").append(pushed(APP))
    DynamoLedger(client, "ledger", "state").append(pushed(APP), StateChange("p", "s", 0, {}))
    puts = [client.asked[0], client.asked[1]["TransactItems"][0]["Put"]]
    assert [put["ConditionExpression"] for put in puts] == ["attribute_not_exists(pk)"] * 2


def test_a_missing_table_is_not_found() -> None:
    with aws_mock.aws(), pytest.raises(NotFound, match="read the state p s"):
        DynamoState(aws_mock.client("dynamodb"), "nowhere").get("p", "s")


def test_a_repository_is_read_in_pages_of_the_requested_size(tables: Tables) -> None:
    for minute in range(7):
        tables.ledger.append(replace(pushed(digest_of(str(minute))), at=at(minute), id=f"{minute:032x}"))
    whole = list(tables.ledger.of_repository(DEV))
    assert [f.at for f in whole] == [at(minute) for minute in reversed(range(7))]
    assert list(tables.ledger.of_repository(DEV, page=2)) == whole
    assert list(tables.ledger.of_repository(DEV, at(3), page=3)) == whole[3:]


def test_facts_written_since_a_moment_are_in_the_order_of_writing(tables: Tables) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    seen = [now - timedelta(days=2), now - timedelta(hours=30), now - timedelta(seconds=1), now]
    for number, moment in enumerate(seen):
        tables.ledger.append(replace(pushed(digest_of(str(number))), seen=moment, id=f"{number:032x}"))
    tables.ledger.append(Fact(Kind.POLICY, "cd34", NOON, now, Via.PERSON))  # of no repository
    assert [f.seen for f in tables.ledger.written_since(seen[1])] == [*seen[1:], now]
    assert [f.seen for f in tables.ledger.written_since(now)] == [now, now]
    assert list(tables.ledger.written_since(now + timedelta(seconds=1))) == []
