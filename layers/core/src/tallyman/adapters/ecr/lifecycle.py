"""Read the lifecycle policy of a repository through ECR's API."""

from tallyman.adapters.ecr.calls import EcrAdapter, names
from tallyman.adapters.errors.translate import translated
from tallyman.domain.names import Repository
from tallyman.domain.permissions import permissions
from tallyman.errors import NotFound


class EcrLifecycle(EcrAdapter):
    """Reads lifecycle policies, with the role that reads."""

    PERMISSIONS: tuple[str, ...] = permissions("ecr:GetLifecyclePolicy")

    def text(self, repository: Repository) -> str | None:
        """The document; None: there is none. One GetLifecyclePolicy. Raises NotFound where there is no repository."""
        try:
            with translated(f"read the lifecycle policy of {repository}"):
                client = self._client(repository)
                return str(client.get_lifecycle_policy(**names(repository))["lifecyclePolicyText"])
        except NotFound as error:
            if error.code != "LifecyclePolicyNotFoundException":
                raise
            return None
