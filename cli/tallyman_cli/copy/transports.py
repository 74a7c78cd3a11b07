"""Chooses what reads and writes each kind of place of `tallyman copy`: ECR, other registries, OCI layouts."""

import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tallyman.adapters.oci.auth import Logins
from tallyman.domain.images.documents import show
from tallyman.domain.images.manifest import Descriptor, Manifest
from tallyman.domain.locations import OciHost, OciLayout
from tallyman.domain.names import Digest, Location, Repository, parse_tag
from tallyman.errors import BadName
from tallyman.ports.copying import BlobStream, Origin
from tallyman.services.copying.streams import MOST

if TYPE_CHECKING:
    from tallyman.adapters.aws.clients import Clients
    from tallyman.adapters.ecr.source import EcrSource
    from tallyman.adapters.ecr.target import EcrTarget
    from tallyman.adapters.http.client import HttpClient
    from tallyman.adapters.oci.client import RegistryClient
    from tallyman.adapters.oci.layout import LayoutStore
    from tallyman.adapters.oci.registry import OciRegistry
    from tallyman.domain.images.details import ImageDetail
    from tallyman_cli.copy.large_uploads import LargeUploads

LARGE = 256 * 1024 * 1024
"""Bytes from which on a layer goes in parts, which a later run can continue. A smaller one is sent again."""


class Listed:
    """A repository of ECR whose images were all listed. The list holds their subjects, so that no referrers have to be
    read."""

    def __init__(self, origin: Origin, details: "Iterable[ImageDetail]") -> None:
        self._origin = origin
        self._pointing: dict[Digest, list[Descriptor]] = {}
        for detail in details:
            if detail.subject:
                found = Descriptor(detail.media_type or "", detail.digest, 0, None, detail.artifact_type)
                self._pointing.setdefault(detail.subject, []).append(found)

    def referrers(self, repository: Location, subject: Digest) -> list[Descriptor]:
        """The referrers of an image, by the list."""
        return self._pointing.get(subject, [])

    @property
    def pointed_at(self) -> dict[Digest, frozenset[Digest]]:
        """The digests of the referrers, by subject."""
        return {subject: frozenset(d.digest for d in found) for subject, found in self._pointing.items()}

    def manifests(self, repository: Location, references: Sequence[str]) -> dict[str, Manifest]:
        return self._origin.manifests(repository, references)

    def missing_blobs(self, repository: Location, digests: Iterable[Digest]) -> set[Digest]:
        return self._origin.missing_blobs(repository, digests)

    def open_blob(self, repository: Location, digest: Digest, start: int = 0) -> AbstractContextManager[BlobStream]:
        return self._origin.open_blob(repository, digest, start)


class Transports:
    """`Destination` and `Catalogue` for places of every kind. Makes the adapter of a kind when it is first needed."""

    def __init__(
        self, logins: Logins, clients: "Callable[[], Clients]", plain: Sequence[str] = (), *, private: bool = False
    ) -> None:
        """`plain`: hosts without TLS; `private`: follow redirects of registries to private addresses. Raises BadInput
        if the environment names a proxy that can't be used."""
        self._logins, self._clients, self._plain = logins, clients, plain
        self._options: dict[str, Any] = {"private": private}
        if any(name.lower() in ("https_proxy", "http_proxy") for name in os.environ):
            from tallyman_cli.copy import proxies

            self._options["proxy"] = proxies.of_environment()
        self._listed: dict[Location, Listed] = {}
        self._odd: dict[Location, dict[str, str]] = {}
        self._making = threading.Lock()

    @cached_property
    def _http(self) -> "HttpClient":
        from tallyman.adapters.http.client import HttpClient

        return HttpClient(**self._options)

    def expect(self, repositories: Iterable[Location]) -> None:
        """Load TLS in a thread if one of these repositories needs it, while the copy starts."""
        hosts = [r.registry.host for r in repositories if isinstance(r.registry, OciHost)]
        if hosts:
            from tallyman.adapters.http import client as wire
            from tallyman.adapters.oci import auth as oci_auth

            if not all(oci_auth.unsecured(host, self._plain) for host in hosts):
                threading.Thread(target=wire.tls, name="tls", daemon=True).start()

    def close(self) -> None:
        """Close all connections."""
        for name in ("_http", "_aws_http"):
            if name in self.__dict__:
                self.__dict__[name].close()

    def _client(self, power: str) -> "RegistryClient":
        from tallyman.adapters.oci.auth import OciAuth
        from tallyman.adapters.oci.client import RegistryClient

        return RegistryClient(self._http, OciAuth(self._http, self._logins, power=power, plain=self._plain))

    def _oci(self, client: "RegistryClient") -> "OciRegistry":
        from tallyman.adapters.oci.registry import OciRegistry

        return OciRegistry(client)

    @cached_property
    def push_client(self) -> "RegistryClient":
        """The client for registries that are written to."""
        return self._client("pull,push")

    @cached_property
    def _pull(self) -> "OciRegistry":
        return self._oci(self._client("pull"))

    @cached_property
    def _push(self) -> "OciRegistry":
        return self._oci(self.push_client)

    @cached_property
    def _layout(self) -> "LayoutStore":
        from tallyman.adapters.oci.layout import LayoutStore

        return LayoutStore()

    @cached_property
    def own(self) -> "Clients":
        """Clients of AWS."""
        return self._clients()

    @cached_property
    def _aws_http(self) -> "HttpClient":
        from tallyman.adapters.aws.clients import certificates
        from tallyman.adapters.http.client import HttpClient

        return HttpClient(connect=3.0, ca_file=certificates(), **self._options)

    @cached_property
    def _ecr_source(self) -> "EcrSource":
        from tallyman.adapters.ecr.source import EcrSource

        return EcrSource(self.own, self._aws_http)

    @cached_property
    def _ecr_target(self) -> "EcrTarget":
        from tallyman.adapters.ecr.auth import EcrAuth
        from tallyman.adapters.ecr.target import EcrTarget
        from tallyman.adapters.oci.client import RegistryClient

        # No rate limit of ours, since a person waits; throttled requests are repeated after growing pauses.
        client = RegistryClient(self._aws_http, EcrAuth(self.own), attempts=8, longest=5.0, patience=20.0)
        return EcrTarget(self.own, client, put_rate=0)

    def reads(self, repository: Location) -> "LayoutStore | OciRegistry | EcrSource | Listed":
        """The adapter that reads there."""
        if isinstance(repository.registry, OciLayout):
            return self._layout
        if isinstance(repository.registry, OciHost):
            return self._pull
        return self._listed.get(repository, self._ecr_source)

    def writes(self, repository: Location) -> "LayoutStore | OciRegistry | EcrTarget":
        """The adapter that writes there."""
        if isinstance(repository.registry, OciLayout):
            return self._layout
        return self._push if isinstance(repository.registry, OciHost) else self._ecr_target

    # --- Destination

    def missing_blobs(self, repository: Location, digests: Iterable[Digest]) -> set[Digest]:
        return self.writes(repository).missing_blobs(repository, digests)

    def manifests(self, repository: Location, references: Sequence[str]) -> dict[str, Manifest]:
        if isinstance(repository.registry, OciLayout):
            return self._layout.manifests(repository, references, target=True)
        return self.writes(repository).manifests(repository, references)

    def mount(self, repository: Location, digest: Digest, source: str) -> bool:
        return self.writes(repository).mount(repository, digest, source)

    def upload(self, repository: Location, digest: Digest, size: int | None, chunks: Iterable[bytes]) -> None:
        self.writes(repository).upload(repository, digest, size, chunks)

    def put_manifest(self, repository: Location, manifest: Manifest, tag: str | None = None) -> None:
        self.writes(repository).put_manifest(repository, manifest, tag)

    def unlisted(self, repository: Location, manifests: Sequence[Manifest]) -> set[Digest]:
        return self.writes(repository).unlisted(repository, manifests)

    # --- Catalogue

    def names(self, repository: Location) -> dict[str, Digest | None]:
        found: Mapping[str, Digest | None]
        odd: dict[str, str] = {}
        if isinstance(repository, Repository):
            with self._making:  # several repositories are listed at once
                ecr = self._ecr_source
            details = list(ecr.images(repository))
            self._listed[repository] = Listed(ecr, details)
            found = {tag: detail.digest for detail in details for tag in detail.tags}
        elif isinstance(repository.registry, OciLayout):
            found, odd = self._layout.tags(repository), self._layout.odd_tags(repository)
        else:
            with self._making:
                source = self._pull
            found = dict.fromkeys(source.tags(repository))
        names: dict[str, Digest | None] = {}
        for tag, digest in found.items():
            try:
                names[parse_tag(tag)] = digest
            except BadName:
                odd[show(tag)] = "is not a tag: it is passed over"
        self._odd[repository] = odd
        return names

    def odd_names(self, repository: Location) -> Mapping[str, str]:
        return self._odd.get(repository, {})

    def digests(self, repository: Location, tags: Sequence[str]) -> dict[str, Digest]:
        return self._pull.digests(repository, tags)

    def pointed_at(self, repository: Location) -> Mapping[Digest, frozenset[Digest]]:
        return self._listed[repository].pointed_at if repository in self._listed else {}

    def pointing(self, repository: Location, subjects: Sequence[Digest]) -> Mapping[Digest, frozenset[Digest]]:
        """The referrers of each subject. For ECR by the list; elsewhere a request each, MOST at a time."""
        if repository in self._listed:
            return self._listed[repository].pointed_at
        with ThreadPoolExecutor(MOST, thread_name_prefix="referrers") as pool:
            found = pool.map(lambda subject: self.reads(repository).referrers(repository, subject), subjects)
            return {s: frozenset(d.digest for d in each) for s, each in zip(subjects, found, strict=True)}


class Large:
    """`InParts` of the command. Imports LargeUploads with the first layer that is so large."""

    def __init__(self, transports: Transports) -> None:
        self._transports, self._making = transports, threading.Lock()
        self._made: LargeUploads | None = None

    def suits(self, repository: Location, size: int) -> bool:
        """Whether the blob goes in parts. A layout never takes parts."""
        return size >= LARGE and not isinstance(repository.registry, OciLayout) and self._all.takes(repository)

    def offset(self, repository: Location, digest: Digest) -> int:
        return self._all.offset(repository, digest)

    def upload(self, repository: Location, digest: Digest, size: int, start: int, chunks: Iterable[bytes]) -> None:
        self._all.upload(repository, digest, size, start, chunks)

    @property
    def _all(self) -> "LargeUploads":
        from tallyman_cli.copy.large_uploads import LargeUploads

        with self._making:
            self._made = self._made or LargeUploads(self._transports)
            return self._made
