"""The format of hints between functions, written and read."""

import json
from dataclasses import replace

import pytest

from support.images.builders import DEV, digest_of
from tallyman.domain.events.hints import (
    DecideAbove,
    FinishCreation,
    Promote,
    PromotionHint,
    RetentionHint,
    RollBack,
    parse_promotion_hint,
)
from tallyman.errors import BadMessage

HINT = Promote(digest_of("a"), DEV.name, "dev", "prod", "event-1", 3, 2, 1, True, True)


@pytest.mark.parametrize(
    "hint",
    [
        HINT,
        replace(HINT, correlation=None, attempt=None, round=0, waits=0, check=False, due=False),
        RollBack(digest_of("a"), "r1", 3),
        FinishCreation(DEV),
        DecideAbove(digest_of("a"), "1900-01-01T00:00:00.000Z#ab12", "event-1", True),
        DecideAbove(digest_of("a")),
    ],
    ids=["promote", "least", "roll-back", "creation", "above", "above from the first"],
)
def test_a_hint_to_promote_is_read_as_it_was_written(hint: PromotionHint) -> None:
    assert parse_promotion_hint(json.dumps(hint.dump())) == hint


def test_the_defaults_of_a_hint_to_promote_are_the_first_try_and_run() -> None:
    least = {key: HINT.dump()[key] for key in ("digest", "repository", "from", "to")}
    assert Promote.parse(least) == Promote(HINT.digest, DEV.name, "dev", "prod")


@pytest.mark.parametrize(
    "wrong", [{"from": None}, {"to": 1}, {"repository": "A b"}, {"digest": "latest"}, {"round": "1"}]
)
def test_an_invalid_hint_to_promote_is_a_bad_message(wrong: dict[str, object]) -> None:
    with pytest.raises(BadMessage):
        Promote.parse(HINT.dump() | wrong)


def test_a_retention_hint_is_for_one_repository_or_all() -> None:
    asked = {"repository": str(DEV), "request": "r1", "policy": digest_of("p"), "round": 4}
    assert RetentionHint.parse(json.dumps(asked)) == RetentionHint(DEV, "r1", digest_of("p"), 4)
    assert RetentionHint.parse('{"all": true}').repository is None


@pytest.mark.parametrize("wrong", [[], {"digest": "latest"}, {"digest": digest_of("a"), "after": 1}])
def test_an_invalid_hint_about_indexes_is_a_bad_message(wrong: object) -> None:
    with pytest.raises(BadMessage):
        parse_promotion_hint(json.dumps({"above": wrong}))
