"""A Kubernetes API for tests, over TLS: lists in pages with `continue`, `Status` objects, and EKS's check of tokens.

Its answers have the format of Kubernetes's API reference (v1 `List` kinds, `metadata.continue`, `Status`): no real API
server can be installed from the registries that the tests' other packages come from.
"""

import base64
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from support.servers.secured import certify
from support.servers.serving import serving

KINDS = {
    "/api/v1/pods": "PodList",
    "/api/v1/replicationcontrollers": "ReplicationControllerList",
    "/apis/apps/v1/controllerrevisions": "ControllerRevisionList",
    "/apis/apps/v1/daemonsets": "DaemonSetList",
    "/apis/apps/v1/deployments": "DeploymentList",
    "/apis/apps/v1/replicasets": "ReplicaSetList",
    "/apis/apps/v1/statefulsets": "StatefulSetList",
    "/apis/batch/v1/cronjobs": "CronJobList",
    "/apis/batch/v1/jobs": "JobList",
}


@dataclass(frozen=True)
class Answer:
    """One answer instead of the usual one."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


def status(code: int, reason: str, message: str, **headers: str) -> Answer:
    """A refusal in Kubernetes's format."""
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }
    return Answer(code, json.dumps(body).encode(), {name.replace("_", "-"): v for name, v in headers.items()})


@dataclass
class KubernetesServer:
    """`objects`: by the list's path. `answers`: given in turn at a path before the usual ones. `most`: maximum objects
    per page, whatever the limit. `asked`: (path, limit, continue) of all requests; `tokens`: theirs."""

    cluster: str
    authority: str = ""
    url: str = ""
    most: int = 500
    objects: dict[str, list[Any]] = field(default_factory=dict)
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    asked: list[tuple[str, int, str]] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)

    @property
    def described(self) -> dict[str, Any]:
        """The parts of `DescribeCluster` that locate it."""
        data = base64.b64encode(self.authority.encode()).decode()
        return {"name": self.cluster, "status": "ACTIVE", "endpoint": self.url, "certificateAuthority": {"data": data}}

    def answer(self, target: str, token: str) -> Answer:
        """The answer to a GET."""
        parts = urlsplit(target)
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        limit, after = int(asked.get("limit", 0)), asked.get("continue", "")
        self.asked.append((parts.path, limit, after))
        self.tokens.append(token)
        if not self._is_signed(token):
            return status(401, "Unauthorized", "Unauthorized")
        if waiting := self.answers.get(parts.path):
            return waiting.pop(0)
        if parts.path not in KINDS:
            return status(404, "NotFound", "the server could not find the requested resource")
        every = self.objects.get(parts.path, [])
        start = int(after.removeprefix("from-") or 0)
        end = start + min(limit or self.most, self.most)
        metadata = {"resourceVersion": "7", **({"continue": f"from-{end}"} if end < len(every) else {})}
        page = {"kind": KINDS[parts.path], "apiVersion": "v1", "metadata": metadata, "items": every[start:end]}
        return Answer(200, json.dumps(page).encode())

    def _is_signed(self, token: str) -> bool:
        """aws-iam-authenticator's check before it asks STS: a presigned GetCallerIdentity, bound to a cluster."""
        scheme, _, text = token.partition(" k8s-aws-v1.")
        if scheme != "Bearer" or not text or "=" in text or len(token) > 4096:
            return False
        parts = urlsplit(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode())
        query = parse_qs(parts.query)
        return (
            parts.path == "/"
            and query["Action"] == ["GetCallerIdentity"]
            and query["X-Amz-SignedHeaders"] == ["host;x-k8s-aws-id"]
            and query["X-Amz-Expires"] == ["60"]
        )


@contextmanager
def kubernetes(folder: Path, cluster: str = "shop") -> Iterator[KubernetesServer]:
    """A cluster's API on a free port of this machine until the block ends."""
    context = certify(folder, "127.0.0.1")
    made = KubernetesServer(cluster, (folder / "ca.pem").read_text())

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            found = made.answer(self.path, self.headers.get("Authorization", ""))
            self.send_response(found.status)
            for name, value in {"Content-Type": "application/json", **found.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(found.body)))
            self.end_headers()
            self.wfile.write(found.body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with serving(Handler, context) as port:
        made.url = f"https://127.0.0.1:{port}"
        yield made
