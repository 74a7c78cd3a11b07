"""The details that a line about a fact of any kind shows."""

from collections.abc import Sequence

from tallyman.domain.history.details.base import Details
from tallyman.values import value


@value
class Gist(Details):
    """Details of every kind: what the fact concerns, and its reason; None where the kind has no such detail."""

    target: str | None = None
    environment: str | None = None
    name: str | None = None
    repository: str | None = None
    tags: Sequence[str] | None = None
    refused: str | None = None
    because: str | None = None
    reason: str | None = None
    outcome: str | None = None
