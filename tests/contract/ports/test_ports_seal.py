"""Seals, SealList, Entries and AllEntries: one suite for the fakes and for DynamoDB and S3 on moto."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from support.fakes.ports import FakeArchive, FakeLedger
from support.images.builders import NOON, digest_of, pushed
from support.servers import aws_mock
from tallyman.adapters.aws.s3 import S3SealList, S3Seals
from tallyman.adapters.dynamodb.codec import fact_to_plain, marshal
from tallyman.adapters.dynamodb.tables import DynamoEntries, DynamoLedger
from tallyman.domain.history.facts import Fact
from tallyman.domain.history.seals import entry_hash
from tallyman.ports.records import AllEntries, Entries, Ledger, Seals

BUCKET = "t-archive"


@dataclass
class LedgerSetup:
    ledger: Ledger
    entries: Entries
    every: AllEntries
    put: Callable[[dict[str, Any]], object]


@pytest.fixture(params=["fake", "dynamodb"])
def ledger_setup(request: pytest.FixtureRequest) -> Iterator[LedgerSetup]:
    if request.param == "fake":
        fake = FakeLedger()
        yield LedgerSetup(fake, fake, fake, lambda item: fake.items.update({(item["pk"], item["sk"]): item}))
        return
    with aws_mock.aws():
        names = aws_mock.table("LedgerTable", "t-ledger"), aws_mock.table("StateTable", "t-state")
        client = aws_mock.client("dynamodb")
        ledger = DynamoLedger(client, *names)
        every = DynamoEntries(client, *names)
        yield LedgerSetup(ledger, ledger, every, lambda item: client.put_item(TableName="t-ledger", Item=marshal(item)))


def seen(name: str, minutes: int) -> Fact:
    """A fact observed this many minutes after noon, which happened as many minutes before."""
    at = NOON + timedelta(minutes=minutes)
    return replace(pushed(digest_of(name), "v1.0.0"), seen=at, at=NOON - timedelta(minutes=minutes))


def test_entries_are_in_the_order_of_arrival_with_the_hash_of_all_attributes(ledger_setup: LedgerSetup) -> None:
    for name, minutes in (("b", 60 * 20), ("a", 0), ("c", 60 * 40)):  # over two days
        ledger_setup.ledger.append(seen(name, minutes))
    found = list(ledger_setup.entries.arrived(NOON))
    assert [(each.pk, each.seen) for each in found] == [
        (f"D#{digest_of(name)}", NOON + timedelta(hours=hours)) for name, hours in (("a", 0), ("b", 20), ("c", 40))
    ]
    plain = fact_to_plain(seen("a", 0))
    assert (found[0].item, found[0].hash) == (plain, entry_hash(marshal(plain)))
    assert [each.pk for each in ledger_setup.entries.arrived(NOON + timedelta(hours=21))] == [f"D#{digest_of('c')}"]
    assert sorted(each.hash for each in ledger_setup.every.every()) == sorted(each.hash for each in found)


@pytest.mark.parametrize("hidden", [{"seen_pk": "S#2020-01-01"}, {"seen_sk": "x"}, {"seen": "never"}])
def test_every_entry_is_read_also_with_another_time_in_the_index(
    ledger_setup: LedgerSetup, hidden: dict[str, Any]
) -> None:
    ledger_setup.put(fact_to_plain(seen("a", 0)) | hidden)
    ledger_setup.put({"pk": "D#x", "sk": "y"})
    found = {each.pk: each for each in ledger_setup.every.every()}
    assert set(found) == {f"D#{digest_of('a')}", "D#x"}
    assert {each.seen for each in found.values()} == {None}


@dataclass
class SealsSetup:
    seals: Seals
    versions: Callable[[], dict[int, int]]
    remove: Callable[[int], object]


@pytest.fixture(params=["fake", "s3"])
def seals_setup(request: pytest.FixtureRequest) -> Iterator[SealsSetup]:
    if request.param == "fake":
        fake = FakeArchive().seals

        def remove(number: int) -> None:
            del fake.objects[number]
            fake.rewritten.add(number)

        yield SealsSetup(fake, fake.versions, remove)
        return
    with aws_mock.aws():
        s3 = aws_mock.client("s3")
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": aws_mock.REGION})
        s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        s3.put_object(Bucket=BUCKET, Key="manifests/1", Body=b"")
        yield SealsSetup(
            S3Seals(s3, BUCKET),
            S3SealList(s3, BUCKET).versions,
            lambda number: s3.delete_object(Bucket=BUCKET, Key=f"seals/{number:010d}"),
        )


def test_a_segment_is_written_once(seals_setup: SealsSetup) -> None:
    assert seals_setup.seals.read(1) is None
    assert seals_setup.versions() == {}
    assert seals_setup.seals.write(1, b"one")
    assert not seals_setup.seals.write(1, b"other")
    assert seals_setup.seals.write(2, b"two")
    assert [seals_setup.seals.read(number) for number in (1, 2, 3)] == [b"one", b"two", None]
    assert seals_setup.versions() == {1: 1, 2: 1}


def test_a_removed_segment_still_counts_as_a_version(seals_setup: SealsSetup) -> None:
    seals_setup.seals.write(1, b"one")
    seals_setup.remove(1)
    assert seals_setup.seals.read(1) is None
    assert seals_setup.versions() == {1: 2}


def test_the_list_goes_over_several_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    with aws_mock.aws():
        s3 = aws_mock.client("s3")
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": aws_mock.REGION})
        seals, listing = S3SealList(s3, BUCKET), s3.list_object_versions
        for number in range(1, 8):
            s3.put_object(Bucket=BUCKET, Key=f"seals/{number:010d}", Body=b"x")
        monkeypatch.setattr(s3, "list_object_versions", lambda **given: listing(**given, MaxKeys=3))
        assert seals.versions() == dict.fromkeys(range(1, 8), 1)


def test_other_objects_are_not_listed_as_segments() -> None:
    """`²` is a digit, but `int` refuses it."""
    found = {"Versions": [{"Key": f"seals/{name}"} for name in ("0000000001", "\u00b2", "\u0663", "x", "")]}
    client = SimpleNamespace(list_object_versions=lambda **_: found)
    assert S3SealList(client, BUCKET).versions() == {1: 1}
