"""AWS clients: one for each service, region, account and kind of role, made at first use and kept.

The sessions are botocore's, not boto3's: the same clients without the import of boto3. To make a client takes some
milliseconds, to read its model; all sessions share one loader, so that each model is read once.
"""

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal

from botocore.config import Config
from botocore.credentials import DeferredRefreshableCredentials
from botocore.exceptions import BotoCoreError, ClientError
from botocore.utils import parse_timestamp

from tallyman import __version__
from tallyman.adapters.aws.sessions import new_session
from tallyman.adapters.errors.translate import translate
from tallyman.domain.names import EcrRegistry
from tallyman.domain.partitions import partition_of
from tallyman.domain.permissions import permissions
from tallyman.errors import TallymanError

# botocore's DEBUG lines hold whole answers, and so the credentials of GetAuthorizationToken and AssumeRole.
logging.getLogger("botocore").setLevel(logging.WARNING)

RoleKind = Literal["read", "push", "remove", "roll-out"]
"""The kinds of roles in a spoke, named `<stack>-spoke-<kind>`."""

POOL = 32
"""Connections that each client keeps: more than a copy has threads."""


def certificates() -> str:
    """The path of the CA bundle that botocore trusts, for the connections that it does not make (layers,
    registries)."""
    from botocore.httpsession import get_cert_path

    return str(get_cert_path(True))


class Clients:
    """The clients of one process; safe to share between threads.

    In the hub's account they use the process's own credentials; in every other account those of the role
    `<stack>-spoke-<kind>`, renewed ten minutes before they expire.
    """

    PERMISSIONS: tuple[str, ...] = permissions("sts:AssumeRole")

    def __init__(
        self,
        hub: EcrRegistry,
        stack: str,
        function: str,
        *,
        environment: dict[str, Any] | None = None,
        config: Config | None = None,
    ) -> None:
        """`environment`: configuration variables of botocore's session, such as `{"profile": "ops"}`; for the CLI."""
        self._hub, self._stack, self._session_name = hub, stack, f"tallyman-{function}"[:64]
        self._environment = environment or {}
        self._sessions: dict[tuple[str, RoleKind], Any] = {}
        self._clients: dict[tuple[str, str, str, RoleKind], Any] = {}
        self._lock = threading.RLock()
        self._config = Config(
            connect_timeout=3,
            read_timeout=8,  # with three attempts, a call to a registry that hangs fails within half a minute
            retries={"mode": "standard", "total_max_attempts": 3},
            max_pool_connections=POOL,
            tcp_keepalive=True,
            user_agent_extra=f"tallyman/{__version__}",
        )
        if config:
            self._config = self._config.merge(config)

    @property
    def hub(self) -> EcrRegistry:
        """The account and region of the stack."""
        return self._hub

    def get(self, service: str, registry: EcrRegistry | None = None, power: RoleKind = "read") -> Any:
        """The client of a service in the registry's account and region; by default the hub's."""
        where = registry or self._hub
        if where.account == self._hub.account:
            power = "read"  # one role there, with the function's own permissions
        key = (service, where.account, where.region, power)
        client = self._clients.get(key)
        if client is None:
            with self._lock:  # create_client is not thread-safe; the client is
                if key not in self._clients:
                    self._clients[key] = self._make(service, where, power)
                client = self._clients[key]
        return client

    def later(self, service: str) -> "Later":
        """The hub's client of a service, made at its first operation: a cold start makes only the clients it uses."""
        return Later(self, service)

    def role(self, account: str, power: str) -> str:
        """The ARN of the spoke's role `<stack>-spoke-<power>`."""
        partition = partition_of(self._hub.region).name
        return f"arn:{partition}:iam::{account}:role/{self._stack}-spoke-{power}"

    def assumed(self, account: str, power: RoleKind) -> str:
        """The ARN of the role that is assumed in the account. The CLI overrides it."""
        return self.role(account, power)

    def not_assumed(self, role: str, error: TallymanError) -> TallymanError:
        """The error to raise where a role can't be assumed. The CLI overrides it."""
        return error

    def promoter(self, account: str) -> str:
        """The ARN of the role that pushes promoted images into this account's registries."""
        if account != self._hub.account:
            return self.role(account, "push")
        return self.role(account, "push").replace("-spoke-push", f"-promote-image-{self._hub.region}")

    def _make(self, service: str, where: EcrRegistry, power: RoleKind) -> Any:
        try:
            session = self._session(where.account, power)
            return session.create_client(service, region_name=where.region, config=self._config)
        except BotoCoreError as error:
            raise translate(error, f"make a client of {service} for {where}") from error

    def _session(self, account: str, power: RoleKind) -> Any:
        key = (account, power)
        if key not in self._sessions:
            session = new_session(self._environment)
            session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_moment)
            if account != self._hub.account:
                credentials = DeferredRefreshableCredentials(self._assume(account, power), "sts-assume-role")
                session.register_component("credential_provider", _Fixed(credentials))
            self._sessions[key] = session
        return self._sessions[key]

    def _assume(self, account: str, power: RoleKind) -> Callable[[], dict[str, str]]:
        role = self.assumed(account, power)

        def refresh() -> dict[str, str]:
            try:
                answer = self.get("sts").assume_role(RoleArn=role, RoleSessionName=self._session_name)
            except (ClientError, BotoCoreError) as error:
                raise self.not_assumed(role, translate(error, f"assume the role {role}")) from error
            found = answer["Credentials"]
            return {
                "access_key": found["AccessKeyId"],
                "secret_key": found["SecretAccessKey"],
                "token": found["SessionToken"],
                "expiry_time": found["Expiration"].isoformat(),
            }

        return refresh


def _moment(value: Any) -> datetime:
    """Parse a timestamp of an answer. Most are seconds since 1970, which botocore's own parser converts through
    dateutil and the local time zone: a third of the time to read a list of images."""
    if isinstance(value, int | float):
        return datetime.fromtimestamp(value, UTC)
    found: datetime = parse_timestamp(value)
    return found


class Later:
    """A client that is made at its first operation, which also raises what goes wrong in making it."""

    def __init__(self, clients: Clients, service: str) -> None:
        self._clients, self._service = clients, service

    def __getattr__(self, operation: str) -> Any:
        return getattr(self._clients.get(self._service), operation)


class _Fixed:
    """A credential resolver for botocore that always returns the same credentials."""

    def __init__(self, credentials: Any) -> None:
        self._credentials = credentials

    def load_credentials(self) -> Any:
        return self._credentials
