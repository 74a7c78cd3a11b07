"""JSON from outside is parsed by `documents`: the standard library raises RecursionError for deep nesting."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from support.images.builders import DEV, referrer_event, scan_event
from tallyman.adapters.aws.cloudtrail import calls_of
from tallyman.domain.events.commands import parse_command
from tallyman.domain.events.eventbridge import TRIP, parse_event
from tallyman.domain.events.hints import RetentionHint, parse_promotion_hint
from tallyman.domain.history.seals import Segment
from tallyman.errors import BadInput
from tallyman.services.releases.rollout_progress import parse_hint
from tallyman.services.verification.verify_origin import _asked

CORE = Path(__file__).resolve().parents[3] / "layers/core/src/tallyman"
OURS = {
    "adapters/dynamodb/codec.py",
    "domain/images/documents.py",
    "domain/images/findings.py",
    "domain/partitions.py",
    "services/shared/long_details.py",
}
"""Modules that read what we wrote ourselves."""
DEEP = "[" * 100_000
HALF = "\ud800"


def test_only_our_own_json_is_parsed_by_the_standard_library() -> None:
    reads = re.compile(r"\bjson\.loads\(|^from json import", re.MULTILINE)
    found = {str(path.relative_to(CORE)) for path in CORE.rglob("*.py") if reads.search(path.read_text("utf-8"))}
    assert found == OURS


@pytest.mark.parametrize(
    "read",
    [
        parse_event,
        parse_command,
        parse_promotion_hint,
        RetentionHint.parse,
        parse_hint,
        lambda t: Segment.parse(t.encode()),
    ],
)
@pytest.mark.parametrize("text", [DEEP, '{"a":' * 100_000, "", "[]", "{", "5", '"x"'])
def test_a_too_deeply_nested_message_is_a_bad_message(read: Callable[[str], object], text: str) -> None:
    with pytest.raises(BadInput):
        read(text)


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (parse_event, {"id": HALF, "detail-type": TRIP, "account": "1" * 12, "region": "us-east-2", "detail": {}}),
        (parse_command, {"command": "freeze", "request": "r1", "environment": HALF, "because": "x"}),
        (parse_command, {"command": "freeze", "request": "r1", "environment": "prod", "because": HALF}),
        (parse_promotion_hint, {"digest": HALF, "repository": "a", "source": "dev", "target": "prod"}),
        (RetentionHint.parse, {"repository": HALF}),
        (parse_hint, {"roll_out": {"environment": HALF, "repository": "a"}}),
    ],
)
def test_a_lone_surrogate_is_a_bad_message(read: Callable[[str], object], message: object) -> None:
    """JSON can contain it, but no fact, notice or address can."""
    with pytest.raises(BadInput):
        read(json.dumps(message))


@pytest.mark.parametrize(
    "record", ["x", [], {"requestParameters": "x"}, {"requestParameters": {"repositoryName": "a", "imageIds": 5}}]
)
def test_a_record_of_cloudtrail_of_another_shape_is_bad_input(record: object) -> None:
    with pytest.raises(BadInput, match="CloudTrail's record"):
        calls_of(record, DEV.registry)  # type: ignore[arg-type]


def variants(message: object) -> Iterator[object]:
    """The message, each with one of its values replaced."""
    yield from (None, 5, 1.5, True, "x", [], [None], {}, {"a": 1})
    if isinstance(message, dict):
        for key, value in message.items():
            yield from ({**message, key: other} for other in variants(value))


DIGEST = f"sha256:{'0' * 64}"


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (parse_event, scan_event(DEV, DIGEST)),
        (parse_event, referrer_event(DEV, DIGEST)),
        (parse_promotion_hint, {"digest": DIGEST, "repository": DEV.name, "from": "dev", "to": "prod", "round": 1}),
        (RetentionHint.parse, {"repository": str(DEV), "round": 1}),
        (parse_hint, {"roll_out": {"environment": "prod", "repository": DEV.name, "due": None}}),
        (_asked, {"verify_origin": {"repository": str(DEV), "digest": DIGEST}}),
    ],
)
def test_a_value_of_another_type_is_bad_input_or_unused(read: Callable[[str], object], message: object) -> None:
    """So it becomes a dead letter with its reason at once, and is not retried as if the function had crashed."""
    read(json.dumps(message))
    for variant in variants(message):
        with suppress(BadInput):
            read(json.dumps(variant))
