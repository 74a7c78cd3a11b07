"""The rules by which a state value is read from JSON data and written."""

import importlib
import pkgutil
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import tallyman.state
from tallyman.domain.names import Digest
from tallyman.state.base import LONGEST_REASON, StateValue, _layout, _reader
from tallyman.state.marks import MARKS, Mark
from tallyman.state.rollouts import MovedService, RolloutState
from tallyman.state.tags import Tag

NOON = datetime(2026, 11, 16, 12, tzinfo=UTC)
DIGEST = Digest.of(b"app")


def mark(**fields: Any) -> Mark:
    return Mark(**{"marked_at": NOON, "reason": "old", "id": "1", **fields})


def test_a_field_is_stored_under_its_key_and_left_out_where_that_is_sparse() -> None:
    assert mark(holders=(DIGEST,)).dump() == {
        "marked_at": "2026-11-16T12:00:00Z",
        "reason": "old",
        "id": "1",
        "with": [DIGEST],
        "proof": None,
        "failed": None,
    }
    assert mark(over=True).dump()["over"] is True


def test_a_value_within_a_value_is_an_object() -> None:
    service = MovedService("111111111111/us-east-2", "shop/web", None, {"family": "web"}, "web:2", NOON)
    rollout = RolloutState("1", DIGEST, "running", service, (service, service))
    assert RolloutState.parse(rollout.dump()) == rollout
    assert rollout.dump()["moving"] == rollout.dump()["moved"][1] == service.dump()


def test_a_long_reason_is_cut_and_other_text_is_not() -> None:
    stored = mark(reason="x" * 5000, id="y" * 5000).dump()
    assert stored["reason"] == "x" * LONGEST_REASON + "…"
    assert stored["id"] == "y" * 5000


def test_a_missing_key_is_the_default_or_none_and_an_error_where_every_item_has_it() -> None:
    assert MARKS.parse({"marked_at": "2026-11-16T12:00:00Z", "reason": "old", "id": "1"}) == mark()
    assert Tag.parse({"at": "2026-11-16T12:00:00Z", "told_at": ""}) == Tag(None, NOON)
    with pytest.raises(KeyError):
        MARKS.parse({"reason": "old", "id": "1"})


def test_no_two_fields_of_a_class_have_one_key() -> None:
    for module in pkgutil.iter_modules(tallyman.state.__path__):
        importlib.import_module(f"tallyman.state.{module.name}")
    found = {cls.__name__: [key for _, key, *_ in _layout(cls)] for cls in StateValue.__subclasses__()}
    assert len(found) > 20
    assert {name: keys for name, keys in found.items() if len(set(keys)) != len(keys)} == {}


@pytest.mark.parametrize("kind", [timedelta, timedelta | None, tuple[timedelta, ...]])
def test_a_type_without_a_reader_is_an_error_and_not_read_as_raw_data(kind: Any) -> None:
    with pytest.raises(TypeError, match="timedelta"):
        _reader(kind)
