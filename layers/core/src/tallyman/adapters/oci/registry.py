"""Read and write images in any registry with OCI's distribution protocol 1.0 or 1.1.

Differences to ECR: there are no batch calls, so several requests run at once; a push creates its repository; older
registries have no referrers API, and keep an index of referrers at the tag `sha256-<hex>`.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TypeVar

from tallyman.adapters.oci.answers import Answer
from tallyman.adapters.oci.blob_body import BlobBody
from tallyman.adapters.oci.client import NOT_THIS_WAY, RegistryClient
from tallyman.adapters.oci.fallback_tag import descriptors, listed, merged
from tallyman.adapters.oci.writer import RegistryWriter
from tallyman.domain.images.documents import loads
from tallyman.domain.images.manifest import MANIFEST_TYPES, OCI_INDEX, Manifest, own_type
from tallyman.domain.images.referrer_tags import may_be_list, tag_of
from tallyman.domain.names import Digest, Location, Place, parse_tag
from tallyman.errors import BadManifest, BadName, NotFound, Refused, TallymanError, Unreachable
from tallyman.ports.copying import BlobStream, Listing

AT_ONCE = 16
"""Requests to one registry that run at once."""

MOST_REFERRERS = 10_000
"""Referrers of one image that are read."""

_ACCEPT = {"Accept": ", ".join(MANIFEST_TYPES)}
_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")


class _NoRepository(NotFound):
    """The registry says NAME_UNKNOWN, and not only 404."""


class OciRegistry:
    """`Origin` and `Destination`; a source gets a client that may only pull."""

    def __init__(self, client: RegistryClient) -> None:
        self._client, self._writer = client, RegistryWriter(client)
        self.mount, self.upload = self._writer.mount, self._writer.upload
        self._api: dict[Location, bool] = {}  # whether it has the referrers API
        self._tags: dict[Location, set[str] | None] = {}
        self._lock = threading.Lock()
        self._locks: dict[tuple[str, Location], threading.Lock] = {}
        self._pools: dict[Place, ThreadPoolExecutor] = {}

    def _alone(self, what: str, repository: Location) -> threading.Lock:
        """The lock of one kind of work in one repository. Repositories don't wait for each other."""
        with self._lock:
            return self._locks.setdefault((what, repository), threading.Lock())

    # --- reading

    def manifests(self, repository: Location, references: Sequence[str]) -> dict[str, Manifest]:
        """One GET each."""
        found = self._each(list(dict.fromkeys(references)), lambda r: self._manifest(repository, r), repository)
        return {reference: manifest for reference, manifest in found if manifest is not None}

    def digests(self, repository: Location, tags: Sequence[str]) -> dict[str, Digest]:
        """The digests of those tags that exist. One HEAD each, and a GET where its answer has no digest."""

        def ask(tag: str) -> Digest | None:
            what = f"read the digest of {repository}:{tag}"
            with suppress(*NOT_THIS_WAY, BadName):
                answer = self._client.send(
                    "HEAD", repository, f"manifests/{parse_tag(tag)}", what=what, headers=_ACCEPT
                )
                if answer.status == 200:
                    return Digest.parse(answer.headers.get("Docker-Content-Digest"))
            manifest = self._manifest(repository, tag)
            return manifest.digest if manifest else None

        return {tag: digest for tag, digest in self._each(tags, ask, repository) if digest}

    def tags(self, repository: Location) -> list[str]:
        """All tags as the registry writes them, not necessarily valid; pages of 1,000, or of the registry's own size
        where it refuses so many (distribution 3.1). Raises NotFound where there is no such repository."""
        what = f"list the tags of {repository}"
        found: list[str] = []
        for answer in self._pages_of_tags(repository, what):
            if answer.code == "NAME_UNKNOWN":
                raise _NoRepository(str(answer.error(what)))
            if answer.status != 200:
                raise answer.error(what)
            try:
                found += [str(tag) for tag in loads(answer.body).get("tags") or ()]
            except (ValueError, AttributeError, TypeError):
                raise Unreachable(f"{what}: the answer can't be read") from None
        self._tags[repository] = {tag for tag in found if tag.startswith("sha256-")}
        return found

    def _pages_of_tags(self, repository: Location, what: str) -> Iterator[Answer]:
        for number, answer in enumerate(self._client.pages(repository, "tags/list?n=1000", what=what)):
            if number == 0 and answer.status in (400, 405):
                yield from self._client.pages(repository, "tags/list", what=what)
                return
            yield answer

    def missing_blobs(self, repository: Location, digests: Iterable[Digest]) -> set[Digest]:
        """One HEAD each, and a GET of the first byte where its answer is neither 200 nor 404. A blob that neither finds
        counts as missing: it is then uploaded again."""

        def missing(digest: Digest) -> bool:
            what, path = f"look for {digest.short} in {repository}", f"blobs/{digest}"
            with suppress(*NOT_THIS_WAY):
                answer = self._client.send("HEAD", repository, path, what=what)
                if answer.status in (200, 404):
                    return answer.status == 404
            with suppress(*NOT_THIS_WAY):
                response = self._client.open(repository, path, what=what, headers={"Range": "bytes=0-0"})
                response.close()
                return response.status not in (200, 206)
            return True

        return {digest for digest, gone in self._each(list(dict.fromkeys(digests)), missing, repository) if gone}

    def referrers(self, repository: Location, subject: Digest) -> Listing:
        """The referrers API; where a registry has none, the index at the fallback tag."""
        found = self._by_api(repository, subject)
        if found is not None:
            return found
        known = self._known_tags(repository)
        if known is not None and tag_of(subject) not in known:
            return Listing()
        try:
            return self._by_tag(repository, subject)[0]
        except NOT_THIS_WAY as error:  # there may be some: the image is copied without them, with a warning
            return Listing(odd={f"the referrers of {subject}": str(error)})

    def _by_api(self, repository: Location, subject: Digest) -> Listing | None:
        """None: the registry has no referrers API. Other threads wait for the first answer that shows this."""
        if repository not in self._api:
            with self._alone("probe", repository):
                if repository not in self._api:
                    return self._pointing(repository, subject)
        return self._pointing(repository, subject) if self._api[repository] else None

    def _pointing(self, repository: Location, subject: Digest) -> Listing | None:
        """None also where the API refuses for any reason: the fallback tag is tried instead. A registry that has
        answered it before has the API: then a refusal is reported, and 404 means no such subject."""
        what = f"list the referrers of {repository}@{subject}"
        found, first, known = Listing(), True, self._api.get(repository, False)
        try:
            for answer in self._client.pages(
                repository, f"referrers/{subject}", what=what, headers={"Accept": OCI_INDEX}
            ):
                if answer.status != 200:
                    if known and answer.status == 404:
                        return found
                    if not first or known:
                        raise answer.error(what)
                    if answer.code != "NAME_UNKNOWN":  # else the repository may be created later
                        self._api[repository] = False
                    return None
                page = descriptors(answer.body, f"the referrers of {subject}")
                found += page
                found.odd.update(page.odd)
                first = False
                if len(found) > MOST_REFERRERS:
                    raise Refused(f"{what}: more than {MOST_REFERRERS}: refused")
        except (*NOT_THIS_WAY, BadManifest) as error:
            if known:
                found.odd[f"the referrers of {subject}"] = str(error)
                return found
            if not first:
                raise
            self._api[repository] = False
            return None
        self._api[repository] = True
        return found

    def _by_tag(self, repository: Location, subject: Digest) -> tuple[Listing, bytes | None]:
        """The referrers in the index at the fallback tag, and its bytes; None: there is none. Raises Refused where the
        registry refuses it."""
        now = self._manifest(repository, tag_of(subject))
        if now is None or not may_be_list(now, subject):
            return Listing(), None
        what = f"the referrers of {subject}"
        try:
            return descriptors(now.raw, what), now.raw
        except BadManifest as error:
            return Listing(odd={what: str(error)}), now.raw

    # --- blobs and manifests

    @contextmanager
    def open_blob(self, repository: Location, digest: Digest, start: int = 0) -> Iterator[BlobStream]:
        what = f"read the blob {digest} of {repository}"
        headers = {"Range": f"bytes={start}-"} if start else {}
        response = self._client.open(repository, f"blobs/{digest}", what=what, headers=headers)
        try:
            yield BlobBody(response, start, what)
        finally:
            response.close()  # a body that was read whole has returned its connection already

    def put_manifest(self, repository: Location, manifest: Manifest, tag: str | None = None) -> None:
        """One PUT. A referrer is added to its subject's fallback tag, unless the answer's header OCI-Subject says that
        the registry lists referrers itself (OCI 1.1)."""
        answer = self._writer.put(repository, manifest, tag)
        if manifest.subject is not None and not answer.headers.get("OCI-Subject"):
            self._enter(repository, manifest, manifest.subject.digest)

    def unlisted(self, repository: Location, manifests: Sequence[Manifest]) -> set[Digest]:
        """Where there is no referrers API: the manifests that the fallback tags lack. One request for each repository;
        without the API one more for each subject that has such a tag."""
        named: dict[Digest, set[Digest]] = {}
        for subject in dict.fromkeys(m.subject.digest for m in manifests if m.subject):
            if not self._api.get(repository):
                named[subject] = {d.digest for d in self.referrers(repository, subject)}
            if self._api.get(repository):
                return set()
        return {m.digest for m in manifests if m.subject and m.digest not in named[m.subject.digest]}

    def _enter(self, repository: Location, manifest: Manifest, subject: Digest) -> None:
        """Add an entry to the index at the fallback tag. Two clients that do so at once may lose one of the entries:
        the protocol has no way to prevent it."""
        tag = tag_of(subject)
        with self._alone("fallback tag", repository):
            there, raw = self._by_tag(repository, subject)
            if manifest.digest not in {d.digest for d in there}:
                self._writer.put(repository, Manifest(merged(raw, listed(manifest)), OCI_INDEX), tag)
                if (known := self._tags.get(repository)) is not None:
                    known.add(tag)

    def _manifest(self, repository: Location, reference: str) -> Manifest | None:
        name = Digest.parse(reference) if ":" in reference else parse_tag(reference)
        what = f"read the manifest {name} of {repository}"
        answer = self._client.send("GET", repository, f"manifests/{name}", what=what, headers=_ACCEPT)
        if answer.status == 404:  # whatever the code: Harbor says NOT_FOUND, proxies return a page
            return None
        if answer.status != 200:
            raise answer.error(what)
        kind = answer.headers.get("Content-Type", "").partition(";")[0].strip()
        return Manifest(answer.body, kind if kind in MANIFEST_TYPES else own_type(answer.body))

    def _known_tags(self, repository: Location) -> set[str] | None:
        """The fallback tags, listed once: cheaper than one request for each manifest whose tag does not exist. None:
        they can't be listed."""
        with self._alone("list", repository):
            if repository not in self._tags:
                try:
                    self.tags(repository)
                except _NoRepository:
                    return set()
                except TallymanError:  # the list only saves requests
                    self._tags[repository] = None
            return self._tags[repository]

    def _each(
        self, items: Sequence[_Item], ask: Callable[[_Item], _Answer], repository: Location
    ) -> Iterator[tuple[_Item, _Answer]]:
        """Each item with its answer. Registries don't wait for each other."""
        if len(items) < 2:
            return iter([(item, ask(item)) for item in items])
        with self._lock:
            if repository.registry not in self._pools:
                self._pools[repository.registry] = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="ask")
            pool = self._pools[repository.registry]
        return zip(items, pool.map(ask, items), strict=True)
