"""Event source mappings: take messages from queues in batches, invoke the functions, and offer failed messages again.

One thread watches all queues. A batch is received and counted as in flight under one lock, and both end under the same
lock after its invocation: `settle` sees every message either in its queue or in flight.
"""

import threading
import time
from dataclasses import dataclass, field
from typing import Any

from moto.sqs.models import Message, Queue, sqs_backends

from tallyman_local.moto import calls as moto_calls
from tallyman_local.runtime.lambdas import FunctionRunner, Outcome
from tallyman_local.stack.deploy import Mapping

RETRY_MS = 500  # until a failed batch is offered again, without --real-time
SOON_MS = 5_000  # `settle` does not wait for a message that is due later


@dataclass
class _Feed:
    mapping: Mapping
    queue: Queue
    runner: FunctionRunner
    in_flight: dict[str, float] = field(default_factory=dict)  # message id → visible_at as received
    batches: int = 0

    @property
    def full(self) -> bool:
        return self.batches >= self.mapping.concurrency


class Pollers:
    """All event source mappings of the hub, and the count of direct invocations that run."""

    def __init__(self, *, real_time: bool = False) -> None:
        self._real_time = real_time
        self._feeds: list[_Feed] = []
        self._direct = 0
        self._stopped = False
        self._thread = threading.Thread(target=self._watch, name="pollers", daemon=True)

    def add(self, mapping: Mapping, runner: FunctionRunner) -> None:
        """Feed `runner` from the mapping's queue, once started."""
        _, _, _, region, account, name = mapping.queue_arn.split(":", 5)
        self._feeds.append(_Feed(mapping, sqs_backends[account][region].get_queue(name), runner))

    def start(self) -> None:
        """Begin to receive messages."""
        self._thread.start()

    def stop(self) -> None:
        """Receive no more messages; the threads of batches in flight go on."""
        with moto_calls.CHANGED:
            self._stopped = True
            moto_calls.CHANGED.notify_all()
        self._thread.join(timeout=2)

    def invoke(self, runner: FunctionRunner, event: Any) -> Outcome:
        """A direct invocation, which `left` counts while it runs."""
        self._count(1)
        return self._run_direct(runner, event)

    def invoke_later(self, runner: FunctionRunner, event: Any) -> None:
        """An asynchronous invocation; `left` counts it from now on."""
        self._count(1)
        threading.Thread(target=self._run_direct, args=(runner, event), daemon=True).start()

    def _run_direct(self, runner: FunctionRunner, event: Any) -> Outcome:
        try:
            return runner.invoke(event)
        finally:
            self._count(-1)

    def _count(self, more: int) -> None:
        with moto_calls.CHANGED:
            self._direct += more
            moto_calls.CHANGED.notify_all()

    def left(self, *, until_due: bool = False) -> dict[str, Any]:
        """The messages and invocations that are not done, empty when all are. Hold moto_calls.LOCK for an exact answer.

        A message that is delayed or hidden counts if it is due within 5 s, with `until_due` whenever it is due.
        """
        now = _now()
        queues = {}
        for feed in self._feeds:
            counts = {"visible": 0, "in_flight": max(len(feed.in_flight), feed.batches), "due": 0}
            for message in feed.queue._messages:
                if message.id in feed.in_flight:
                    continue
                due = _due(message)
                if due <= now:
                    counts["visible"] += 1
                elif until_due or due <= now + SOON_MS:
                    counts["due"] += 1
            if any(counts.values()):
                queues[feed.queue.name] = counts
        left: dict[str, Any] = {"queues": queues} if queues else {}
        if self._direct:
            left["invocations"] = self._direct
        return left

    def _watch(self) -> None:
        with moto_calls.CHANGED:
            while not self._stopped:
                took = [self._take(feed) for feed in self._feeds]
                if not any(took):
                    moto_calls.CHANGED.wait(self._wait_seconds())

    def _wait_seconds(self) -> float | None:
        """Seconds until a message is due for a feed that is not full; the end of a batch wakes the others."""
        now = _now()
        dues = [_due(message) for feed in self._feeds if not feed.full for message in feed.queue._messages]
        return max(0.002, (min(dues) - now) / 1000 + 0.001) if dues else None

    def _take(self, feed: _Feed) -> bool:
        now = _now()
        if feed.full or not any(_due(message) <= now for message in feed.queue._messages):
            return False
        backend = sqs_backends[feed.queue.account_id][feed.queue.region]
        visibility = int(feed.queue.visibility_timeout)
        taken = backend.receive_message(feed.queue.name, feed.mapping.batch_size, 0, visibility, ["All"])
        if not taken:
            return False
        feed.batches += 1
        feed.in_flight.update({message.id: message.visible_at for message in taken})
        threading.Thread(target=self._run, args=(feed, taken), name=f"batch-{feed.queue.name}", daemon=True).start()
        return True

    def _run(self, feed: _Feed, taken: list[Message]) -> None:
        outcome = Outcome(error={"errorType": "Local.Error"})
        try:
            outcome = feed.runner.invoke({"Records": [_record(message, feed.queue) for message in taken]})
        finally:
            with moto_calls.CHANGED:
                failed = _failed_ids(outcome, taken, partial=feed.mapping.partial)
                for message in taken:
                    self._finish(feed, message, failed=message.id in failed)
                feed.batches -= 1
                moto_calls.CHANGED.notify_all()

    def _finish(self, feed: _Feed, taken: Message, *, failed: bool) -> None:
        received = feed.in_flight.pop(taken.id, None)
        current = next((message for message in feed.queue._messages if message.id == taken.id), None)
        if current is None:
            return  # the handler deleted it, or the queue was purged
        if not failed:
            feed.queue.delete_message(current.receipt_handle or "")
        elif not self._real_time and current.visible_at == received:
            # Unless the handler has set a visibility timeout of its own, as a pause before its retry.
            current.visible_at = _now() + RETRY_MS


def _now() -> float:
    return time.time() * 1000


def _due(message: Message) -> float:
    """The time from which the message may be received, as `_now`."""
    return float(max(message.visible_at, message.delayed_until))


def _failed_ids(outcome: Outcome, taken: list[Message], *, partial: bool) -> set[str]:
    """The ids of the messages that are offered again, as Lambda reads a batch's answer."""
    every = {message.id for message in taken}
    if not outcome.ok:
        return every
    if not partial or not outcome.result:
        return set()
    failures = outcome.result.get("batchItemFailures") if isinstance(outcome.result, dict) else None
    if failures is None:
        return set() if isinstance(outcome.result, dict) else every
    try:
        failed = {failure["itemIdentifier"] for failure in failures}
    except (KeyError, TypeError):
        return every
    return failed if failed <= every else every


def _record(message: Message, queue: Queue) -> dict[str, Any]:
    attributes = {
        "ApproximateReceiveCount": str(message.approximate_receive_count),
        "SentTimestamp": str(message.sent_timestamp),
        "SenderId": message.sender_id,
        "ApproximateFirstReceiveTimestamp": str(message.approximate_first_receive_timestamp),
    }
    return {
        "messageId": message.id,
        "receiptHandle": message.receipt_handle,
        "body": message.body,
        "attributes": attributes,
        "messageAttributes": {
            name: {
                "stringValue": value.get("StringValue"),
                "stringListValues": [],
                "binaryListValues": [],
                "dataType": value["DataType"],
            }
            for name, value in message.message_attributes.items()
        },
        "md5OfBody": message.body_md5,
        "eventSource": "aws:sqs",
        "eventSourceARN": queue.queue_arn,
        "awsRegion": queue.region,
    }
