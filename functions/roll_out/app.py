"""A release moves what runs: ECS services and Lambda functions, by digest."""

from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from tallyman import bootstrap

logger = Logger()
metrics = Metrics()
processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)
react = bootstrap.reaction("roll_out")


def on_message(record: SQSRecord, lambda_context: Any) -> str:
    """One message; what it raises is offered again."""
    logger.append_keys(message_id=record.message_id)
    try:
        outcome = react(record.body)
    except Exception:
        logger.exception("to be tried again")
        raise
    metrics.add_metric(
        name="DeadLetter" if outcome.startswith("dead letter") else "Handled", unit=MetricUnit.Count, value=1
    )
    logger.info(outcome)
    return outcome


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: Any) -> Any:
    """An SQS batch; answers with the messages that failed."""
    return process_partial_response(event=event, record_handler=on_message, processor=processor, context=context)
