"""Write images: uploads and manifests over `/v2/`, everything else through ECR's API."""

import json
import threading
from collections.abc import Sequence
from typing import Any

from tallyman.adapters.aws.clients import Clients
from tallyman.adapters.ecr.calls import mutability, names
from tallyman.adapters.ecr.images import EcrImages
from tallyman.adapters.ecr.push_protection import pushers, read_policy
from tallyman.adapters.errors.translate import translated
from tallyman.adapters.http.pacing import Pace
from tallyman.adapters.oci.client import RegistryClient
from tallyman.adapters.oci.writer import RegistryWriter
from tallyman.domain.images.details import RepositorySettings
from tallyman.domain.images.manifest import Manifest
from tallyman.domain.names import Digest, Location, Place
from tallyman.domain.permissions import permissions
from tallyman.domain.push_protection import repository_policy
from tallyman.errors import Refused, TagTaken, TransientError


class EcrTarget(EcrImages):
    """`ImageTarget`, with the role that pushes."""

    ROLE = "push"
    PERMISSIONS: tuple[str, ...] = permissions(
        "ecr:BatchCheckLayerAvailability",
        "ecr:BatchGetImage",
        "ecr:CompleteLayerUpload",
        "ecr:CreateRepository",
        "ecr:GetAuthorizationToken",
        "ecr:GetDownloadUrlForLayer",  # a mount needs it in the repository that has the blob
        "ecr:GetRepositoryPolicy",
        "ecr:InitiateLayerUpload",
        "ecr:PutImage",
        "ecr:SetRepositoryPolicy",
        "ecr:UploadLayerPart",
    )

    def __init__(self, clients: Clients, client: RegistryClient, put_rate: float = 5.0) -> None:
        """`put_rate`: manifests per second and registry (ECR allows ten, shared with other clients); 0: no limit."""
        super().__init__(clients)
        self._writer, self._put_rate = RegistryWriter(client), put_rate
        self.mount, self.upload = self._writer.mount, self._writer.upload
        self._paces: dict[Place, Pace] = {}
        self._lock = threading.Lock()

    def put_manifest(self, repository: Location, manifest: Manifest, tag: str | None = None) -> None:
        """One PUT, paced. ECR refuses an immutable tag even where it names this image: then one read decides."""
        with self._lock:
            pace = self._paces.setdefault(repository.registry, Pace(self._put_rate, burst=2))
        pace.wait()
        try:
            self._writer.put(repository, manifest, tag)
        except TagTaken:
            there = self.manifest(repository, tag) if tag else None
            if tag and there is None:
                raise TransientError(
                    f"{repository}:{tag} was refused as taken, but does not exist any more: try again"
                ) from None
            if there is None or there.digest != manifest.digest:
                raise

    def unlisted(self, repository: Location, manifests: Sequence[Manifest]) -> set[Digest]:
        """Always empty: ECR lists all referrers that it holds."""
        return set()

    def create(
        self,
        settings: RepositorySettings,
        pull: Sequence[str] = (),
        push: Sequence[str] | None = None,
        functions: bool = False,
    ) -> None:
        """CreateRepository, and SetRepositoryPolicy where there is no policy yet: an existing one is kept."""
        repository = settings.repository
        encryption = {"encryptionType": settings.encryption}
        if settings.kms_key:
            encryption["kmsKey"] = settings.kms_key
        request: dict[str, Any] = {
            **names(repository),
            **mutability(settings),
            "imageScanningConfiguration": {"scanOnPush": settings.scan_on_push},
            "encryptionConfiguration": encryption,
        }
        client = self._client(repository)
        try:
            with translated(f"create the repository {repository}"):
                client.create_repository(**request)
        except Refused as error:
            if error.code != "RepositoryAlreadyExistsException":
                raise
        only = [] if push is None else pushers(self._clients, repository, push)
        policy = repository_policy(repository, pull, only, functions)
        if policy and read_policy(client, repository) is None:
            with translated(f"set the policy of the repository {repository}"):
                client.set_repository_policy(**names(repository), policyText=json.dumps(policy))
