"""Items and facts are read as earlier versions wrote them, and written so that those could read them.

`stored.json` was written by an earlier version: several of each kind, with different keys.
"""

import importlib
import json
import pkgutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import tallyman.state
from tallyman.adapters.dynamodb.codec import change_to_plain, fact_from_plain, fact_to_plain, state_from_plain
from tallyman.domain.history.details import (
    changes,
    commands,
    decisions,
    letters,
    promotions,
    referrers,
    releases,
    retention,
    scans,
    upkeep,
    verifications,
)
from tallyman.domain.history.details.base import Details
from tallyman.domain.history.facts import Kind
from tallyman.state.items import ItemKind

ROOT = Path(__file__).resolve().parents[3]
STORED: dict[str, list[dict[str, Any]]] = json.loads(Path(__file__).with_name("stored.json").read_text())
MODULES = [importlib.import_module(f"tallyman.state.{m.name}") for m in pkgutil.iter_modules(tallyman.state.__path__)]
KINDS: list[ItemKind[Any]] = [
    kind for module in MODULES for kind in vars(module).values() if isinstance(kind, ItemKind)
]
ABSENT: tuple[object, ...] = (None, False, 0, "", "promotion", [], {})
"""What a key that was not there yet is read as."""
DERIVED = {"S#guard": {"flaw"}, "RT#runs": {"acted"}}
"""Keys that were not there yet, and are read from the others."""


def kind_of(pk: str) -> ItemKind[Any]:
    (found,) = [kind for kind in KINDS if pk == kind.pk or ("<" in kind.pk and pk.startswith(kind.pk.split("<")[0]))]
    return found


@pytest.mark.parametrize("group", [name for name in STORED if name.startswith("state ")])
def test_an_item_is_read_and_written_as_it_was(group: str) -> None:
    for plain in STORED[group]:
        item = state_from_plain(plain)
        kind = kind_of(item.pk)
        entry = kind.entry((item.pk, item.sk), item)
        written = change_to_plain(entry.write(entry.value, item.expires))
        before, after = json.loads(plain["data"]), json.loads(str(written["data"]))
        assert {key: after[key] for key in before} == before
        known = DERIVED.get(kind.pk, set())
        assert all(after[key] in ABSENT for key in after.keys() - before.keys() - known)
        assert written["revision"] == plain["revision"] + 1
        assert {k: v for k, v in written.items() if k not in ("data", "revision")} == {
            k: v for k, v in plain.items() if k not in ("data", "revision")
        }
        assert kind.parse(after) == entry.value


@pytest.mark.parametrize("group", [name for name in STORED if name.startswith("fact ")])
def test_a_fact_is_read_and_written_as_it_was(group: str) -> None:
    for plain in STORED[group]:
        assert fact_to_plain(fact_from_plain(plain)) == plain


DETAILS: dict[Kind, type[Details]] = {
    **dict.fromkeys(
        (Kind.PUSHED, Kind.REPLICATED, Kind.UNTAGGED, Kind.DELETED, Kind.ARCHIVED, Kind.RESTORED), changes.Change
    ),
    Kind.SETTINGS_CHANGED: changes.Settings,
    Kind.CHILD_OF: referrers.ChildOf,
    Kind.REFERRED: referrers.Referred,
    Kind.SIGNING: referrers.Signing,
    Kind.ORIGIN: referrers.Origin,
    Kind.VERIFIED: verifications.Verified,
    Kind.UNREADABLE: verifications.Unreadable,
    Kind.SCANNED: scans.Scanned,
    **dict.fromkeys(
        (
            Kind.REQUESTED,
            Kind.APPROVED,
            Kind.DENIED,
            Kind.OVERRIDDEN,
            Kind.CHECKED,
            Kind.RECALLED,
            Kind.FROZEN,
            Kind.THAWED,
        ),
        commands.Said,
    ),
    Kind.DECIDED: decisions.Decided,
    Kind.TARGET_SEEN: decisions.TargetSeen,
    Kind.INTENDED: promotions.Intended,
    Kind.TAGGING: promotions.TaggingBegun,
    Kind.PROMOTED: promotions.Promoted,
    Kind.DELAYED: promotions.Delayed,
    Kind.PARKED: promotions.Parked,
    Kind.STOWAWAY: releases.Stowaway,
    Kind.ROLLED_BACK: releases.RolledBack,
    Kind.RELEASED: releases.Released,
    Kind.ROLLED_OUT: releases.RolledOut,
    Kind.POLICY: upkeep.InForce,
    Kind.LETTER: letters.LetterAnswer,
    Kind.MISSED: upkeep.Missed,
    Kind.MARKED: retention.Marked,
    Kind.UNMARKED: retention.Marked,
    Kind.REMOVED: retention.Removed,
}
ADDED = {
    Kind.SCANNED: {"archived", "listed", "completed_at", "said", "reason"},
    Kind.VERIFIED: {"request", "platforms", "labels"},
    Kind.PROMOTED: {"tagging", "stays"},
}
"""Keys that the oldest facts of a kind lack: read as absent, written since."""
FOREIGN = {Kind.SCANNED: {"n"}}
"""Keys that only a test of that time wrote."""


@pytest.mark.parametrize("group", [name for name in STORED if name.startswith("fact ")])
def test_the_details_of_a_fact_are_read_and_written_as_they_were(group: str) -> None:
    for plain in STORED[group]:
        fact = fact_from_plain(plain)
        details = DETAILS[fact.kind].parse(fact)
        before = {key: part for key, part in fact.detail.items() if key not in FOREIGN.get(fact.kind, ())}
        after = details.dump()
        assert {key: after[key] for key in before} == before
        assert after.keys() - before.keys() <= ADDED.get(fact.kind, set())
        assert all(after[key] in (*ABSENT, ()) for key in after.keys() - before.keys())
        again = replace(fact, detail=after)
        assert DETAILS[fact.kind].parse(again).dump() == after


def test_every_kind_of_fact_has_a_class_for_its_details() -> None:
    assert set(DETAILS) == set(Kind)


def test_every_kind_of_item_has_a_stored_example() -> None:
    frozen = {id(kind_of(plain["pk"])) for group in STORED if group.startswith("state ") for plain in STORED[group]}
    assert [kind.pk for kind in KINDS if id(kind) not in frozen] == []


def test_the_page_lists_every_kind_of_item() -> None:
    rows = ["  | pk | sk | what |", "  |---|---|---|"]
    rows += [f"  | `{kind.pk}` | {kind.sk} | {kind.what} |" for kind in sorted(KINDS, key=lambda kind: kind.pk)]
    assert "\n".join(rows) in (ROOT / "docs/architecture.md").read_text(), "\n".join(["put this there:", *rows])
