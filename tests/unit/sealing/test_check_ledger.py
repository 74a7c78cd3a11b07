"""`tallyman audit ledger`: altered, removed and inserted entries are found, and located; an intact ledger passes."""

import csv
import io
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from support.fakes.cli_stack import POLICY, FakeStack
from support.images.builders import digest_of, image, pushed
from tallyman.adapters.dynamodb.codec import fact_to_plain
from tallyman.adapters.files import policy_file
from tallyman.domain.history.facts import Fact
from tallyman.domain.history.seals import LATE, Segment
from tallyman.domain.names import Digest
from tallyman.state.seals import KEY, SEALS


class Sealed(FakeStack):
    """A stack with three segments."""

    def __init__(self) -> None:
        super().__init__(policy_file.loads(POLICY.encode(), "tallyman.yaml"))
        self.services.policy_in_force.ensure()
        for name in "abc":
            self.push(image(name), f"v1.0.{ord(name)}")
            self.clock.advance(minutes=15)
            self.seal()
            self.clock.advance(hours=2)

    def seal(self) -> None:
        self.services.seal_ledger.run(lambda: 900.0)

    def key(self, number: int = 0) -> tuple[str, str]:
        """The key of an entry of the second segment."""
        entry = Segment.parse(self.archive.seals.objects[2]).entries[number]
        return entry.pk, entry.sk

    def found(self, *words: str) -> list[dict[str, Any]]:
        result = self.run("audit", "ledger", "--json", *words)
        answer = json.loads(result.stdout)
        assert result.exit_code == (1 if answer["findings"] else 0)
        for each in answer["findings"]:
            assert set(each) == {"kind", "what", "where", "since", "why", "todo", "fixable"}
            assert each["why"]
            assert each["todo"]
        return list(answer["findings"])

    def kinds(self, *words: str) -> list[str]:
        return [each["kind"] for each in self.found(*words)]


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> Sealed:
    made = Sealed()
    monkeypatch.setattr("tallyman_cli.shared.context.connect", lambda *_: made.stack)
    return made


def test_an_intact_ledger_passes(system: Sealed) -> None:
    result = system.run("audit", "ledger")
    assert result.exit_code == 0, result.output
    head = Digest.of(system.archive.seals.objects[3])
    count = len(system.ledger.items)
    assert result.stdout.splitlines()[0] == f"✓ {count} entries: {count} sealed in 3 segments"
    assert f"head: {head}, segment 3, " in result.stdout
    answer = system.json("audit", "ledger", "--head", head)
    assert answer["head"]["digest"] == head
    assert (answer["findings"], answer["waiting"], answer["unproven"], answer["more"]) == ([], 0, 0, 0)


def test_an_altered_entry_is_named(system: Sealed) -> None:
    pk, sk = system.key()
    system.ledger.items[pk, sk] = {**system.ledger.items[pk, sk], "actor": "arn:aws:iam::111111111111:role/mallory"}
    (found,) = system.found()
    assert (found["kind"], found["where"]) == ("entry_altered", f"{pk} {sk}")
    assert "the segment 2" in found["what"]
    assert found["since"] == json.loads(system.archive.seals.objects[2])["until"]


def test_an_altered_unused_attribute_is_found(system: Sealed) -> None:
    key = system.key()
    system.ledger.items[key] = {**system.ledger.items[key], "unknown": "x"}
    assert system.kinds() == ["entry_altered"]


def test_a_removed_entry_is_named(system: Sealed) -> None:
    pk, sk = system.key()
    del system.ledger.items[pk, sk]
    (found,) = system.found()
    assert (found["kind"], found["where"]) == ("entry_removed", f"{pk} {sk}")


def insert(system: Sealed, ago: timedelta, **changed: Any) -> Fact:
    new = replace(pushed(digest_of("new"), "v9.0.0"), seen=system.clock() - ago)
    item = {**fact_to_plain(new), **changed}
    system.ledger.items[str(item["pk"]), str(item["sk"])] = {k: v for k, v in item.items() if v is not None}
    return new


def test_an_inserted_entry_is_named(system: Sealed) -> None:
    new = insert(system, timedelta(hours=3))
    system.seal()
    (found,) = system.found()
    assert (found["kind"], found["where"]) == ("entry_inserted", f"{new.partition} {new.sort}")


@pytest.mark.parametrize(
    "changed",
    [
        {"seen_pk": None, "seen_sk": None},
        {"seen_pk": "S#2020-01-01"},
        {"seen": "2020-01-01T00:00:00Z"},
        {"seen": None},
        {"seen": "soon"},
    ],
)
def test_an_entry_missing_from_the_arrival_index_is_named(system: Sealed, changed: dict[str, Any]) -> None:
    insert(system, timedelta(0), **changed)
    assert system.kinds() == ["entry_hidden"]


def test_an_entry_from_the_future_is_named(system: Sealed) -> None:
    insert(system, -timedelta(days=1))
    assert system.kinds() == ["entry_hidden"]


def test_an_invalid_entry_is_named(system: Sealed) -> None:
    system.ledger.items["D#x", "y"] = {"pk": "D#x", "sk": "y"}
    assert system.kinds() == ["entry_hidden"]


def test_unsealed_entries_are_accepted_for_a_day(system: Sealed) -> None:
    system.push(image("d"), "v1.1.0")
    answer = system.json("audit", "ledger")
    assert answer["waiting"] == answer["entries"] - answer["sealed"] > 0
    system.clock.advance(days=1, minutes=1)
    assert system.kinds() == ["not_sealed"]
    system.seal()
    assert system.kinds() == []


def test_a_never_sealed_ledger_is_reported(system: Sealed) -> None:
    system.archive.seals.objects.clear()
    del system.state.items[KEY]
    system.clock.advance(days=1)
    assert system.kinds() == ["not_sealed"]


@pytest.mark.parametrize("number", [1, 2])
def test_an_altered_segment_is_named(system: Sealed, number: int) -> None:
    """Its entry is removed too, so that both agree: the chain does not."""
    segment = Segment.parse(system.archive.seals.objects[number])
    gone = segment.entries[0]
    del system.ledger.items[gone.pk, gone.sk]
    system.archive.seals.objects[number] = replace(segment, entries=segment.entries[1:]).dump()
    (found,) = system.found()
    assert (found["kind"], found["where"]) == ("segment_altered", f"seals/{number + 1:010d}")


def test_an_altered_last_segment_is_found_by_the_head(system: Sealed) -> None:
    segment = Segment.parse(system.archive.seals.objects[3])
    system.archive.seals.objects[3] = replace(segment, until=segment.until + timedelta(seconds=1)).dump()
    (found,) = system.found()
    assert (found["kind"], found["where"]) == ("segment_altered", "seals/0000000003")


@pytest.mark.parametrize("raw", [b"", b"{}", b"[" * 100_000, b"\xff"])
def test_an_unreadable_segment_is_named_and_its_entries_are_not(system: Sealed, raw: bytes) -> None:
    system.archive.seals.objects[2] = raw
    assert set(system.kinds()) == {"segment_altered"}
    answer = json.loads(system.run("audit", "ledger", "--json").stdout)
    assert answer["unproven"] > 0
    assert answer["unproven"] + answer["sealed"] == answer["entries"]


def test_a_rewritten_segment_is_named_although_the_chain_is_consistent(system: Sealed) -> None:
    """Rewriting all segments from one on, and the head, leaves their earlier versions."""
    system.archive.seals.rewritten.add(2)
    (found,) = system.found()
    assert (found["kind"], found["where"]) == ("segment_altered", "seals/0000000002")


def test_a_segment_with_another_number_is_named(system: Sealed) -> None:
    system.archive.seals.objects[2] = system.archive.seals.objects[1]
    assert "segment_altered" in system.kinds()


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_removed_segment_is_named(system: Sealed, number: int) -> None:
    del system.archive.seals.objects[number]
    found = system.found()
    assert ("segment_missing", f"seals/{number:010d}") in {(each["kind"], each["where"]) for each in found}
    assert {each["kind"] for each in found} <= {"segment_missing"}


def test_huge_segment_numbers_cause_bounded_work(system: Sealed) -> None:
    """Write access to the state or the bucket is enough to name any number."""
    entry = SEALS.read(system.state, KEY)
    system.state.put(entry.write(replace(entry.value, number=10**12)))
    (found,) = system.found()
    assert (found["kind"], found["what"]) == (
        "segment_missing",
        "the segments 4 to 1000000000000 are not in the archive",
    )
    system.archive.seals.objects[10**9] = b"{}"
    assert system.kinds()[:2] == ["segment_missing", "segment_altered"]


def test_a_truncated_ledger_and_head_are_found_by_a_recorded_head(system: Sealed) -> None:
    """Segment, entries and the state's head, all of them: only a recorded head detects it."""
    head = Digest.of(system.archive.seals.objects[3])
    for each in Segment.parse(system.archive.seals.objects.pop(3)).entries:
        del system.ledger.items[each.pk, each.sk]
    last = system.archive.seals.objects[2]
    entry = SEALS.read(system.state, KEY)
    back = replace(entry.value, number=2, digest=Digest.of(last), until=Segment.parse(last).until)
    system.state.put(entry.write(back))
    assert system.kinds() == []
    assert system.kinds("--head", head) == ["chain_cut"]
    assert system.run("audit", "ledger", "--head", "sha256:1").exit_code == 2


def test_a_truncated_chain_with_remaining_entries_is_found_without_a_recorded_head(system: Sealed) -> None:
    del system.archive.seals.objects[2], system.archive.seals.objects[3]
    last = system.archive.seals.objects[1]
    entry = SEALS.read(system.state, KEY)
    system.state.put(entry.write(replace(entry.value, number=1, digest=Digest.of(last))))
    assert set(system.kinds()) == {"entry_inserted"}


def test_a_rewritten_chain_is_found_by_a_recorded_head(system: Sealed) -> None:
    head = Digest.of(system.archive.seals.objects[3])
    pk, sk = system.key()
    system.ledger.items[pk, sk] = {**system.ledger.items[pk, sk], "actor": "mallory"}
    system.archive.seals.objects.clear()
    del system.state.items[KEY]
    system.seal()
    assert system.kinds() == []
    assert system.kinds("--head", head) == ["chain_cut"]


def test_a_reset_head_is_found(system: Sealed) -> None:
    entry = SEALS.read(system.state, KEY)
    system.state.put(entry.write(replace(entry.value, number=1, digest=Digest.of(system.archive.seals.objects[1]))))
    assert system.kinds() == ["chain_cut"]


def test_many_flaws_are_listed_in_part_and_counted(system: Sealed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tallyman.services.sealing.check_ledger.MOST", 2)
    count = len(system.ledger.items)
    system.ledger.items.clear()
    answer = json.loads(system.run("audit", "ledger", "--json").stdout)
    assert (len(answer["findings"]), answer["more"]) == (2, count - 2)


def test_entries_written_during_the_check_are_accepted(system: Sealed) -> None:
    """A run seals between the reading of the head, of the segments and of the entries."""
    versions = system.archive.seals.versions

    def later() -> dict[int, int]:
        found = versions()
        system.push(image("meanwhile"), "v2.0.0")
        system.clock.advance(seconds=1)
        system.seal()
        system.push(image("again"), "v2.0.1")
        system.seal()
        return found

    system.archive.seals.versions = later  # type: ignore[method-assign]
    assert system.kinds() == []


def test_the_ledger_is_exported_as_json_lines(system: Sealed, tmp_path: Path) -> None:
    system.push(image("d"), "v1.1.0")
    file = tmp_path / "ledger.jsonl"
    assert system.run("audit", "ledger", "--export", str(file)).exit_code == 0
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert {(row["pk"], row["sk"]) for row in rows} == set(system.ledger.items)
    assert {row["segment"] for row in rows} == {None, 1, 2, 3}
    row = next(row for row in rows if row["kind"] == "pushed" and row["segment"] == 1)
    assert row["tag"] == "v1.0.97"
    assert isinstance(row["detail"], dict)
    assert len(row["hash"]) == 64
    assert list(tmp_path.iterdir()) == [file]


def test_the_ledger_is_exported_as_csv_without_spreadsheet_formulas(system: Sealed, tmp_path: Path) -> None:
    insert(system, timedelta(0), actor='=HYPERLINK("https://evil.example")\x1b[2J')
    file = tmp_path / "ledger.csv"
    assert system.run("audit", "ledger", "--export", str(file)).exit_code == 0
    rows = list(csv.DictReader(io.StringIO(file.read_text())))
    assert len(rows) == len(system.ledger.items)
    (hostile,) = [row for row in rows if row["actor"]]
    assert hostile["actor"] == '\'=HYPERLINK("https://evil.example")\\x1b[2J'


def test_an_unwritable_file_is_an_error_and_keeps_the_old_one(system: Sealed, tmp_path: Path) -> None:
    assert system.run("audit", "ledger", "--export", str(tmp_path / "ledger.xml")).exit_code == 2
    assert system.run("audit", "ledger", "--export", str(tmp_path / "no" / "ledger.csv")).exit_code == 2
    old = tmp_path / "ledger.csv"
    old.write_text("old")
    system.ledger.every = lambda: iter([None])  # type: ignore[list-item, method-assign]
    assert system.run("audit", "ledger", "--export", str(old)).exit_code == 1
    assert [old.read_text(), len(list(tmp_path.iterdir()))] == ["old", 1]


def test_the_limit_for_late_entries_exceeds_every_functions_timeout() -> None:
    assert timedelta(minutes=15) < LATE
