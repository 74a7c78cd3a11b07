"""What a check of `tallyman doctor` says, and what every check may look at."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import botocore.session
from botocore.config import Config

from tallyman_cli.shared.context import Stack

OK, WARN, BAD, UNKNOWN = "ok", "warning", "failed", "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """`verdict`: ok, warning, failed or unknown; `todo`: None where there is nothing to do."""

    check: str
    verdict: str
    found: str
    todo: str | None = None


def _silent(text: str) -> None:
    """Nobody watches."""


@dataclass(frozen=True, slots=True)
class Site:
    """The stack, its name, clients of the hub's account by (service, region), the seconds that a test event is waited
    for, and whom to inform about the wait."""

    stack: Stack
    name: str
    client: Callable[[str, str], Any]
    patience: float = 30.0
    say: Callable[[str], None] = _silent

    def hub(self, service: str) -> Any:
        """The client of a service where the stack is."""
        return self.client(service, self.stack.hub.region)


def clients(session: Any = None) -> Callable[[str, str], Any]:
    """Clients with the caller's own credentials; none keeps a check waiting for more than half a minute."""
    found = session or botocore.session.get_session()
    config = Config(connect_timeout=3, read_timeout=8, retries={"mode": "standard", "total_max_attempts": 3})

    def client(service: str, region: str) -> Any:
        return found.create_client(service, region_name=region, config=config)

    return client
