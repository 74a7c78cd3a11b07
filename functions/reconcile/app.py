"""The registries are looked at: what no event told is found, and what waits is taken up."""

from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import MetricUnit, single_metric

from tallyman import bootstrap

logger = Logger()
run = bootstrap.reconciler()
WATCHED = {
    "ParkedPromotions": "parked",
    "StuckPromotions": "stuck",
    "WouldNotPass": "would_not_pass",
    "OpenToPushes": "unguarded",
}


def measure(name: str, unit: MetricUnit, values: dict[str, int]) -> None:
    """A metric with a value for each environment."""
    for environment, value in values.items():
        with single_metric(name=name, unit=unit, value=value) as metric:
            metric.add_dimension(name="environment", value=environment)


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """The schedule's event, or what a person asks for; answers with what was found, and whether there is more to do."""
    left = bootstrap.deadline(context.get_remaining_time_in_millis)
    outcome: dict[str, Any] = run(event, context.aws_request_id, left)
    measure("MissedEvents", MetricUnit.Count, outcome["missed"])
    measure("ImageBytes", MetricUnit.Bytes, outcome["storage"])  # layers that images share are counted each time
    for name, found in WATCHED.items():
        if outcome["watched"]:
            with single_metric(
                name=name, unit=MetricUnit.Count, value=sum(outcome["watched"][found].values())
            ) as metric:
                metric.add_dimension(name="function", value=context.function_name)  # as the alarms name it
    logger.info("reconciled", outcome=outcome)
    return outcome
