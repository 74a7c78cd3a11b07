"""A finding of an audit."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tallyman_cli.shared import output


@dataclass(frozen=True, slots=True)
class Finding:
    """`kind`: in snake_case; `what`: was found; `where`: a registry, repository or environment; `since`: when it began
    (None: not known); `why`: it matters; `todo`: what to do. `mend`: sets what creation would have set; None: a person
    has to act."""

    kind: str
    what: str
    where: str
    since: datetime | None
    why: str
    todo: str
    mend: Callable[[], None] | None = None

    @property
    def as_json(self) -> dict[str, Any]:
        """The form of INTERFACE: `{kind, what, where, since, why, todo, fixable}`."""
        return {
            "kind": self.kind,
            "what": self.what,
            "where": self.where,
            "since": output.time(self.since) or None,
            "why": self.why,
            "todo": self.todo,
            "fixable": self.mend is not None,
        }


def unread(what: str, where: str, error: Exception) -> Finding:
    """The finding for something that could not be read: nobody knows whether it is well."""
    return Finding(
        "unread",
        f"{what} could not be read: {error}",
        where,
        None,
        "what could not be read may be wrong",
        "run the audit with credentials that may read it",
    )
