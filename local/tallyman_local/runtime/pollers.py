"""Event source mappings: what lies in a queue goes to its function, in batches, and what fails comes again.

One thread watches all queues. A batch is taken and counted as in flight under one lock, and leaves both
under the same lock when its invocation is over: to `settle` nothing is ever between queue and worker.
"""

import logging
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from moto.sqs.models import Message, Queue, sqs_backends

from tallyman_local.moto import calls as moto_calls
from tallyman_local.runtime.lambdas import FunctionRunner, Outcome
from tallyman_local.stack.deploy import Mapping

log = logging.getLogger("tallyman.local")

RETRY_MS = 500  # until a failed batch is offered again, but for --real-time
SOON_MS = 5_000  # what is due later is not waited for


@dataclass
class _Feed:
    mapping: Mapping
    queue: Queue
    runner: FunctionRunner
    in_flight: dict[str, float] = field(default_factory=dict)  # message id → visible_at as received
    batches: int = 0
    enabled: bool = True


class Pollers:
    """All event source mappings of the hub, and who else is being run (`invoking`)."""

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

    def enable(self, function: str, on: bool) -> None:
        """Whether a function (by logical id) takes up messages: an event source mapping that is disabled takes none."""
        with moto_calls.CHANGED:
            for feed in self._feeds:
                if feed.mapping.function == function:
                    feed.enabled = on
            moto_calls.CHANGED.notify_all()

    def start(self) -> None:
        """Begin to take messages."""
        self._thread.start()

    def stop(self) -> None:
        """Take no more; batches in flight are left to their threads."""
        with moto_calls.CHANGED:
            self._stopped = True
            moto_calls.CHANGED.notify_all()
        self._thread.join(timeout=2)

    def invoke(self, runner: FunctionRunner, event: Any) -> Outcome:
        """A direct invocation, which `left` counts while it runs."""
        with moto_calls.CHANGED:
            self._direct += 1
        try:
            return runner.invoke(event)
        finally:
            with moto_calls.CHANGED:
                self._direct -= 1
                moto_calls.CHANGED.notify_all()

    def invoke_later(self, runner: FunctionRunner, event: Any) -> None:
        """An asynchronous invocation; counted from now on."""
        with moto_calls.CHANGED:
            self._direct += 1

        def run() -> None:
            try:
                runner.invoke(event)
            finally:
                with moto_calls.CHANGED:
                    self._direct -= 1
                    moto_calls.CHANGED.notify_all()

        threading.Thread(target=run, daemon=True).start()

    def left(self, *, until_due: bool = False) -> dict[str, Any]:
        """What is still to be done, empty when nothing is. Call it with moto_calls.LOCK held to rely on it.

        A message that is delayed or hidden counts if it is due within 5 s, with `until_due` whenever it is due.
        """
        now = _now()
        queues = {}
        for feed in self._feeds:
            counts = {"visible": 0, "in_flight": max(len(feed.in_flight), feed.batches), "due": 0}
            for message in feed.queue._messages:
                if message.id in feed.in_flight:
                    continue
                due = max(message.visible_at, message.delayed_until)
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
        """Until a message of a feed that has room is due. Visible messages of a full feed wait for its batch."""
        now = _now()
        dues = [
            max(message.visible_at, message.delayed_until)
            for feed in self._feeds
            if feed.enabled and feed.batches < feed.mapping.concurrency
            for message in feed.queue._messages
        ]
        return max(0.002, (min(dues) - now) / 1000 + 0.001) if dues else None

    def _take(self, feed: _Feed) -> bool:
        if not feed.enabled or feed.batches >= feed.mapping.concurrency or not feed.queue._messages:
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
            # A handler that set a visibility of its own (a pause before its retry) is left to it.
            current.visible_at = _now() + RETRY_MS


def _now() -> float:
    return time.time() * 1000


def _failed_ids(outcome: Outcome, taken: list[Message], *, partial: bool) -> set[str]:
    """Which messages come again: as Lambda reads a batch's answer."""
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
