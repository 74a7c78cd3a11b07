"""Change the settings of existing repositories through ECR's API to what they would be created with."""

import json
from collections.abc import Mapping
from typing import Any

from tallyman.adapters.ecr.calls import EcrAdapter, mutability, names
from tallyman.adapters.errors.translate import translated
from tallyman.domain.images.details import RepositorySettings
from tallyman.domain.names import Repository
from tallyman.domain.permissions import permissions


class EcrSettings(EcrAdapter):
    """Changes settings, with the role that pushes. No function uses it: only people do, by `tallyman audit --fix`."""

    ROLE = "push"
    PERMISSIONS: tuple[str, ...] = permissions(
        "ecr:PutImageScanningConfiguration", "ecr:PutImageTagMutability", "ecr:SetRepositoryPolicy"
    )

    def set_mutability(self, wanted: RepositorySettings) -> None:
        """One PutImageTagMutability: whether tags are immutable, and which are exempt."""
        with translated(f"set the tag mutability of the repository {wanted.repository}"):
            self._client(wanted.repository).put_image_tag_mutability(**names(wanted.repository), **mutability(wanted))

    def set_scanning(self, wanted: RepositorySettings) -> None:
        """One PutImageScanningConfiguration."""
        with translated(f"set the scanning of the repository {wanted.repository}"):
            self._client(wanted.repository).put_image_scanning_configuration(
                **names(wanted.repository), imageScanningConfiguration={"scanOnPush": wanted.scan_on_push}
            )

    def set_policy(self, repository: Repository, document: Mapping[str, Any]) -> None:
        """One SetRepositoryPolicy, which replaces the policy."""
        with translated(f"set the policy of the repository {repository}"):
            self._client(repository).set_repository_policy(**names(repository), policyText=json.dumps(document))
