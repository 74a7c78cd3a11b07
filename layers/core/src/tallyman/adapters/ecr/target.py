"""Writing images: uploads and manifests over `/v2/`, the rest by ECR's API."""

import json
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import urlencode

from tallyman.adapters.aws.clients import Clients
from tallyman.adapters.ecr.calls import missing_layers, names, read_manifest, read_manifests
from tallyman.adapters.ecr.push_protection import pushers
from tallyman.adapters.ecr.registry_http import RegistryHttp
from tallyman.adapters.errors.translate import translated
from tallyman.adapters.http.pacing import Pace
from tallyman.domain.images.details import RepositorySettings
from tallyman.domain.images.manifest import Manifest
from tallyman.domain.names import Digest, Registry, Repository
from tallyman.domain.permissions import permissions
from tallyman.domain.push_protection import repository_policy
from tallyman.errors import DigestMismatch, NotFound, Refused, TransientError, Unsupported


class EcrTarget:
    """`ImageTarget`, with the role that pushes."""

    PERMISSIONS: tuple[str, ...] = permissions(
        "ecr:BatchCheckLayerAvailability",
        "ecr:BatchGetImage",
        "ecr:CompleteLayerUpload",
        "ecr:CreateRepository",
        "ecr:GetAuthorizationToken",
        "ecr:GetDownloadUrlForLayer",  # mounting a blob asks for it, at its origin
        "ecr:GetRepositoryPolicy",
        "ecr:InitiateLayerUpload",
        "ecr:PutImage",
        "ecr:SetRepositoryPolicy",
        "ecr:UploadLayerPart",
    )

    def __init__(self, clients: Clients, registry: RegistryHttp, put_rate: float = 5.0) -> None:
        """`put_rate`: manifests a second and registry (ECR takes ten, and its owner's CI wants some); 0: no limit."""
        self._clients, self._registry, self._put_rate = clients, registry, put_rate
        self._paces: dict[Registry, Pace] = {}
        self._sessions: dict[tuple[Repository, Digest], str] = {}
        self._lock = threading.Lock()

    def missing_blobs(self, repository: Repository, digests: Iterable[Digest]) -> set[Digest]:
        return missing_layers(self._client(repository), repository, digests)

    def manifest(self, repository: Repository, reference: str) -> Manifest | None:
        return read_manifest(self._client(repository), repository, reference)

    def manifests(self, repository: Repository, references: Sequence[str]) -> dict[str, Manifest]:
        return read_manifests(self._client(repository), repository, references)

    def mount(self, repository: Repository, digest: Digest, source: str) -> bool:
        """One POST. A registry that does not mount opens an upload instead: `upload` goes on with that."""
        what = f"mount {digest.short} from {source} into {repository}"
        query = urlencode({"mount": digest, "from": source})
        answer = self._registry.send("POST", repository, f"blobs/uploads/?{query}", what=what)
        if answer.status == 201:
            return True
        if answer.status != 202:
            raise answer.error(what)
        location = self._registry.location(repository, answer, what)
        with self._lock:
            self._sessions[repository, digest] = location
        return False

    def upload(self, repository: Repository, digest: Digest, size: int | None, chunks: Iterable[bytes]) -> None:
        """A POST and one PUT with the whole body. Whatever `chunks` raises is raised, and the connection is closed
        in the middle of the body: the registry never sees its end, so nothing half is kept."""
        what = f"upload {digest.short} to {repository}"
        with self._lock:
            location = self._sessions.pop((repository, digest), None)
        if location is None:
            answer = self._registry.send("POST", repository, "blobs/uploads/", what=what)
            if answer.status != 202:
                raise answer.error(what)
            location = self._registry.location(repository, answer, what)
        headers = {"Content-Type": "application/octet-stream"}
        if size is None:
            headers["Transfer-Encoding"] = "chunked"
        else:
            headers["Content-Length"] = str(size)
        answer = self._registry.stream(
            "PUT",
            repository,
            f"{location}{'&' if '?' in location else '?'}{urlencode({'digest': digest})}",
            what=what,
            headers=headers,
            chunks=_exactly(size, chunks, what),
        )
        if answer.status != 201:
            if "does not have any parts" in answer.message:  # ECR's EmptyUploadException
                raise Unsupported(f"{what}: ECR takes no empty blobs")
            raise answer.error(what)
        _same(answer.headers.get("Docker-Content-Digest"), digest, what)

    def put_manifest(self, repository: Repository, manifest: Manifest, tag: str | None = None) -> None:
        """One PUT, paced. An immutable tag is refused also if it names this very image: then one read decides."""
        reference = tag or manifest.digest
        what = f"push {repository}{':' if tag else '@'}{reference}"
        with self._lock:
            pace = self._paces.setdefault(repository.registry, Pace(self._put_rate, burst=2))
        pace.wait()
        answer = self._registry.send(
            "PUT",
            repository,
            f"manifests/{reference}",
            what=what,
            headers={"Content-Type": manifest.media_type},
            body=manifest.raw,
        )
        if answer.status in (200, 201):
            _same(answer.headers.get("Docker-Content-Digest"), manifest.digest, what)
            return
        if answer.status == 405:
            raise Unsupported(
                f"{what}: the registry takes no {manifest.media_type}: {answer.message} ({answer.code or 405})"
            )
        if answer.code == "TAG_INVALID" and tag:
            there = self.manifest(repository, tag)
            if there is None:
                raise TransientError(f"{what}: the tag was refused as taken, and is gone now: try again")
            if there.digest == manifest.digest:
                return
        raise answer.error(what)

    def unlisted(self, repository: Repository, manifests: Sequence[Manifest]) -> set[Digest]:
        """None: ECR lists what it holds."""
        return set()

    def create(
        self,
        settings: RepositorySettings,
        pull: Sequence[str] = (),
        push: Sequence[str] | None = None,
        functions: bool = False,
    ) -> None:
        """CreateRepository, and the policy where there is none yet: one that somebody set is left alone."""
        repository = settings.repository
        encryption = {"encryptionType": settings.encryption}
        if settings.kms_key:
            encryption["kmsKey"] = settings.kms_key
        request: dict[str, Any] = {
            **names(repository),
            "imageTagMutability": "IMMUTABLE" if settings.immutable else "MUTABLE",
            "imageScanningConfiguration": {"scanOnPush": settings.scan_on_push},
            "encryptionConfiguration": encryption,
        }
        if settings.immutable and settings.mutable_tags:
            request["imageTagMutability"] = "IMMUTABLE_WITH_EXCLUSION"
            request["imageTagMutabilityExclusionFilters"] = [
                {"filterType": "WILDCARD", "filter": tag} for tag in settings.mutable_tags
            ]
        client = self._client(repository)
        try:
            with translated(f"create the repository {repository}"):
                client.create_repository(**request)
        except Refused as error:
            if "RepositoryAlreadyExistsException" not in str(error):
                raise
        only = [] if push is None else pushers(self._clients, repository, push)
        policy = repository_policy(repository, pull, only, functions)
        if policy and not self._has_policy(client, repository):
            with translated(f"set the policy of the repository {repository}"):
                client.set_repository_policy(**names(repository), policyText=json.dumps(policy))

    def _has_policy(self, client: Any, repository: Repository) -> bool:
        try:
            with translated(f"read the policy of the repository {repository}"):
                client.get_repository_policy(**names(repository))
        except NotFound as error:
            if "RepositoryPolicyNotFoundException" not in str(error):
                raise
            return False
        return True

    def _client(self, repository: Repository) -> Any:
        return self._clients.get("ecr", repository.registry, "push")


def _exactly(size: int | None, chunks: Iterable[bytes], what: str) -> Iterator[bytes]:
    """The chunks, or DigestMismatch where they are not `size` bytes: a registry told to expect more would wait."""
    sent = 0
    for chunk in chunks:
        sent += len(chunk)
        if size is not None and sent > size:
            raise DigestMismatch(f"{what}: its descriptor says {size} bytes, there are more")
        if chunk:  # an empty one would end a chunked body
            yield chunk
    if size is not None and sent != size:
        raise DigestMismatch(f"{what}: its descriptor says {size} bytes, there are {sent}")


def _same(told: str | None, digest: Digest, what: str) -> None:
    if told and told != digest:
        raise DigestMismatch(f"{what}: the registry calls it {told}")
