"""Settings from environment variables. No other module of the core reads os.environ."""

import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Self

from tallyman.domain.names import EcrRegistry
from tallyman.errors import BadInput
from tallyman.values import value


@value
class Settings:
    """The settings of all functions, each from the environment variable TALLYMAN_<NAME>; None: the function does not
    use it.

    `put_rate`: PutImage calls per second and registry (ECR allows ten), shared by the `promote_concurrency` workers
    that run at once; `trail_rate`: LookupEvents calls per second. For both, 0 means no limit.
    """

    stack: str | None = None
    function: str | None = None
    ledger_table: str | None = None
    state_table: str | None = None
    archive_bucket: str | None = None
    notices_topic: str | None = None
    bus: str | None = None
    verify_queue: str | None = None
    origin_queue: str | None = None
    promote_queue: str | None = None
    retention_queue: str | None = None
    commands_queue: str | None = None
    roll_out_queue: str | None = None
    dead_letters: str | None = None
    hub: EcrRegistry | None = None
    policy: Path | None = None
    put_rate: float = 5.0
    promote_concurrency: int = 1
    trail_rate: float = 1.0

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Read `environ`, or the process's environment. Raises BadInput for a value that does not parse."""
        environ = os.environ if environ is None else environ
        found: dict[str, Any] = {}
        for name in (field.name for field in fields(cls)):
            if text := environ.get(variable_of(name), "").strip():
                found[name] = _parse(name, text)
        return cls(**found)

    @property
    def queues(self) -> dict[str, str]:
        """The URLs of the queues for hints, by the name that `Hints.send` takes; only those that are set."""
        names = [field.name for field in fields(self) if field.name.endswith("_queue")]
        return {name.removesuffix("_queue"): url for name in names if (url := getattr(self, name))}

    def require(self, name: str) -> Any:
        """The value of a field that must be set. Raises BadInput that names the missing variable."""
        value = getattr(self, name)
        if value is None:
            raise BadInput(f"the environment variable {variable_of(name)} is not set")
        return value


def variable_of(name: str) -> str:
    """The environment variable of a setting; Lambda itself sets the one of `function`."""
    return "AWS_LAMBDA_FUNCTION_NAME" if name == "function" else f"TALLYMAN_{name.upper()}"


def _parse(name: str, text: str) -> Any:
    try:
        if name == "hub":
            return EcrRegistry.parse(text)
        if name == "policy":
            return Path(text)
        if name in ("put_rate", "trail_rate"):
            rate = float(text)
            if not 0 <= rate < float("inf"):
                raise ValueError(f"'{text}' is not a rate: expected a number of at least 0")
            return rate
        if name == "promote_concurrency":
            count = int(text)
            if count < 1:
                raise ValueError(f"'{text}' is not a count: expected a whole number of at least 1")
            return count
    except ValueError as error:
        raise BadInput(f"{variable_of(name)}: {error}") from None
    return text
