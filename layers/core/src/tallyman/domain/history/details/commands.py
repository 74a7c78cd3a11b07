"""Commands of people."""

from typing import Any, ClassVar

from tallyman.domain.history.details.base import Details
from tallyman.values import value

_OF_ENVIRONMENTS = ("freeze", "thaw")


@value
class Said(Details):
    """Details of requested, approved, denied, overridden, checked, recalled, frozen and thawed; also reads `request` of
    facts that a command caused.

    `principal`: the `role/NAME` that the policy allows to send the command; None: none. `refused`: why the command does
    not count. `name`: the canonical repository, of a promotion from `source` to `target`, or in an `environment`
    (roll-back, check). `check`, `result`: a check, and whether it `passed` or `failed`. `repository`: of a freeze or
    thaw; None: all.
    """

    SPARSE: ClassVar = frozenset({"name", "from", "to", "gate", "environment", "check", "result"})
    command: str | None = None
    request: str | None = None
    principal: str | None = None
    because: str | None = None
    refused: str | None = None
    name: str | None = None
    source: str | None = None
    target: str | None = None
    gate: str | None = None
    environment: str | None = None
    check: str | None = None
    result: str | None = None
    repository: str | None = None

    def dump(self) -> dict[str, Any]:
        detail = Details.dump(self)
        if self.command not in _OF_ENVIRONMENTS:
            del detail["repository"]
        return detail
