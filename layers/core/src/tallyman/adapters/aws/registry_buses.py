"""The default buses of the registries' accounts: put a test event there, and read how events are forwarded."""

import json

from tallyman.adapters.aws.clients import Clients
from tallyman.adapters.aws.notices import put_event
from tallyman.adapters.errors.translate import translated
from tallyman.domain.events.eventbridge import TRIP, TRIP_SOURCE
from tallyman.domain.names import EcrRegistry
from tallyman.domain.permissions import permissions
from tallyman.errors import NotFound
from tallyman.ports.messages import Way


class EventBridgeBuses:
    """`RegistryBuses`, with the role that reads. It may put this one kind of event, which changes nothing."""

    PERMISSIONS: tuple[str, ...] = permissions(
        "events:DescribeRule",
        "events:PutEvents",
        "sqs:GetQueueAttributes",
        "sqs:GetQueueUrl",
    )

    def __init__(self, clients: Clients, stack: str) -> None:
        self._clients, self._stack = clients, stack

    def send(self, registry: EcrRegistry, nonce: str) -> None:
        """One PutEvents."""
        entry = {"Source": TRIP_SOURCE, "DetailType": TRIP, "Detail": json.dumps({"nonce": nonce})}
        put_event(self._clients.get("events", registry), entry, f"put a test event on the default bus of {registry}")

    def way(self, registry: EcrRegistry) -> Way:
        """Read the rule that forwards pushes, and its dead-letter queue, by their names in the templates:
        DescribeRule, GetQueueUrl, GetQueueAttributes."""
        own = registry == self._clients.hub
        rule = f"{self._stack}-{'image-own' if own else 'spoke-image'}"
        queue = f"{self._stack}-{'' if own else 'spoke-'}undelivered"
        enabled: bool | None = None
        try:
            with translated(f"describe the rule {rule} of {registry}"):
                enabled = self._clients.get("events", registry).describe_rule(Name=rule)["State"] == "ENABLED"
        except NotFound:
            pass
        sqs = self._clients.get("sqs", registry)
        with translated(f"read the queue {queue} of {registry}"):
            url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
            name = "ApproximateNumberOfMessages"
            answer = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[name])
        return Way(rule, enabled, int(answer["Attributes"][name]))
