"""The handlers: a batch of messages in one run."""

from dataclasses import dataclass
from typing import Any

import pytest

from support.images.builders import DEV, digest_of, push_event, sqs_batch
from tallyman import bootstrap, runtime
from tallyman.ports.reactions import Message, Outcome


@dataclass
class Context:
    """A Lambda's context with a clock of its own."""

    left: int
    function_name: str = "f"
    memory_limit_in_mb: int = 1024
    invoked_function_arn: str = "arn"
    aws_request_id: str = "r"

    def get_remaining_time_in_millis(self) -> int:
        return self.left


def handled(monkeypatch: pytest.MonkeyPatch, total: float, seconds: list[float]) -> tuple[list[str], list[str]]:
    """The messages that were reacted to, and those that were handed back, where each takes so many seconds."""
    context = Context(int(total * 1000))
    reacted: list[str] = []

    def react(message: Message) -> Outcome:
        context.left -= int(seconds[len(reacted)] * 1000)
        reacted.append(message.body)
        return Outcome.handled("done")

    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "Tallyman")
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "test")
    monkeypatch.setattr(bootstrap, "reaction", lambda name: react)
    batch = sqs_batch(*(push_event(DEV, digest_of(str(n)), "") for n in range(len(seconds))))
    answer: Any = runtime.sqs_handler("verify_digest")(batch, context)  # type: ignore[arg-type]
    return reacted, [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]


def test_a_batch_is_handled_in_one_run(monkeypatch: pytest.MonkeyPatch) -> None:
    reacted, back = handled(monkeypatch, 900, [1, 1, 1, 1, 1])
    assert (len(reacted), back) == (5, [])


def test_what_comes_after_a_long_message_is_offered_again(monkeypatch: pytest.MonkeyPatch) -> None:
    reacted, back = handled(monkeypatch, 900, [1, 600, 1, 1])
    assert (len(reacted), len(back)) == (2, 2)


def test_the_first_message_goes_however_short_the_run_is(monkeypatch: pytest.MonkeyPatch) -> None:
    reacted, back = handled(monkeypatch, 5, [1])  # less than the margin
    assert (len(reacted), back) == (1, [])
