"""Settings from environment variables. No other module of the core reads os.environ."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from tallyman.domain.names import EcrRegistry
from tallyman.errors import BadInput
from tallyman.values import value

_VARIABLES = {
    "stack": "TALLYMAN_STACK",
    "function": "AWS_LAMBDA_FUNCTION_NAME",
    "ledger_table": "TALLYMAN_LEDGER_TABLE",
    "state_table": "TALLYMAN_STATE_TABLE",
    "archive_bucket": "TALLYMAN_ARCHIVE_BUCKET",
    "notices_topic": "TALLYMAN_NOTICES_TOPIC",
    "bus": "TALLYMAN_BUS",
    "verify_queue": "TALLYMAN_VERIFY_QUEUE",
    "origin_queue": "TALLYMAN_ORIGIN_QUEUE",
    "promote_queue": "TALLYMAN_PROMOTE_QUEUE",
    "retention_queue": "TALLYMAN_RETENTION_QUEUE",
    "commands_queue": "TALLYMAN_COMMANDS_QUEUE",
    "roll_out_queue": "TALLYMAN_ROLL_OUT_QUEUE",
    "dead_letters": "TALLYMAN_DEAD_LETTERS",
    "hub": "TALLYMAN_HUB",
    "policy": "TALLYMAN_POLICY",
    "put_rate": "TALLYMAN_PUT_RATE",
    "promote_concurrency": "TALLYMAN_PROMOTE_CONCURRENCY",
    "trail_rate": "TALLYMAN_TRAIL_RATE",
}


@value
class Settings:
    """The settings of all functions; None: the function does not use it.

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
        for name, variable in _VARIABLES.items():
            if text := environ.get(variable, "").strip():
                found[name] = _parse(name, variable, text)
        return cls(**found)

    @property
    def queues(self) -> dict[str, str]:
        """The URLs of the queues for hints, by the name that `Hints.send` takes; only those that are set."""
        urls = {
            "verify": self.verify_queue,
            "origin": self.origin_queue,
            "promote": self.promote_queue,
            "retention": self.retention_queue,
            "commands": self.commands_queue,
            "roll_out": self.roll_out_queue,
        }
        return {name: url for name, url in urls.items() if url}

    def require(self, name: str) -> Any:
        """The value of a field that must be set. Raises BadInput that names the missing variable."""
        value = getattr(self, name)
        if value is None:
            raise BadInput(f"the environment variable {_VARIABLES[name]} is not set")
        return value


def _parse(name: str, variable: str, text: str) -> Any:
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
        raise BadInput(f"{variable}: {error}") from None
    return text
