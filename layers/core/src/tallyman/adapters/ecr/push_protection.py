"""Repository policies that let only promotions push: whether they are as they should be, by ECR's API."""

from collections.abc import Sequence

from tallyman.adapters.aws.clients import Clients
from tallyman.adapters.ecr.calls import names
from tallyman.adapters.errors.translate import translated
from tallyman.domain.names import Repository
from tallyman.domain.permissions import permissions
from tallyman.domain.push_protection import problem, role_arn
from tallyman.errors import NotFound


class EcrGuards:
    """`Guards`, with the role that reads."""

    PERMISSIONS: tuple[str, ...] = permissions("ecr:GetRepositoryPolicy")

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def problem(self, repository: Repository, others: Sequence[str]) -> str | None:
        """One GetRepositoryPolicy. NotFound: no such repository."""
        return problem(self.policy(repository), pushers(self._clients, repository, others))

    def policy(self, repository: Repository) -> str | None:
        """One GetRepositoryPolicy: the document; None: there is none. NotFound: no such repository."""
        try:
            with translated(f"read the policy of the repository {repository}"):
                client = self._clients.get("ecr", repository.registry)
                return str(client.get_repository_policy(**names(repository))["policyText"])
        except NotFound as error:
            if "RepositoryPolicyNotFoundException" not in str(error):
                raise
            return None


def pushers(clients: Clients, repository: Repository, others: Sequence[str]) -> list[str]:
    """The ARNs of all that may push: our own role there, and the others (`role/NAME`)."""
    return [clients.promoter(repository.registry.account), *(role_arn(repository, other) for other in others)]
