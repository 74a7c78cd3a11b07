"""The result of a check of `tallyman doctor`, and what every check reads."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from botocore.config import Config

from tallyman.adapters.aws.sessions import new_session
from tallyman_cli.shared.context import Stack
from tallyman_cli.shared.listings import Listing, listing

OK, WARN, BAD, UNKNOWN = "ok", "warning", "failed", "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """`check`: its name; `verdict`: ok, warning, failed or unknown; `found`: in a sentence; `todo`: None where there is
    nothing to do."""

    check: str
    verdict: str
    found: str
    todo: str | None = None


def _silent(text: str) -> None:
    """Print nothing."""


@dataclass(frozen=True)
class Site:
    """What the checks of one run read. `name`: of the stack; `client`: makes clients in the hub's account by (service,
    region); `patience`: seconds to wait for test events; `say`: prints notes about what takes long."""

    stack: Stack
    name: str
    client: Callable[[str, str], Any]
    patience: float = 30.0
    say: Callable[[str], None] = _silent

    def hub(self, service: str) -> Any:
        """The client of a service in the stack's region."""
        return self.client(service, self.stack.hub.region)

    @cached_property
    def repositories(self) -> Listing:
        """Each registry's repositories, listed once for all checks."""
        return listing(self.stack.registries)


def clients() -> Callable[[str, str], Any]:
    """Make clients with the caller's own credentials. Each gives up after half a minute at most."""
    session = new_session()
    config = Config(connect_timeout=3, read_timeout=8, retries={"mode": "standard", "total_max_attempts": 3})

    def client(service: str, region: str) -> Any:
        return session.create_client(service, region_name=region, config=config)

    return client
