"""`LocalEcr`: an Amazon ECR in one folder, for any number of accounts and regions, without an AWS account."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal
from wsgiref.types import WSGIApplication

from werkzeug.wrappers import Request, Response

from tallyman.domain.names import Digest, EcrRegistry, Repository
from tallyman_local.ecr import errors
from tallyman_local.ecr.api import entry as api
from tallyman_local.ecr.api.calls import Allow, Parts
from tallyman_local.ecr.identity import Identity
from tallyman_local.ecr.rules.backfills import Backfills
from tallyman_local.ecr.rules.events import Emit, Events, Trail
from tallyman_local.ecr.rules.images import Images
from tallyman_local.ecr.rules.quotas import Quotas
from tallyman_local.ecr.rules.replication import Replication
from tallyman_local.ecr.rules.scanner import Scanner
from tallyman_local.ecr.rules.signing import Signing
from tallyman_local.ecr.store.rows import ImageRow
from tallyman_local.ecr.store.settings import Settings
from tallyman_local.ecr.store.tables import Store
from tallyman_local.ecr.store.tokens import Tokens
from tallyman_local.ecr.v2.routes import RegistryApp
from tallyman_local.server.http import for_this_machine, read_body

_UNKNOWN_KEY = "The security token included in the request is invalid."


@dataclass(frozen=True, kw_only=True)
class Callbacks:
    """The functions that the local ECR calls.

    `emit` (events) and `trail` (CloudTrail's records) are called before the push or call is answered; their exceptions
    are logged. `endpoint_of`: the base URL of a registry (`http://localhost:5101`). `identify`: the owner of an access
    key. `allow`: checks a permission; None: everyone may do everything.
    """

    clock: Callable[[], datetime]
    emit: Emit
    trail: Trail
    endpoint_of: Callable[[EcrRegistry], str]
    identify: Callable[[str], Identity | None] = lambda key: None
    allow: Allow | None = None


@dataclass(frozen=True, kw_only=True)
class Options:
    """`quotas`: calls per second by operation, and counts for `ImagesPerRepository` and `RepositoriesPerRegistry`.
    `scanner`: `clean` completes each scan at once, without findings.
    """

    scanner: Literal["manual", "clean"] = "manual"
    quotas: Mapping[str, float] = field(default_factory=dict)


class LocalEcr:
    """One store with two interfaces: `api` (the JSON API) and `v2` (a registry on a port of its own). Thread-safe."""

    def __init__(
        self,
        data_dir: Path,
        callbacks: Callbacks,
        options: Options | None = None,
    ) -> None:
        options, clock = options or Options(), callbacks.clock
        limits = Quotas(options.quotas, clock)  # first: it may raise, and nothing is open yet
        self.store = Store(data_dir)
        events = Events(clock, callbacks.emit, callbacks.trail)
        self.scanner = Scanner(self.store, events, clock, options.scanner)
        settings = Settings(self.store.db)
        images = Images(self.store, events, self.scanner, settings, limits, clock)
        replication = Replication(self.store, settings, events, images, limits, clock)
        self.backfills = Backfills(replication, self.store, settings, clock)
        self.signing = Signing(self.store, settings, images, clock)
        images.watchers += [self.signing, replication]
        self._parts = Parts(
            store=self.store,
            events=events,
            images=images,
            scanner=self.scanner,
            tokens=Tokens(clock, self.store.secret("tokens")),
            settings=settings,
            quotas=limits,
            replication=replication,
            backfills=self.backfills,
            signing=self.signing,
            clock=clock,
            endpoint_of=callbacks.endpoint_of,
            allow=callbacks.allow,
        )
        self._identify = callbacks.identify

    def resume(self) -> None:
        """Finish the replication that a killed process left in progress. Call it when events can be received."""
        self._parts.replication.resume()

    def api(
        self, operation: str, payload: bytes, registry_of_caller: EcrRegistry, identity: Identity
    ) -> tuple[int, dict[str, str], bytes]:
        """Answer one call of the JSON API: status, headers, body. `operation`: X-Amz-Target after the dot."""
        return api.answer(self._parts, operation, payload, registry_of_caller, identity)

    def api_app(self) -> WSGIApplication:
        """The JSON API as a WSGI application: the access key gives the account (`identify`), the signature the
        region."""

        @Request.application
        def app(request: Request) -> Response:
            scope = request.headers.get("Authorization", "").partition("Credential=")[2].split(",")[0].split("/")
            identity = self._identify(scope[0])
            if identity is None or len(scope) != 5:
                refusal = {"__type": "UnrecognizedClientException", "message": _UNKNOWN_KEY}
                return Response(json.dumps(refusal), 400, content_type="application/x-amz-json-1.1")
            operation = request.headers.get("X-Amz-Target", "").rpartition(".")[2]
            registry = EcrRegistry(identity.account, scope[2])
            status, headers, answer = self.api(operation, read_body(request.environ), registry, identity)
            return Response(answer, status, headers)

        return for_this_machine(app)

    def v2(self, registry: EcrRegistry) -> WSGIApplication:
        """The registry's WSGI application: `/v2/`, and `/_layers/`, to which it redirects downloads."""
        return RegistryApp(self._parts, registry)

    # -- for the local cloud, the demo and tests

    def resolve(self, registry: EcrRegistry, repository: str, reference: str) -> ImageRow:
        """The image of a tag or digest. Raises EcrError as the API does."""
        row = self.store.get(Repository(registry, repository))
        is_digest = ":" in reference
        return self._parts.images.find(row, reference if is_digest else None, None if is_digest else reference)

    def put_images(
        self, registry: EcrRegistry, repository: str, images: Iterable[tuple[bytes, str | None]]
    ) -> list[Digest]:
        """Push manifests (bytes, tag) without HTTP, with all of ECR's rules and events; their layers must exist."""
        name = Repository(registry, repository)
        return [self._parts.images.put(name, raw, None, tag, None, over_http=True).image.digest for raw, tag in images]

    def damage(self, registry: EcrRegistry, repository: str, digest: str) -> None:
        """Flip one byte of a stored layer or configuration, in this registry only; a second call repairs it. Raises
        LayersNotFoundException where the repository has no such layer."""
        row = self.store.get(Repository(registry, repository))
        if self.store.layer_size(row.id, digest) is None:
            raise errors.layers_not_found([digest], row.name)
        self.store.blobs.flip_a_byte(registry, Digest(digest))

    def close(self) -> None:
        """Stop backfills and close the store's files."""
        self.backfills.close()
        self.store.db.close()
