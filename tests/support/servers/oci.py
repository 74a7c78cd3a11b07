"""A small OCI registry over HTTP for tests: in memory, with tokens, redirects and failures on request.

with oci_server() as registry:
    registry.host                           # localhost:PORT
    registry.push("team/app", built, "v1")  # what tests/support/images/builders.py builds
    registry.on("PUT", "/blobs/uploads/", Status(503), times=1)
"""

import hashlib
import json
import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from support.images.builders import Built
from support.servers.serving import serving

_PATH = re.compile(r"/v2/(?P<name>.+?)/(?P<kind>manifests|blobs/uploads|blobs|tags/list|referrers)/?(?P<rest>[^/]*)")


@dataclass(frozen=True)
class Trouble:
    """A fault. `status`: this answer instead of the work; `lost`: the work is done and the connection cut before its
    answer; `cut`: a body is cut after so many bytes, `gently`: what was sent still arrives; `flip`: one bit of the
    body is flipped; `silent`: the length is not announced, the body ends with the connection."""

    status: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    lost: bool = False
    cut: int | None = None
    gently: bool = False
    flip: bool = False
    silent: bool = False
    more: bytes = b""
    body: bytes = b"{}"  # with `status`


@dataclass
class Repo:
    """One repository."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


@dataclass
class OciServer:
    """The registry. `requests`: (method, path) of all; `authorizations`: what each sent."""

    port: int = 0
    repositories: dict[str, Repo] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)
    referrers_api: bool = True
    token: str | None = None  # the Bearer token that it requires; issued at /token
    tokens_given: list[str] = field(default_factory=list)
    mounts: bool = True
    scoped: bool = False  # it mounts only with a token that may read the other repository too, as Quay
    rules: list[list[Any]] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)
    bytes_out: int = 0
    sessions: dict[str, bytes] = field(default_factory=dict)  # of uploads, with the bytes received
    parts: list[tuple[int, int]] = field(default_factory=list)  # the first byte of each PATCH, and its length
    digest_tags: bool = False  # the tag `sha256-<hex>` that nobody set is the digest itself, as on GitLab
    pages: dict[str, tuple[list[str], str]] = field(default_factory=dict)  # by a part of a path: tags, and the Link
    raw: dict[str, bytes] = field(default_factory=dict)  # by a part of a path: the body instead
    halfway: Callable[[int], None] = lambda number: None  # called in the middle of the n-th PATCH

    @property
    def host(self) -> str:
        """Host and port for an address."""
        return f"localhost:{self.port}"

    def on(self, method: str, part: str, trouble: Trouble, times: int = 1) -> None:
        """The next requests of this method whose path contains this part fail as described."""
        self.rules.append([method, part, trouble, times])

    def repo(self, name: str) -> Repo:
        """The repository; created if missing."""
        return self.repositories.setdefault(name, Repo())

    def push(self, name: str, built: Built, *tags: str) -> None:
        """Store all parts of an image, without HTTP."""
        repo = self.repo(name)
        repo.blobs.update({str(d): raw for d, raw in built.blobs.items()})
        repo.manifests.update({str(d): (m.raw, m.media_type) for d, m in built.manifests.items()})
        repo.tags.update(dict.fromkeys(tags, str(built.digest)))

    def count(self, method: str, part: str = "") -> int:
        """The number of requests of this kind."""
        return sum(m == method and part in p for m, p in self.requests)

    def trouble(self, method: str, path: str) -> Trouble:
        """The fault of this request."""
        with self.lock:
            for rule in self.rules:
                if rule[0] == method and rule[1] in path and rule[3] > 0:
                    rule[3] -= 1
                    found: Trouble = rule[2]
                    return found
        return Trouble()


class _Handler(BaseHTTPRequestHandler):
    disable_nagle_algorithm = True  # otherwise each answer waits for the delayed acknowledgement of its headers
    protocol_version = "HTTP/1.1"
    registry: OciServer

    def handle_any(self) -> None:
        registry, url = self.registry, urlsplit(self.path)
        with registry.lock:  # before the body: a client that is killed meanwhile has made the request
            registry.requests.append((self.command, self.path))
            registry.authorizations.append(self.headers.get("Authorization"))
        body = self._body()
        trouble = registry.trouble(self.command, self.path)
        if trouble.status:
            self._answer(trouble.status, trouble.headers, trouble.body)
            return
        for part, answer in registry.raw.items():
            if part in self.path and (part == "/token" or not registry.token or self.headers.get("Authorization")):
                self._answer(200, {"Content-Type": "application/vnd.oci.image.index.v1+json"}, answer)
                return
        for part, (tags, link) in registry.pages.items():
            if part in self.path:
                headers = {"Link": link} if link else {}
                self._answer(200, headers, json.dumps({"tags": tags}).encode())
                return
        if url.path == "/token":
            registry.tokens_given.append(" ".join(parse_qs(url.query).get("scope", [""])))
            self._answer(200, {}, json.dumps({"token": registry.token, "expires_in": 300}).encode())
            return
        if registry.token and self.headers.get("Authorization") != f"Bearer {registry.token}":
            realm = f'Bearer realm="http://{registry.host}/token",service="test"'
            self._answer(401, {"Www-Authenticate": realm}, b"{}")
            return
        with registry.lock:
            status, headers, raw = self._serve(url.path, parse_qs(url.query), body)
        if trouble.lost:
            self._cut()
            return
        if trouble.flip and raw:
            raw = raw[:-1] + bytes([raw[-1] ^ 1])
        self._answer(status, headers, raw + trouble.more, trouble.cut, gently=trouble.gently, silent=trouble.silent)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = handle_any

    def _serve(self, path: str, query: dict[str, list[str]], body: bytes) -> tuple[int, dict[str, str], bytes]:
        found = _PATH.fullmatch(path)
        if not found:
            return 200, {}, b"{}"
        kind, rest = found["kind"], found["rest"]
        repo = self.registry.repositories.get(found["name"])
        if kind == "blobs/uploads":
            return self._upload(self.registry.repo(found["name"]), path, rest, query, body)
        if kind == "manifests" and self.command == "PUT":
            return self._put(self.registry.repo(found["name"]), rest, body)
        if repo is None:
            return _refuse(404, "NAME_UNKNOWN")
        if kind == "tags/list":
            return 200, {}, json.dumps({"name": found["name"], "tags": sorted(repo.tags)}).encode()
        if kind == "referrers":
            return self._referrers(repo, rest)
        if kind == "manifests":
            if self.registry.digest_tags and rest.startswith("sha256-") and rest not in repo.tags:
                rest = rest.replace("-", ":")
            raw, media_type = repo.manifests.get(repo.tags.get(rest, rest), (b"", ""))
            digest = "sha256:" + hashlib.sha256(raw).hexdigest()
            headers = {"Docker-Content-Digest": digest, "Content-Type": media_type}
            return (200, headers, raw) if raw else _refuse(404, "MANIFEST_UNKNOWN")
        if rest not in repo.blobs:
            return _refuse(404, "BLOB_UNKNOWN")
        return self._blob(repo.blobs[rest])

    def _blob(self, raw: bytes) -> tuple[int, dict[str, str], bytes]:
        if (asked := self.headers.get("Range")) and self.command == "GET":
            start = int(asked.removeprefix("bytes=").partition("-")[0])
            if start >= len(raw):
                return _refuse(416, "RANGE")
            return 206, {"Content-Range": f"bytes {start}-{len(raw) - 1}/{len(raw)}"}, raw[start:]
        return 200, {}, raw

    def _upload(
        self, repo: Repo, path: str, session: str, query: dict[str, list[str]], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        if self.command == "POST":
            mount, origin = query.get("mount", [""])[0], query.get("from", [""])[0]
            other = self.registry.repositories.get(origin)
            allowed = not self.registry.scoped or f"repository:{origin}:pull" in self.registry.tokens_given[-1].split()
            if mount and self.registry.mounts and allowed and other and mount in other.blobs:
                repo.blobs[mount] = other.blobs[mount]
                return 201, {}, b""
            session = f"session-{self.registry.count('POST', '/blobs/uploads/')}"
            self.registry.sessions[session] = b""
            return 202, {"Location": f"{path.rstrip('/')}/{session}"}, b""
        held = self.registry.sessions.get(session)
        if self.command in ("GET", "PATCH"):
            if held is None:
                return _refuse(404, "BLOB_UPLOAD_UNKNOWN")
            if self.command == "PATCH":
                first = int(self.headers["Content-Range"].partition("-")[0])
                if first != len(held):
                    return _refuse(416, "RANGE")
                self.registry.parts.append((first, len(body)))
                held = self.registry.sessions[session] = held + body
            status = 204 if self.command == "GET" else 202
            return status, {"Location": path, "Range": f"0-{max(0, len(held) - 1)}"}, b""
        digest = query["digest"][0]
        body = self.registry.sessions.pop(session, b"") + body
        if "sha256:" + hashlib.sha256(body).hexdigest() != digest:
            return _refuse(400, "DIGEST_INVALID")
        repo.blobs[digest] = body
        return 201, {"Docker-Content-Digest": digest}, b""

    def _put(self, repo: Repo, reference: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        document = json.loads(body)
        parts = [*(document.get("layers") or []), *([document["config"]] if "config" in document else [])]
        if any(p["digest"] not in repo.blobs and not p.get("urls") for p in parts):
            return _refuse(400, "MANIFEST_BLOB_UNKNOWN")
        if any(
            c["digest"] not in repo.manifests
            for c in document.get("manifests", [])
            if not reference.startswith("sha256-")
        ):
            return _refuse(400, "MANIFEST_BLOB_UNKNOWN")
        digest = "sha256:" + hashlib.sha256(body).hexdigest()
        repo.manifests[digest] = body, self.headers.get("Content-Type", "")
        if not reference.startswith("sha256:"):
            repo.tags[reference] = digest
        headers = {"Docker-Content-Digest": digest}
        if self.registry.referrers_api and document.get("subject"):
            headers["OCI-Subject"] = document["subject"]["digest"]
        return 201, headers, b""

    def _referrers(self, repo: Repo, subject: str) -> tuple[int, dict[str, str], bytes]:
        if not self.registry.referrers_api:
            return _refuse(404, "NOT_FOUND")
        found = []
        for digest, (raw, media_type) in repo.manifests.items():
            if (json.loads(raw).get("subject") or {}).get("digest") == subject:
                found.append({"mediaType": media_type, "digest": digest, "size": len(raw)})
        kind = "application/vnd.oci.image.index.v1+json"
        return (
            200,
            {"Content-Type": kind},
            json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": found}).encode(),
        )

    def _answer(
        self,
        status: int,
        headers: Any,
        body: bytes,
        cut: int | None = None,
        *,
        gently: bool = False,
        silent: bool = False,
    ) -> None:
        self.send_response(status)
        for name, value in headers.items() if isinstance(headers, dict) else headers:
            self.send_header(name, value)
        if silent:
            self.send_header("Connection", "close")
        else:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        self.wfile.write(body[:cut])
        self.registry.bytes_out += len(body[:cut])
        if cut is not None:
            self.wfile.flush()
            self.close_connection = True
            if not gently:
                self._cut()

    def _cut(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def _body(self) -> bytes:
        length = int(self.headers.get("Content-Length") or 0)
        if self.command != "PATCH":
            return self.rfile.read(length)
        body = self.rfile.read(length // 2)
        self.registry.halfway(self.registry.count("PATCH"))
        return body + self.rfile.read(length - length // 2)

    def handle(self) -> None:
        try:
            super().handle()
        except (OSError, ValueError):
            self.close_connection = True  # as the test intended

    def log_message(self, format: str, *args: Any) -> None:
        pass


def _refuse(status: int, code: str) -> tuple[int, dict[str, str], bytes]:
    return status, {}, json.dumps({"errors": [{"code": code, "message": f"refused: {code}"}]}).encode()


@contextmanager
def oci_server(secured: ssl.SSLContext | None = None) -> Iterator[OciServer]:
    """A registry on a free port of this machine until the block ends. `secured`: it speaks TLS."""
    made = OciServer()
    with serving(type("Handler", (_Handler,), {"registry": made}), secured) as made.port:
        yield made
