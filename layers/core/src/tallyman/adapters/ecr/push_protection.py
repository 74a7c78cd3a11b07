"""Read repository policies through ECR's API, and check that they let only promotions push."""

from collections.abc import Sequence
from typing import Any

from tallyman.adapters.aws.clients import Clients
from tallyman.adapters.ecr.calls import EcrAdapter, names
from tallyman.adapters.errors.translate import translated
from tallyman.domain.names import Repository
from tallyman.domain.permissions import permissions
from tallyman.domain.push_protection import Problem, problem, role_arn
from tallyman.errors import NotFound


class EcrGuards(EcrAdapter):
    """`Guards`, with the role that reads."""

    PERMISSIONS: tuple[str, ...] = permissions("ecr:GetRepositoryPolicy")

    def problem(self, repository: Repository, others: Sequence[str]) -> Problem | None:
        """What is wrong with the policy; None: nothing. One GetRepositoryPolicy. Raises NotFound as `policy`."""
        return problem(self.policy(repository), pushers(self._clients, repository, others))

    def policy(self, repository: Repository) -> str | None:
        """The document; None: there is none. One GetRepositoryPolicy. Raises NotFound where there is no repository."""
        return read_policy(self._client(repository), repository)


def read_policy(client: Any, repository: Repository) -> str | None:
    """See `EcrGuards.policy`; with this client."""
    try:
        with translated(f"read the policy of the repository {repository}"):
            return str(client.get_repository_policy(**names(repository))["policyText"])
    except NotFound as error:
        if error.code != "RepositoryPolicyNotFoundException":
            raise
        return None


def pushers(clients: Clients, repository: Repository, others: Sequence[str]) -> list[str]:
    """The ARNs of the roles that may push: Tallyman's own there, and the others (`role/NAME`)."""
    return [clients.promoter(repository.registry.account), *(role_arn(repository, other) for other in others)]
