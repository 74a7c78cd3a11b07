"""`/v2/`, ECR's registry: routes, authorization and errors; `blobs.py` and `manifests.py` answer the requests."""

import logging
import re
from functools import cache

from werkzeug.wrappers import Request, Response

from tallyman.domain.names import EcrRegistry, Repository
from tallyman_local.ecr import model
from tallyman_local.ecr.api.calls import Parts
from tallyman_local.ecr.errors import EcrError
from tallyman_local.ecr.identity import Identity
from tallyman_local.ecr.store.blobs import ShortBody, is_full
from tallyman_local.ecr.store.tokens import BadToken, ExpiredToken
from tallyman_local.ecr.v2.blobs import BlobRoutes
from tallyman_local.ecr.v2.catalog import serve_catalog
from tallyman_local.ecr.v2.http import Body, OciError, failure, reply, translate, unsupported
from tallyman_local.ecr.v2.layers import serve_layer
from tallyman_local.ecr.v2.manifests import ManifestRoutes

_LOG = logging.getLogger("tallyman.local.ecr")
_ROUTES = [
    ("tags", re.compile(r"/v2/(?P<name>.+)/tags/list")),
    ("referrers", re.compile(r"/v2/(?P<name>.+)/referrers/(?P<digest>[^/]+)")),
    ("manifests", re.compile(r"/v2/(?P<name>.+)/manifests/(?P<reference>[^/]+)")),
    ("uploads", re.compile(r"/v2/(?P<name>.+)/blobs/uploads/?(?P<upload>[^/]*)")),
    ("blobs", re.compile(r"/v2/(?P<name>.+)/blobs/(?P<digest>[^/]+)")),
]
#: The permission that ECR requires.
_ACTIONS = {
    ("tags", "GET"): "ListImages",
    ("referrers", "GET"): "BatchGetImage",
    ("manifests", "GET"): "BatchGetImage",
    ("manifests", "HEAD"): "BatchGetImage",
    ("manifests", "PUT"): "PutImage",
    ("manifests", "DELETE"): "BatchDeleteImage",
    ("uploads", "POST"): "InitiateLayerUpload",
    ("uploads", "PATCH"): "UploadLayerPart",
    ("uploads", "PUT"): "CompleteLayerUpload",
    ("uploads", "GET"): "UploadLayerPart",
    ("uploads", "DELETE"): "UploadLayerPart",
    ("blobs", "GET"): "GetDownloadUrlForLayer",
    ("blobs", "HEAD"): "BatchCheckLayerAvailability",
}


@cache
def _name() -> re.Pattern[str]:
    return re.compile(model.service().shape_for("RepositoryName").metadata["pattern"])


class RegistryApp:
    """The WSGI application of one registry, on a port of its own. Errors are OCI's JSON; bodies are always read to the
    end."""

    def __init__(self, parts: Parts, registry: EcrRegistry) -> None:
        self._parts, self._registry = parts, registry
        self._blobs = BlobRoutes(parts)
        self._manifests = ManifestRoutes(parts)

    def __call__(self, environ, start_response):  # type: ignore[no-untyped-def]
        """WSGI."""
        request = Request(environ)
        body = Body(request)
        try:
            response = self._answer(request, body)
        except EcrError as error:
            response = failure(translate(error))
        except OciError as error:
            response = failure(error)
        except ShortBody as error:
            response = failure(OciError(400, "SIZE_INVALID", f"Nothing of this request was kept: {error}"))
        except Exception as error:
            if is_full(error):
                response = failure(OciError(507, "UNKNOWN", f"Nothing of this request was kept: {error}"))
            else:
                _LOG.exception("the local registry failed in %s %s", request.method, request.path)
                response = failure(OciError(500, "UNKNOWN", "The local ECR failed; its log says where"))
        body.drain()
        return response(environ, start_response)

    def _answer(self, request: Request, body: Body) -> Response:
        if request.path.startswith("/_layers/"):
            return serve_layer(self._parts, request)
        if request.path != "/v2" and not request.path.startswith("/v2/"):
            raise OciError(404, "NOT_FOUND", f"{request.method} {request.path} is not served by the local ECR")
        try:
            identity = self._parts.tokens.check(request.headers.get("Authorization"))
        except BadToken:
            challenge = f'Basic realm="{request.scheme}://{request.host}/",service="ecr.amazonaws.com"'
            return reply(401, {"Www-Authenticate": challenge}, "Not Authorized\n")
        except ExpiredToken:
            text = "Your authorization token has expired. Reauthenticate and try again."
            raise OciError(403, "DENIED", text) from None
        if request.path in ("/v2", "/v2/"):
            return reply(200, {}, "{}", "application/json; charset=utf-8")
        if (request.method, request.path) == ("GET", "/v2/_catalog"):
            self._parts.quotas.spend(self._registry, "DescribeRepositories")
            self._parts.permit(identity, "DescribeRepositories", self._registry, None)
            return serve_catalog(self._parts, self._registry, request)
        return self._route(request, body, identity)

    def _route(self, request: Request, body: Body, identity: Identity) -> Response:
        for kind, pattern in _ROUTES:
            if not (found := pattern.fullmatch(request.path)):
                continue
            action = _ACTIONS.get((kind, request.method))
            if action is None:
                raise unsupported(f"{request.method} of {kind}")
            if not _name().fullmatch(found["name"]):
                raise OciError(400, "NAME_INVALID", f"Invalid repository name '{found['name']}'")
            repository = Repository(self._registry, found["name"])
            self._parts.quotas.spend(self._registry, action)
            self._parts.permit(identity, action, self._registry, repository.name)
            if action in ("InitiateLayerUpload", "PutImage"):
                self._parts.create_on_push(identity, repository)
            if kind in ("uploads", "blobs"):
                return self._blobs.serve(kind, request, body, identity, repository, found)
            return self._manifests.serve(kind, request, body, identity, repository, found)
        raise unsupported(f"{request.method} {request.path}")
