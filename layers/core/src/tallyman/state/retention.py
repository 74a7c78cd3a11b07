"""The result of the last retention run of each repository, and the repositories for which a run was requested."""

import re
from collections.abc import Mapping
from datetime import datetime
from itertools import islice
from typing import Any

from tallyman.domain.names import Digest, Repository
from tallyman.state.base import StateValue
from tallyman.state.items import ItemKind, Key
from tallyman.values import value

_REMOVED, _FAILED, CAUSES = 1000, 100, 100
"""The most images, and causes of refusals, that an item lists, as items must stay small."""
_SENTENCES = (
    (r"(.+?) can't be read: ", "unread"),
    (r"(.+) started at \S+ from the tag (\S+): ", "start"),
    (r"\d+ (?:of \d+ )?images would go", "too_many"),
)
"""The causes of refusals by the sentences of items without `causes`, as earlier releases wrote them."""


@value
class RetentionRun(StateValue):
    """The result of a run. `request`: the id of the person's request, None: there was none. `removed` and `failed`
    (digest: reason) list the first images only. `refused`: why it was refused, for people. `acted`: False where it was
    refused or only planned. `causes`: the causes of refusals (`Refusal.key`) that were announced since the last run
    that was not refused; None: an earlier release wrote the item."""

    at: datetime
    request: Any
    outcome: str
    marked: int = 0
    unmarked: int = 0
    waiting: int = 0
    removed: tuple[Digest, ...] = ()
    failed: Mapping[str, str] | None = None
    refused: str | None = None
    acted: bool = True
    causes: tuple[str, ...] | None = ()

    @classmethod
    def completed(cls, data: Mapping[str, Any]) -> Mapping[str, Any]:
        if "acted" in data:
            return data
        return {**data, "acted": not data["outcome"].startswith(("refused", "a plan only")), "causes": None}

    @property
    def first_cause(self) -> str | None:
        """The cause of the first refusal that an earlier release announced, whose items have the sentence alone."""
        for pattern, cause in _SENTENCES:
            if found := re.match(pattern, self.refused or ""):
                return " ".join([cause, *found.groups()])
        return None

    def dump(self) -> dict[str, Any]:
        """The run as JSON data, as it is stored and shown."""
        failed = dict(islice((self.failed or {}).items(), _FAILED))
        return StateValue.dump(self) | {"removed": list(self.removed[:_REMOVED]), "failed": failed}


@value
class Asked(StateValue):
    """A requested run. `until`: when it starts at the latest."""

    until: datetime


RUNS_PARTITION = "RT#runs"


def run_key(repository: Repository) -> Key:
    """The key of a repository's last run."""
    return RUNS_PARTITION, str(repository)


def asked_key(repository: Repository) -> Key:
    """The key of a repository's requested run."""
    return "RT#gather", str(repository)


RUNS = ItemKind(RetentionRun, RUNS_PARTITION, "`<registry>/<repository>`", "the result of the last retention run")
ASKED = ItemKind(Asked, "RT#gather", "`<registry>/<repository>`", "a retention run that a push requested")
