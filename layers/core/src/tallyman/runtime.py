"""The Lambda handlers: SQS batches, and logging and metrics by Powertools, which no other module imports.

`functions/NAME/app.py` is one call: `handler = sqs_handler("NAME")`. This module splits the batch itself: importing
Powertools' batch processor, with asyncio and the classes of all events, takes a fifteenth of a cold start.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from math import inf
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import Metrics, MetricUnit, single_metric

from tallyman import bootstrap
from tallyman.errors import OutOfTime
from tallyman.ports.clocks import Deadline
from tallyman.ports.reactions import Message, OutcomeKind

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

MARGIN = 10.0
"""Seconds at the end of a run in which work saves its progress."""
ALARMED = {
    "parked": "ParkedPromotions",
    "stuck": "StuckPromotions",
    "would_not_pass": "WouldNotPass",
    "unguarded": "OpenToPushes",
    "failing": "FailingSweeps",
}
"""The metric of each count in reconcile's report that has an alarm."""
BY_ENVIRONMENT = {
    "missed": ("MissedEvents", MetricUnit.Count),
    "storage": ("ImageBytes", MetricUnit.Bytes),  # a layer that several images share counts once for each of them
    "images": ("Images", MetricUnit.Count),
    "waiting": ("Waiting", MetricUnit.Count),
}
"""The metric and unit of each number in reconcile's report that has the environment as its dimension."""

Handler = Callable[[dict[str, Any], "LambdaContext"], Any]


def sqs_handler(name: str) -> Handler:
    """The handler of a function that a queue invokes: takes an SQS batch, returns the messages that failed.

    SQS delivers a message again where its reaction raises, and where less than half of the run is left when its turn
    comes: it would have less time than a message alone in its batch. Each message counts one metric `Handled` or
    `DeadLetter`, and the metric of its outcome's kind (see `OutcomeKind`); a promotion counts its `CopiedBytes`.
    """
    logger, metrics = Logger(), Metrics()
    react = bootstrap.reaction(name)

    def handled(record: dict[str, Any], left: Deadline, enough: float) -> bool:
        """Handle one message; False: SQS delivers it again."""
        logger.append_keys(message_id=record["messageId"])
        try:
            if left() < enough:
                raise OutOfTime("the other messages of its batch took more than half of the run")
            outcome = react(_message(record, left))
        except Exception:
            logger.exception("the message failed and will be delivered again")
            return False
        kinds = {outcome.kind} if outcome.kind is OutcomeKind.DEAD_LETTER else {OutcomeKind.HANDLED, outcome.kind}
        for metric in kinds:
            metrics.add_metric(name=metric, unit=MetricUnit.Count, value=1)
        if outcome.copied:
            metrics.add_metric(name="CopiedBytes", unit=MetricUnit.Bytes, value=outcome.copied)
        logger.info(outcome.shown)
        return True

    @logger.inject_lambda_context
    @metrics.log_metrics
    def handler(event: dict[str, Any], context: "LambdaContext") -> Any:
        left = deadline(context.get_remaining_time_in_millis)
        half = left() / 2
        failed = [
            record["messageId"]
            for number, record in enumerate(event["Records"])
            if not handled(record, left, half if number else -inf)  # the first is handled with any time left
        ]
        return {"batchItemFailures": [{"itemIdentifier": each} for each in failed]}

    return handler


def scheduled_handler() -> Handler:
    """The handler of `reconcile`: takes the schedule's event or a person's request, returns the report."""
    logger = Logger()
    run = bootstrap.reconciler()

    @logger.inject_lambda_context
    def handler(event: dict[str, Any], context: "LambdaContext") -> dict[str, Any]:
        report = run(event, context.aws_request_id, deadline(context.get_remaining_time_in_millis))
        for key, (name, unit) in BY_ENVIRONMENT.items():
            _measure(name, unit, report[key], "environment")
        for key, found in (report["watched"] or {}).items():
            _measure(ALARMED[key], MetricUnit.Count, {context.function_name: sum(found.values())}, "function")
        logger.info("reconciled", outcome=report)
        return report

    return handler


def deadline(remaining_millis: Callable[[], int]) -> Deadline:
    """The seconds that work may still use: the milliseconds that Lambda has left, less MARGIN."""
    return lambda: remaining_millis() / 1000 - MARGIN


def _message(record: Mapping[str, Any], left: Deadline) -> Message:
    attributes = record["attributes"]
    sent = datetime.fromtimestamp(int(attributes["SentTimestamp"]) / 1000, UTC)
    return Message(record["body"], attributes["SenderId"], sent, left, record["eventSourceARN"].rpartition(":")[2])


def _measure(name: str, unit: MetricUnit, values: Mapping[str, int], dimension: str) -> None:
    for key, value in values.items():
        with single_metric(name=name, unit=unit, value=value) as metric:
            metric.add_dimension(name=dimension, value=key)
