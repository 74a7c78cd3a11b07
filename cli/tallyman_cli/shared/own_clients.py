"""Clients of AWS for a person: with their own credentials, in other accounts with the stack's roles for people."""

import logging
from typing import Any

from tallyman.adapters.aws.clients import Clients, RoleKind
from tallyman.domain.names import EcrRegistry
from tallyman.errors import NotAllowed, TallymanError

_NOBODY = EcrRegistry("000000000000", "us-east-1")


# It logs a traceback if a role can't be assumed; the error is raised too, in words.
logging.getLogger("botocore.credentials").setLevel(logging.CRITICAL)

_PARAMETERS = {"people": "PeopleRoles", "people-change": "PeopleChangeRoles"}


class PeopleClients(Clients):
    """In the hub's account the person's own credentials; in every other one the stack's role for people there:
    `<stack>-spoke-people` to read, `<stack>-spoke-people-change` for what changes something."""

    def __init__(self, hub: EcrRegistry, stack: str) -> None:
        super().__init__(hub, stack, "cli")

    def assumed(self, account: str, power: RoleKind) -> str:
        """The role for people; those of the functions are not for people."""
        return self.role(account, "people" if power == "read" else "people-change")

    def not_assumed(self, role: str, error: TallymanError) -> TallymanError:
        """The error, with what to do if permissions are missing."""
        if not isinstance(error, NotAllowed):
            return error
        account, name = role.split(":")[4], role.rpartition("-spoke-")[2]
        return NotAllowed(
            f"you may not assume {role}, the role for people in account {account}: deploy spoke.yaml there with your "
            f"role's ARN in {_PARAMETERS[name]}, and attach the policy of the hub's output PeoplePolicyArn to your "
            f"role ({error})"
        )


class OwnClients(Clients):
    """The person's own credentials for every account, as `aws` itself uses them. Repository policies of another account
    say what they may do there."""

    def __init__(self) -> None:
        super().__init__(_NOBODY, "none", "copy")

    def _session(self, account: str, power: RoleKind) -> Any:
        return super()._session(_NOBODY.account, "read")

    def get(self, service: str, registry: EcrRegistry | None = None, power: RoleKind = "read") -> Any:
        client = super().get(service, registry, power)
        return _Ecr(client, registry) if service == "ecr" and registry else client


class _Ecr:
    """ECR's client for one registry, which requests tokens of that registry's account.

    `registryIds` is deprecated, because a token opens every registry that its owner may use; but only with it the
    answer has this registry's address instead of the owner's.
    """

    def __init__(self, client: Any, registry: EcrRegistry) -> None:
        self._client, self._registry = client, registry

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def get_authorization_token(self) -> Any:
        """A token, with the address of this registry."""
        return self._client.get_authorization_token(registryIds=[self._registry.account])
