"""Repositories with `push: tallyman-only` whose repository policy does not enforce it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tallyman.domain.names import Repository
from tallyman.domain.push_protection import PUSH
from tallyman.state.base import StateValue
from tallyman.state.items import ItemKind, Key
from tallyman.values import value

_FLAWS = {
    "the repository has no policy": "no_policy",
    "the repository's policy is not JSON": "not_json",
    f"the repository's policy lacks the statement {PUSH}": "no_statement",
    f"the statement {PUSH} of the repository's policy was changed": "changed",
}
"""The flaws by the sentences (up to a colon) of items without a `flaw`, as earlier releases wrote them."""


@value
class GuardState(StateValue):
    """What is wrong, and since when. `notified`: a notice was sent. `flaw`: the kind of the problem (a `Flaw`), which
    decides whether a notice is due; None: not known."""

    problem: str
    since: datetime
    notified: bool
    flaw: str | None = None

    @classmethod
    def completed(cls, data: Mapping[str, Any]) -> Mapping[str, Any]:
        flaw = data.get("flaw") or _FLAWS.get(data["problem"].partition(": ")[0])
        return {**data, "flaw": flaw}


PARTITION = "S#guard"


def key(place: Repository) -> Key:
    """The key of one repository."""
    return PARTITION, str(place)


GUARDS = ItemKind(GuardState, PARTITION, "`<registry>/<repository>`", "a repository that others could push to")
