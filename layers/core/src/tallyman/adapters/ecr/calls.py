"""What the adapters of ECR's API share: the client of their role, and keys of requests."""

from datetime import UTC, datetime
from typing import Any

from tallyman.adapters.aws.clients import Clients, RoleKind
from tallyman.domain.images.details import RepositorySettings
from tallyman.domain.names import Location, in_ecr


class EcrAdapter:
    """An adapter that calls ECR's API. `ROLE`: the kind of role with which it does."""

    ROLE: RoleKind = "read"

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def _client(self, repository: Location) -> Any:
        return self._clients.get("ecr", in_ecr(repository.registry), self.ROLE)


def mutability(settings: RepositorySettings) -> dict[str, Any]:
    """The keys for tag mutability of CreateRepository and PutImageTagMutability."""
    if settings.immutable and settings.mutable_tags:
        return {
            "imageTagMutability": "IMMUTABLE_WITH_EXCLUSION",
            "imageTagMutabilityExclusionFilters": [
                {"filterType": "WILDCARD", "filter": tag} for tag in settings.mutable_tags
            ],
        }
    return {"imageTagMutability": "IMMUTABLE" if settings.immutable else "MUTABLE"}


def names(repository: Location) -> dict[str, str]:
    """The keys for registry and repository, which every call of the API takes."""
    return {"registryId": in_ecr(repository.registry).account, "repositoryName": repository.name}


def utc(moment: datetime) -> datetime:
    """The moment in UTC; botocore's own parser returns the machine's time zone."""
    return moment.astimezone(UTC)
