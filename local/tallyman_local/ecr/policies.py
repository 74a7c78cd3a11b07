"""Evaluate resource policies: as much of IAM's policy language as our templates use."""

import json
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any

Statement = Mapping[str, Any]


def allows(  # noqa: PLR0913 - the parts of a request that a statement may name, all named
    statements: Iterable[Statement],
    *,
    action: str,
    resource: str,
    service: str = "",
    account: str = "",
    arn: str = "",
    context: Mapping[str, str] | None = None,
) -> bool:
    """Whether a statement allows the action and none denies it.

    The principal is a `service` (`events.amazonaws.com`) or `arn` in `account`. `context`: condition keys; a missing
    key satisfies only negated conditions, `Null` and `…IfExists`. An unknown operator satisfies nothing: it is better
    to refuse here than to allow here alone.
    """
    verdict = False
    for statement in statements:
        if not (
            _principal(statement.get("Principal"), service, account, arn)
            and _any(statement.get("Action"), action)
            and _any(statement.get("Resource", "*"), resource)
            and _conditions(statement.get("Condition") or {}, context or {})
        ):
            continue
        if statement.get("Effect") == "Deny":
            return False
        verdict = True
    return verdict


def statements(document: str | Mapping[str, Any] | None) -> list[Statement]:
    """The statements of a policy document, given as JSON or parsed."""
    policy = _parsed(document) if isinstance(document, str) else document
    return _list((policy or {}).get("Statement"))


@lru_cache(maxsize=512)  # each call of a role reads all its policies
def _parsed(document: str) -> Any:
    return json.loads(document)


def _list(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]


def _principal(principal: Any, service: str, account: str, arn: str) -> bool:
    if principal == "*":
        return True
    if not isinstance(principal, Mapping):
        return False
    if service:
        return service in _list(principal.get("Service"))
    names = _list(principal.get("AWS"))
    return any(name in ("*", account, f"arn:aws:iam::{account}:root", arn) for name in map(str, names))


def _any(patterns: Any, value: str) -> bool:
    return any(_matches(str(pattern), value) for pattern in _list(patterns))


@lru_cache(maxsize=50_000)  # the same few actions and resources are compared with all patterns of a role
def _matches(pattern: str, value: str) -> bool:
    return fnmatchcase(value.lower(), pattern.lower())


def _conditions(conditions: Mapping[str, Any], context: Mapping[str, str]) -> bool:
    keys = {key.lower(): value for key, value in context.items()}
    return all(
        _condition(operator, keys.get(key.lower()), [str(v) for v in _list(wanted)])
        for operator, tests in conditions.items()
        for key, wanted in tests.items()
    )


def _condition(operator: str, actual: str | None, wanted: list[str]) -> bool:
    operator = operator.split(":", 1)[-1]  # ForAnyValue and ForAllValues are equal for single values
    if operator.endswith("IfExists"):
        if actual is None:
            return True
        operator = operator.removesuffix("IfExists")
    if operator == "Null":
        return (actual is None) == (wanted == ["true"])
    if actual is None:
        return operator.startswith(("StringNot", "ArnNot"))
    match operator:
        case "StringEquals":
            return actual in wanted
        case "StringNotEquals":
            return actual not in wanted
        case "Bool" | "StringEqualsIgnoreCase":
            return actual.lower() in [value.lower() for value in wanted]
        case "StringLike" | "ArnLike" | "ArnEquals":  # IAM treats the two Arn operators alike
            return any(fnmatchcase(actual, value) for value in wanted)
        case "StringNotLike" | "ArnNotLike" | "ArnNotEquals":
            return not any(fnmatchcase(actual, value) for value in wanted)
        case _:
            return False
