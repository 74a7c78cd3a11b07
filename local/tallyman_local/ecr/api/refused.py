"""Operations that the local ECR refuses, and why: a clear error is better than a wrong answer."""

from collections.abc import Callable

from tallyman_local.ecr.api.calls import OPERATIONS, Answer, Call
from tallyman_local.ecr.rules.errors import EcrError

_CACHE = "The local ECR reaches no other registry, so it has no pull through cache"
REFUSED: dict[str, str] = {
    "CreatePullThroughCacheRule": _CACHE,
    "DeletePullThroughCacheRule": _CACHE,
    "DescribePullThroughCacheRules": _CACHE,
    "UpdatePullThroughCacheRule": _CACHE,
    "ValidatePullThroughCacheRule": _CACHE,
}


def refusal(name: str, reason: str) -> EcrError:
    """As AWS names what a region or service does not offer."""
    return EcrError("UnsupportedOperation", f"{name} is not served by the local ECR: {reason}.")


def _refuse(name: str, reason: str) -> Callable[[Call], Answer]:
    def refuse(call: Call) -> Answer:
        raise refusal(name, reason)

    return refuse


for _name, _reason in REFUSED.items():
    OPERATIONS[_name] = _refuse(_name, _reason)
