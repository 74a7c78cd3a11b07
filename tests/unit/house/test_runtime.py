"""The handlers: a batch of messages in one run, and the metrics that they write."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from support.images.builders import DEV, digest_of, push_event, sqs_batch
from tallyman import bootstrap, runtime
from tallyman.ports.reactions import Message, Outcome, OutcomeKind
from tallyman.services.reconcile.rejudge import Watched


@dataclass
class Context:
    """A Lambda context with its own clock."""

    left: int
    function_name: str = "f"
    memory_limit_in_mb: int = 1024
    invoked_function_arn: str = "arn"
    aws_request_id: str = "r"

    def get_remaining_time_in_millis(self) -> int:
        return self.left


def written(capsys: pytest.CaptureFixture[str]) -> dict[str, list[tuple[str, str, object]]]:
    """The metrics on standard output, in CloudWatch's embedded format: the unit of each, the value of its dimension
    besides the service, and its value."""
    found: dict[str, list[tuple[str, str, object]]] = {}
    for line in map(json.loads, capsys.readouterr().out.splitlines()):
        for part in line.get("_aws", {}).get("CloudWatchMetrics", ()):
            where = next((line[d] for d in part["Dimensions"][0] if d != "service"), "")
            for metric in part["Metrics"]:
                found.setdefault(metric["Name"], []).append((metric["Unit"], where, line[metric["Name"]]))
    return found


@pytest.fixture(autouse=True)
def powertools(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables that the template sets."""
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "Tallyman")
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "test")


def handled(monkeypatch: pytest.MonkeyPatch, total: float, seconds: list[float]) -> tuple[list[str], list[str]]:
    """The messages that were processed, and those that were handed back, if each takes so many seconds."""
    context = Context(int(total * 1000))
    reacted: list[str] = []

    def react(message: Message) -> Outcome:
        context.left -= int(seconds[len(reacted)] * 1000)
        reacted.append(message.body)
        return Outcome.handled("done")

    monkeypatch.setattr(bootstrap, "reaction", lambda name: react)
    batch = sqs_batch(*(push_event(DEV, digest_of(str(n)), "") for n in range(len(seconds))))
    answer: Any = runtime.sqs_handler("verify_digest")(batch, context)  # type: ignore[arg-type]
    return reacted, [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]


def test_a_batch_is_handled_in_one_run(monkeypatch: pytest.MonkeyPatch) -> None:
    reacted, back = handled(monkeypatch, 900, [1, 1, 1, 1, 1])
    assert (len(reacted), back) == (5, [])


def test_messages_after_a_long_one_are_handed_back(monkeypatch: pytest.MonkeyPatch) -> None:
    reacted, back = handled(monkeypatch, 900, [1, 600, 1, 1])
    assert (len(reacted), len(back)) == (2, 2)


def test_the_first_message_is_always_processed(monkeypatch: pytest.MonkeyPatch) -> None:
    reacted, back = handled(monkeypatch, 5, [1])  # less than the margin
    assert (len(reacted), back) == (1, [])


def test_each_promotions_copied_bytes_are_a_metric(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    outcomes = [Outcome(OutcomeKind.HANDLED, "promoted", copied) for copied in (7, 0, 5_000_000_000)]
    monkeypatch.setattr(bootstrap, "reaction", lambda name: lambda message: outcomes.pop(0))
    batch = sqs_batch(*({"n": n} for n in range(3)))
    runtime.sqs_handler("promote_image")(batch, Context(900_000))  # type: ignore[arg-type]
    assert written(capsys) == {
        "Handled": [("Count", "", [1, 1, 1])],
        "CopiedBytes": [("Bytes", "", [7, 5_000_000_000])],
    }


def test_reconcile_writes_the_waiting_promotions_of_each_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = {"missed": {"dev": 1}, "storage": {"dev": 9}, "images": {"dev": 2}, "waiting": {"dev": 0, "prod": 3}}
    report = {**counts, "watched": Watched().as_json(("dev", "prod"))}

    def run(report: Mapping[str, object]) -> dict[str, list[tuple[str, str, object]]]:
        monkeypatch.setattr(bootstrap, "reconciler", lambda: lambda event, request, left: report)
        runtime.scheduled_handler()({}, Context(900_000))  # type: ignore[arg-type]
        return written(capsys)

    metrics = run(report)
    by_environment = {
        "MissedEvents": [("Count", "dev", [1])],
        "ImageBytes": [("Bytes", "dev", [9])],
        "Images": [("Count", "dev", [2])],
        "Waiting": [("Count", "dev", [0]), ("Count", "prod", [3])],
    }
    assert metrics == by_environment | {name: [("Count", "f", [0])] for name in runtime.ALARMED.values()}
    del by_environment["Waiting"]
    assert run({**report, "waiting": {}, "watched": None}) == by_environment  # a run that continues another
