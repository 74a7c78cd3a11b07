"""The names of a stack's queues and rules: those of another stack may begin alike (`tallyman`, `tallyman-dev`)."""

from collections.abc import Collection

from tallyman.domain.events.letters import FUNCTIONS, UNDELIVERED

_KINDS = ("image", "pushed", "replication", "referrer", "call", "basic-scan", "inspector-scan")
RULES = frozenset(
    {*(f"{kind}-{side}" for kind in _KINDS for side in ("own", "spoke")), "released", "retention", "reconcile", "check"}
)
"""Of EventBridge, without the stack's name and its hyphen."""
LETTERS = frozenset({UNDELIVERED, *(f"{queue}-dead-letters" for queue in FUNCTIONS)})
QUEUES = frozenset({*LETTERS, *FUNCTIONS})


def is_of(stack: str, name: str, known: Collection[str]) -> bool:
    """Whether it is the name of one of these in this stack."""
    return name.startswith(f"{stack}-") and name.removeprefix(f"{stack}-") in known
