"""Clients of AWS with a person's own credentials for every account: what `aws` itself would use."""

from typing import Any

from tallyman.adapters.clients import Clients, Power
from tallyman.domain.names import Registry

_NOBODY = Registry("000000000000", "us-east-1")


class OwnClients(Clients):
    """No roles of spokes: those are for the stack's functions alone. What a person may do in another account, that
    account's repository policies say."""

    def __init__(self) -> None:
        super().__init__(_NOBODY, "none", "copy")

    def _session(self, account: str, power: Power) -> Any:
        return super()._session(_NOBODY.account, "read")

    def get(self, service: str, registry: Registry | None = None, power: Power = "read") -> Any:
        client = super().get(service, registry, power)
        return _Ecr(client, registry) if service == "ecr" and registry else client


class _Ecr:
    """ECR's client of one registry: its tokens are asked for by that registry's account.

    `registryIds` is deprecated, because a token opens every registry that its owner may use; but it is what makes
    the answer name this registry's address instead of the owner's.
    """

    def __init__(self, client: Any, registry: Registry) -> None:
        self._client, self._registry = client, registry

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def get_authorization_token(self) -> Any:
        """For this registry."""
        return self._client.get_authorization_token(registryIds=[self._registry.account])
