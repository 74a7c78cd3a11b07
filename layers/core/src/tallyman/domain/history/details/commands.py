"""What people said."""

from typing import Any, ClassVar

from tallyman.domain.history.details.base import Details
from tallyman.values import value

_OF_ENVIRONMENTS = ("freeze", "thaw")


@value
class Said(Details):
    """Of requested, approved, denied, overridden, checked, recalled, frozen, thawed; also reads `request` of what came
    of one.

    `principal`: `role/NAME` whose word it is, None: nobody was named. `refused`: why it does not count. `name`: the
    canonical repository of a promotion, with `source` and `target`, or in an `environment` (roll-back, check). `check`,
    `result`: which check `passed` or `failed`. `repository` of a freeze (None: all of them).
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
