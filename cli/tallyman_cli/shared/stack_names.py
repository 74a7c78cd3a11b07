"""The names of a stack's queues and rules: those of another stack may begin alike (`tallyman`, `tallyman-dev`)."""

from collections.abc import Collection, Iterator
from typing import Any

from tallyman.adapters.errors.translate import translated
from tallyman.domain.events.letters import FUNCTIONS, UNDELIVERED

_KINDS = ("image", "pushed", "replication", "referrer", "call", "basic-scan", "inspector-scan")
RULES = frozenset(
    {*(f"{kind}-{side}" for kind in _KINDS for side in ("own", "spoke")), "released", "retention", "reconcile", "check"}
)
"""The rules of EventBridge, without the stack's name and its hyphen."""
LETTERS = frozenset({UNDELIVERED, *(f"{queue}-dead-letters" for queue in FUNCTIONS)})
QUEUES = frozenset({*LETTERS, *FUNCTIONS})


def is_of(stack: str, name: str, known: Collection[str]) -> bool:
    """Whether it is the name of one of these in this stack."""
    return name.startswith(f"{stack}-") and name.removeprefix(f"{stack}-") in known


def messages(sqs: Any, stack: str, known: Collection[str]) -> Iterator[tuple[str, int]]:
    """(queue, messages that wait in it) of each of these queues that the stack has, by name. A call, and one each."""
    with translated("list the queues"):
        urls = sqs.list_queues(QueueNamePrefix=f"{stack}-").get("QueueUrls", [])
    for url in sorted(urls):
        name = url.rpartition("/")[2]
        if is_of(stack, name, known):
            with translated(f"read the queue {name}"):
                answer = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
            yield name, int(answer["Attributes"]["ApproximateNumberOfMessages"])
