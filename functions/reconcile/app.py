"""The registries are looked at: what no event told is found, and what waits is taken up."""

from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import MetricUnit, single_metric

from tallyman import bootstrap

logger = Logger()
run = bootstrap.reconciler()
ALARMED = {"parked": "ParkedPromotions", "stuck": "StuckPromotions", "would_not_pass": "WouldNotPass"}
ALARMED |= {"unguarded": "OpenToPushes"}


def measure(name: str, unit: MetricUnit, values: dict[str, int], of: str = "environment") -> None:
    """A metric with a value for each environment."""
    for key, value in values.items():
        with single_metric(name=name, unit=unit, value=value) as metric:
            metric.add_dimension(name=of, value=key)


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """The schedule's event, or what a person asks for; answers with what was found, and whether there is more to do."""
    left = bootstrap.deadline(context.get_remaining_time_in_millis)
    outcome: dict[str, Any] = run(event, context.aws_request_id, left)
    measure("MissedEvents", MetricUnit.Count, outcome["missed"])
    measure("ImageBytes", MetricUnit.Bytes, outcome["storage"])  # layers that images share are counted each time
    for key, found in (outcome["watched"] or {}).items():
        measure(ALARMED[key], MetricUnit.Count, {context.function_name: sum(found.values())}, "function")
    logger.info("reconciled", outcome=outcome)
    return outcome
